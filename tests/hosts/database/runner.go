package main

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/database/dbplugin/v5"
	"github.com/hashicorp/vault/sdk/helper/base62"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"plugward.dev/tests/hosts/internal/reattach"
)

// runner is what the SDK has its plugins run by, as Vault's plugin catalog does. Of the interface it has the one method that the
// client of a database calls: any other is a nil pointer.
type runner struct {
	pluginutil.RunnerUtil
	mounts *reattach.Mounts
	mount  string
	// Whether the plugin said so.
	multiplexed bool
}

func clientConfig(mount string) pluginutil.PluginClientConfig {
	return pluginutil.PluginClientConfig{
		Name:            mount,
		PluginType:      consts.PluginTypeDatabase,
		PluginSets:      dbplugin.PluginSets,
		HandshakeConfig: dbplugin.HandshakeConfig,
		Logger:          hclog.NewNullLogger(),
	}
}

// NewPluginClient is a new connection over the one client of the mount.
func (r *runner) NewPluginClient(ctx context.Context, config pluginutil.PluginClientConfig) (pluginutil.PluginClient, error) {
	_, client, err := r.mounts.GRPC(r.mount)
	if err != nil {
		return nil, err
	}
	r.multiplexed, err = pluginutil.MultiplexingSupported(ctx, client.Conn, config.Name)
	if err != nil {
		return nil, err
	}
	connection := &connection{ClientConnInterface: client.Conn}
	if r.multiplexed {
		if connection.id, err = base62.Random(10); err != nil {
			return nil, err
		}
	}
	return &pluginClient{ClientProtocol: client, connection: connection}, nil
}

// pluginClient is a database's share in a client.
type pluginClient struct {
	plugin.ClientProtocol
	connection *connection
}

func (c *pluginClient) Conn() grpc.ClientConnInterface { return c.connection }

func (c *pluginClient) Reload() error { return nil }

// Close leaves the client to the others that share it.
func (c *pluginClient) Close() error { return nil }

// connection names the database to a plugin that has several, and notes what calls fail with.
type connection struct {
	grpc.ClientConnInterface
	id string
}

func (c *connection) Invoke(ctx context.Context, method string, request, answer any, options ...grpc.CallOption) error {
	if c.id != "" {
		ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs(pluginutil.MultiplexingCtxKey, c.id))
	}
	err := c.ClientConnInterface.Invoke(ctx, method, request, answer, options...)
	if noted, ok := ctx.Value(statusKey{}).(*answeredStatus); ok {
		noted.err = err
	}
	return err
}

// answeredStatus is what the call that was made with a context failed with.
type answeredStatus struct{ err error }

type statusKey struct{}

func withStatus(ctx context.Context) (context.Context, *answeredStatus) {
	answered := &answeredStatus{}
	return context.WithValue(ctx, statusKey{}, answered), answered
}
