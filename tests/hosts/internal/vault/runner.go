// Package vault runs plugins for the clients of Vault's SDK, as Vault's plugin catalog does. They run already: it reattaches.
package vault

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/base62"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"plugward.dev/tests/hosts/internal/reattach"
)

// Runner is what the SDK has its plugins run by. Of the interface it has the one method that clients call: any other is a nil pointer.
type Runner struct {
	pluginutil.RunnerUtil
	Mounts *reattach.Mounts
	Mount  string
	// Names the client to plugins that do not multiplex, too, as Vault does.
	AlwaysNamed bool
	// Whether the plugin said that it multiplexes.
	Multiplexed bool
}

// NewPluginClient is a new client of the SDK's, one of any number over the one of the mount.
func (r *Runner) NewPluginClient(ctx context.Context, config pluginutil.PluginClientConfig) (pluginutil.PluginClient, error) {
	_, client, err := r.Mounts.GRPC(r.Mount)
	if err != nil {
		return nil, err
	}
	r.Multiplexed, err = pluginutil.MultiplexingSupported(ctx, client.Conn, config.Name)
	if err != nil {
		return nil, err
	}
	connection := &connection{ClientConnInterface: client.Conn}
	if r.Multiplexed || r.AlwaysNamed {
		if connection.id, err = base62.Random(10); err != nil {
			return nil, err
		}
	}
	return &pluginClient{ClientProtocol: client, connection: connection}, nil
}

// pluginClient is a share in a client.
type pluginClient struct {
	plugin.ClientProtocol
	connection *connection
}

func (c *pluginClient) Conn() grpc.ClientConnInterface { return c.connection }

func (c *pluginClient) Reload() error { return nil }

// Close leaves the client to the others that share it.
func (c *pluginClient) Close() error { return nil }

// connection names its client to a plugin that has several, and notes what calls fail with.
type connection struct {
	grpc.ClientConnInterface
	id string
}

func (c *connection) Invoke(ctx context.Context, method string, request, answer any, options ...grpc.CallOption) error {
	if c.id != "" {
		ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs(pluginutil.MultiplexingCtxKey, c.id))
	}
	err := c.ClientConnInterface.Invoke(ctx, method, request, answer, options...)
	if noted, ok := ctx.Value(statusKey{}).(*AnsweredStatus); ok {
		noted.Err = err
	}
	return err
}

// AnsweredStatus is what the call that was made with a context failed with: the status that the plugin, or the gateway, answered. The
// SDK puts words around it, and leaves out its code at times.
type AnsweredStatus struct{ Err error }

type statusKey struct{}

// WithStatus is a context that notes it.
func WithStatus(ctx context.Context) (context.Context, *AnsweredStatus) {
	answered := &AnsweredStatus{}
	return context.WithValue(ctx, statusKey{}, answered), answered
}
