// Package vault runs plugins for the clients of Vault's SDK, as Vault's plugin catalog does. Those that run already it reattaches to.
package vault

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"google.golang.org/grpc"

	"plugward.dev/tests/hosts/internal/catalog"
	"plugward.dev/tests/hosts/internal/start"
)

// Version is of the server that plugins are told of.
const Version = "1.21.0"

// Runner is what the SDK has its plugins run by. Of the interface it has the methods that clients and its runner call: any other is a
// nil pointer.
type Runner struct {
	pluginutil.RunnerUtil
	Catalog *catalog.Catalog
	Mount   string
	// Names the client to plugins that do not multiplex, too, as Vault does.
	AlwaysNamed bool
	// Whether the plugin said that it multiplexes.
	Multiplexed bool
}

// NewPluginClient is a new client of the SDK's, one of any number over the one of the mount.
func (r *Runner) NewPluginClient(ctx context.Context, config pluginutil.PluginClientConfig) (pluginutil.PluginClient, error) {
	connection, err := r.Catalog.Connect(catalog.Plugin{
		Mount:       r.Mount,
		AlwaysNamed: r.AlwaysNamed,
		Run: func(start start.Start, logger hclog.Logger) (*plugin.Client, error) {
			config.Logger = logger
			return r.run(ctx, start, config)
		},
		Multiplexes: func(connection *grpc.ClientConn) (bool, error) {
			return pluginutil.MultiplexingSupported(ctx, connection, config.Name)
		},
	})
	if err != nil {
		return nil, err
	}
	r.Multiplexed = connection.Multiplexed
	return connection, nil
}

// run is by the SDK's own runner, which wants to know what it starts.
func (r *Runner) run(ctx context.Context, start start.Start, config pluginutil.PluginClientConfig) (*plugin.Client, error) {
	sum, err := start.KnownChecksum()
	if err != nil {
		return nil, err
	}
	runner := pluginutil.PluginRunner{
		Name:    config.Name,
		Type:    config.PluginType,
		Command: start.Command[0],
		Args:    start.Command[1:],
		Env:     start.Environment(),
		Sha256:  sum,
	}
	return runner.RunConfig(ctx,
		pluginutil.PluginSets(config.PluginSets),
		pluginutil.HandshakeConfig(config.HandshakeConfig),
		pluginutil.Logger(config.Logger),
		pluginutil.MetadataMode(config.IsMetadataMode),
		pluginutil.AutoMTLS(true),
		pluginutil.Runner(r),
	)
}

// MlockEnabled is whether plugins are to keep their memory from being swapped.
func (r *Runner) MlockEnabled() bool { return false }

// VaultVersion is told to plugins in their environment.
func (r *Runner) VaultVersion(context.Context) (string, error) { return Version, nil }
