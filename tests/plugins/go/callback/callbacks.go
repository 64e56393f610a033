package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"plugward.dev/tests/plugins/callback/api"
)

// callbacks is the plugin's service.
type callbacks struct {
	broker    *plugin.GRPCBroker
	instances *instances
	// What Open began, by id.
	opened sync.Map
}

func (c *callbacks) register(server *grpc.Server) {
	methods := []grpc.MethodDesc{
		api.Add.Served(c.add),
		api.Attach.Served(c.attach),
		api.AddKept.Served(c.addKept),
		api.Detach.Served(c.detach),
		api.Open.Served(c.open),
		api.Close.Served(c.close),
		api.Print.Served(c.print),
	}
	api.Register(server, api.Callback, methods, []grpc.StreamDesc{api.Watch.Served(c.watch)})
}

func (c *callbacks) add(ctx context.Context, request api.AddRequest) (api.Value, error) {
	if _, err := c.instances.of(ctx); err != nil {
		return api.Value{}, err
	}
	connection, err := c.broker.Dial(request.Server)
	if err != nil {
		return api.Value{}, err
	}
	defer connection.Close()
	return add(ctx, connection, request.Key, request.Delta)
}

func (c *callbacks) attach(ctx context.Context, request api.Server) (api.Nothing, error) {
	instance, err := c.instances.of(ctx)
	if err != nil {
		return api.Nothing{}, err
	}
	connection, err := c.broker.Dial(request.Server)
	if err != nil {
		return api.Nothing{}, err
	}
	if _, err := add(ctx, connection, api.Attachments, 1); err != nil {
		_ = connection.Close()
		return api.Nothing{}, err
	}
	instance.attach(connection)
	return api.Nothing{}, nil
}

func (c *callbacks) addKept(ctx context.Context, request api.AddRequest) (api.Value, error) {
	instance, err := c.instances.of(ctx)
	if err != nil {
		return api.Value{}, err
	}
	storage, err := instance.storage()
	if err != nil {
		return api.Value{}, err
	}
	return add(ctx, storage, request.Key, request.Delta)
}

func (c *callbacks) detach(ctx context.Context, _ api.Nothing) (api.Nothing, error) {
	instance, err := c.instances.of(ctx)
	if err == nil {
		instance.attach(nil)
	}
	return api.Nothing{}, err
}

func (c *callbacks) watch(ctx context.Context, request api.WatchRequest, send func(api.Value) error) error {
	instance, err := c.instances.of(ctx)
	if err != nil {
		return err
	}
	storage, err := instance.storage()
	if request.Server != 0 {
		if storage, err = c.broker.Dial(request.Server); err == nil {
			defer storage.Close()
		}
	}
	if err != nil {
		return err
	}
	for sent := int64(0); request.Messages == 0 || sent < request.Messages; sent++ {
		value, err := add(ctx, storage, request.Key, 1)
		if err == nil {
			err = send(value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// open answers when the host has been told of what it serves. Its id is the plugin's, whatever ids the host gives its own servers.
func (c *callbacks) open(ctx context.Context, _ api.Nothing) (api.Server, error) {
	if _, err := c.instances.of(ctx); err != nil {
		return api.Server{}, err
	}
	id := c.broker.NextId()
	made := make(chan *grpc.Server, 1)
	go func() {
		defer close(made)
		c.broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
			server := grpc.NewServer(options...)
			var calls atomic.Int64
			api.RegisterOpened(server, func(_ context.Context, text api.Text) (api.Echoed, error) {
				return api.Echoed{Text: text.Text, Calls: calls.Add(1)}, nil
			})
			c.opened.Store(id, server)
			made <- server
			return server
		})
	}()
	select {
	case server := <-made:
		if server == nil {
			return api.Server{}, status.Error(codes.Unavailable, "the host cannot be told of it")
		}
		return api.Server{Server: id}, nil
	case <-ctx.Done():
		return api.Server{}, status.FromContextError(ctx.Err()).Err()
	}
}

func (c *callbacks) close(ctx context.Context, request api.Server) (api.Nothing, error) {
	if _, err := c.instances.of(ctx); err != nil {
		return api.Nothing{}, err
	}
	server, found := c.opened.LoadAndDelete(request.Server)
	if !found {
		return api.Nothing{}, status.Errorf(codes.NotFound, "nothing was opened as %d", request.Server)
	}
	server.(*grpc.Server).Stop()
	return api.Nothing{}, nil
}

// print goes by os.Stdout and os.Stderr as they are now: go-plugin puts its own there when it serves.
func (c *callbacks) print(ctx context.Context, lines api.Lines) (api.Nothing, error) {
	if _, err := c.instances.of(ctx); err != nil {
		return api.Nothing{}, err
	}
	for file, line := range map[*os.File]string{os.Stdout: lines.Stdout, os.Stderr: lines.Stderr} {
		if line == "" {
			continue
		}
		if _, err := fmt.Fprintln(file, line); err != nil {
			return api.Nothing{}, err
		}
	}
	return api.Nothing{}, nil
}

func add(ctx context.Context, storage *grpc.ClientConn, key string, delta int64) (api.Value, error) {
	return api.StorageAdd.Call(ctx, storage, api.AddRequest{Key: key, Delta: delta})
}
