package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"plugward.dev/tests/plugins/callback/api"
)

// callbackPlugin is a plugin that calls back.
type callbackPlugin struct {
	plugin.NetRPCUnsupportedPlugin
}

func (*callbackPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is a host")
}

func (*callbackPlugin) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, connection *grpc.ClientConn) (any, error) {
	return &client{broker, connection}, nil
}

// client is a mount's connection, and its broker: one of each, for as long as the client is not closed.
type client struct {
	broker     *plugin.GRPCBroker
	connection *grpc.ClientConn
}

// instance is one that the plugin keeps apart from others of a mount, by its id, or the only one, without an id.
type instance struct {
	id      string
	numbers numbers

	mutex sync.Mutex
	// What Attach was told of.
	attached *storage
}

// named gives a call the instance's id.
func (i *instance) named(ctx context.Context) context.Context {
	if i.id == "" {
		return ctx
	}
	return metadata.NewOutgoingContext(ctx, metadata.Pairs("multiplex_id", i.id))
}

// increment calls plugin-counter. What it called back is told too.
func (i *instance) increment(ctx context.Context, on *client, key string, delta int64) (int64, callbacks, error) {
	served := i.numbers.serve(on.broker)
	defer served.end()
	request := &proto.IncrementRequest{Key: key, Value: delta, StorageServer: served.id}
	answer, err := proto.NewCounterClient(on.connection).Increment(i.named(ctx), request)
	return answer.GetValue(), served.callbacks(), err
}

func (i *instance) add(ctx context.Context, on *client, key string, delta int64) (int64, callbacks, error) {
	served := i.numbers.serve(on.broker)
	defer served.end()
	request := api.AddRequest{Key: key, Delta: delta, Server: served.id}
	answer, err := api.Add.Call(i.named(ctx), on.connection, request)
	return answer.Value, served.callbacks(), err
}

func (i *instance) addKept(ctx context.Context, on *client, key string, delta int64) (int64, error) {
	answer, err := api.AddKept.Call(i.named(ctx), on.connection, api.AddRequest{Key: key, Delta: delta})
	return answer.Value, err
}

// attach serves until detach, whatever becomes of the plugin meanwhile.
func (i *instance) attach(ctx context.Context, on *client) error {
	served := i.numbers.serve(on.broker)
	if _, err := api.Attach.Call(i.named(ctx), on.connection, api.Server{Server: served.id}); err != nil {
		served.end()
		return err
	}
	i.keep(served)
	return nil
}

func (i *instance) detach(ctx context.Context, on *client) error {
	_, err := api.Detach.Call(i.named(ctx), on.connection, api.Nothing{})
	if err == nil {
		i.keep(nil)
	}
	return err
}

func (i *instance) keep(served *storage) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.attached != nil {
		i.attached.end()
	}
	i.attached = served
}

// watch hands over what the plugin tells of each message's callback. Without end it is for 0 messages.
func (i *instance) watch(ctx context.Context, on *client, key string, messages int64, kept bool, receive func(int64) error) error {
	request := api.WatchRequest{Key: key, Messages: messages}
	if !kept {
		served := i.numbers.serve(on.broker)
		defer served.end()
		request.Server = served.id
	}
	return api.Watch.Call(i.named(ctx), on.connection, request, func(value api.Value) error { return receive(value.Value) })
}

// opened is a service of the plugin's, which the host has dialled.
type opened struct {
	instance   *instance
	client     *client
	server     api.Server
	connection *grpc.ClientConn
}

func (i *instance) open(ctx context.Context, on *client) (*opened, error) {
	server, err := api.Open.Call(i.named(ctx), on.connection, api.Nothing{})
	if err != nil {
		return nil, err
	}
	connection, err := on.broker.Dial(server.Server)
	if err != nil {
		return nil, fmt.Errorf("what the plugin serves: %w", err)
	}
	return &opened{i, on, server, connection}, nil
}

func (o *opened) echo(ctx context.Context, text string) (api.Echoed, error) {
	return api.OpenedEcho.Call(ctx, o.connection, api.Text{Text: text})
}

// close has the plugin end it.
func (o *opened) close(ctx context.Context) error {
	_, err := api.Close.Call(o.instance.named(ctx), o.client.connection, o.server)
	return err
}
