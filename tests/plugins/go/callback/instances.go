package main

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"plugward.dev/tests/plugins/callback/api"
)

// instances are what the plugin knows, by multiplex_id. A plugin that does not multiplex has one, under no id.
type instances struct {
	multiplex bool

	mutex sync.Mutex
	byID  map[string]*instance
}

type instance struct {
	mutex    sync.Mutex
	attached *grpc.ClientConn
}

func newInstances(multiplex bool) *instances {
	return &instances{multiplex: multiplex, byID: map[string]*instance{}}
}

// of is the instance that a call is for. It is made by its first call.
func (i *instances) of(ctx context.Context) (*instance, error) {
	var id string
	if i.multiplex {
		given := metadata.ValueFromIncomingContext(ctx, "multiplex_id")
		if len(given) != 1 || given[0] == "" {
			return nil, status.Errorf(codes.InvalidArgument, "this plugin multiplexes, and a call has the ids %q", given)
		}
		id = given[0]
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.byID[id] == nil {
		i.byID[id] = &instance{}
	}
	return i.byID[id], nil
}

// attach keeps a connection instead of the one that is there. There may be none of either.
func (i *instance) attach(connection *grpc.ClientConn) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.attached != nil {
		_ = i.attached.Close()
	}
	i.attached = connection
}

func (i *instance) storage() (*grpc.ClientConn, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.attached == nil {
		return nil, status.Error(codes.FailedPrecondition, "no storage is attached")
	}
	return i.attached, nil
}

// registerMultiplexing serves pluginutil.multiplexing.PluginMultiplexing as Vault's SDK has it: its request is empty, and its answer has
// the fields of a BoolValue.
func registerMultiplexing(server *grpc.Server) {
	support := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		return wrapperspb.Bool(true), decode(&emptypb.Empty{})
	}
	methods := []grpc.MethodDesc{{MethodName: "MultiplexingSupport", Handler: support}}
	api.Register(server, "pluginutil.multiplexing.PluginMultiplexing", methods, nil)
}
