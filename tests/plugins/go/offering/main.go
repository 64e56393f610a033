// Command offering is a plugin made with the real go-plugin library that offers a further server to its host, over the broker. Cookie
// BASIC_PLUGIN=hello, version 1. Its service is proto.Counter: Increment serves, under the number storage_server, a proto.Storage that
// has the value under the key.
package main

import (
	"context"
	"sync"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/proto"
	"github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/shared"
	"google.golang.org/grpc"
)

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: shared.Handshake,
		Plugins:         map[string]plugin.Plugin{"counter": &offering{}},
		GRPCServer:      plugin.DefaultGRPCServer,
	})
}

type offering struct {
	plugin.NetRPCUnsupportedPlugin
}

func (*offering) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	proto.RegisterCounterServer(server, &counter{broker: broker})
	return nil
}

func (*offering) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

type counter struct {
	proto.UnimplementedCounterServer
	broker *plugin.GRPCBroker
}

func (c *counter) Increment(_ context.Context, request *proto.IncrementRequest) (*proto.IncrementResponse, error) {
	kept := &storage{values: map[string]int64{request.Key: request.Value}}
	go c.broker.AcceptAndServe(request.StorageServer, func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(options...)
		proto.RegisterStorageServer(server, kept)
		return server
	})
	return &proto.IncrementResponse{Value: request.Value}, nil
}

type storage struct {
	proto.UnimplementedStorageServer
	mutex  sync.Mutex
	values map[string]int64
}

func (s *storage) Get(_ context.Context, request *proto.GetRequest) (*proto.GetResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return &proto.GetResponse{Value: s.values[request.Key]}, nil
}

func (s *storage) Put(_ context.Context, request *proto.PutRequest) (*proto.PutResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.values[request.Key] = request.Value
	return &proto.PutResponse{}, nil
}
