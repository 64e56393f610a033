// Command backend is a host of secrets and auth plugins, on the client that Vault has for them (its SDK's plugin), which starts them by
// Vault's runner. What it is told and does is in package backends:
//
//	backend [-own-pid] '{"MOUNT": {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": 123, "Test": true, "Addr": {…}}}'
package main

import (
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/logical"
	backendplugin "github.com/hashicorp/vault/sdk/plugin"

	"plugward.dev/tests/hosts/internal/backends"
)

func main() {
	backends.Follow(backends.SDK{
		Ours:    ours,
		Storage: func() backends.Storage { return &storage{logical.InmemStorage{}} },
	})
}

func ours(config *plugin.ClientConfig, _ string, version int) {
	config.HandshakeConfig = backendplugin.HandshakeConfig
	// What is offered to a plugin that is started, beside which the SDK's own is of long ago.
	config.ProtocolVersion = uint(version)
	config.Plugins = backendplugin.PluginSet[version]
}
