// Command callback is a plugin that calls its host back, in every way that go-plugin's broker has (package api says which):
//
//	callback [-multiplex]
//
// With -multiplex it says that it multiplexes, as Vault's plugins do, wants a multiplex_id with every call, and keeps what it knows for
// each id apart.
package main

import (
	"context"
	"flag"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"plugward.dev/tests/plugins/callback/api"
)

func main() {
	multiplex := flag.Bool("multiplex", false, "serve any number of instances, each called with a multiplex_id of its own")
	flag.Parse()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: api.Handshake,
		Plugins:         plugin.PluginSet{"callback": &callbackPlugin{multiplex: *multiplex}},
		GRPCServer:      plugin.DefaultGRPCServer,
	})
}

type callbackPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	multiplex bool
}

func (p *callbackPlugin) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	callbacks := &callbacks{broker: broker, instances: newInstances(p.multiplex)}
	callbacks.register(server)
	if p.multiplex {
		registerMultiplexing(server)
	}
	return nil
}

func (*callbackPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	panic("this is a plugin")
}
