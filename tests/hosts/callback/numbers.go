package main

import (
	"context"
	"sync"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/proto"
	"google.golang.org/grpc"

	"plugward.dev/tests/plugins/callback/api"
)

// numbers are what one instance of a plugin keeps with the host.
type numbers struct {
	mutex  sync.Mutex
	values map[string]int64
}

func (n *numbers) add(key string, delta int64) int64 {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.values[key] += delta
	return n.values[key]
}

func (n *numbers) get(key string) int64 { return n.add(key, 0) }

func (n *numbers) put(key string, value int64) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.values[key] = value
}

// storage is one server over the broker that lets a plugin at numbers: by the example plugin's own service, and by the one that
// HashiCorp's plugin-counter has.
type storage struct {
	numbers *numbers
	id      uint32
	made    chan *grpc.Server

	mutex sync.Mutex
	seen  callbacks
}

// callbacks are what a server was called with.
type callbacks struct {
	count int
	// The last one, and what the number became.
	key   string
	value int64
}

// serve announces a server to the plugin and does not wait for it, as hosts do: the plugin may be called before it knows.
func (n *numbers) serve(broker *plugin.GRPCBroker) *storage {
	served := &storage{numbers: n, id: broker.NextId(), made: make(chan *grpc.Server, 1)}
	go func() {
		defer close(served.made)
		broker.AcceptAndServe(served.id, func(options []grpc.ServerOption) *grpc.Server {
			server := grpc.NewServer(options...)
			api.RegisterStorage(server, served.add)
			proto.RegisterStorageServer(server, &counterStorage{storage: served})
			served.made <- server
			return server
		})
	}()
	return served
}

// end does not wait either: a broker that has no stream never announces anything.
func (s *storage) end() {
	go func() {
		if server := <-s.made; server != nil {
			server.Stop()
		}
	}()
}

func (s *storage) add(_ context.Context, request api.AddRequest) (api.Value, error) {
	value := s.numbers.add(request.Key, request.Delta)
	s.note(request.Key, value)
	return api.Value{Value: value}, nil
}

func (s *storage) note(key string, value int64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.seen = callbacks{count: s.seen.count + 1, key: key, value: value}
}

func (s *storage) callbacks() callbacks {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.seen
}

// counterStorage is what plugin-counter calls: it reads a number, and writes the sum.
type counterStorage struct {
	proto.UnimplementedStorageServer
	storage *storage
}

func (c *counterStorage) Get(_ context.Context, request *proto.GetRequest) (*proto.GetResponse, error) {
	value := c.storage.numbers.get(request.Key)
	c.storage.note(request.Key, value)
	return &proto.GetResponse{Value: value}, nil
}

func (c *counterStorage) Put(_ context.Context, request *proto.PutRequest) (*proto.PutResponse, error) {
	c.storage.numbers.put(request.Key, request.Value)
	c.storage.note(request.Key, request.Value)
	return &proto.PutResponse{}, nil
}
