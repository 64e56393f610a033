package main

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/openbao/openbao/sdk/v2/helper/consts"
	"github.com/openbao/openbao/sdk/v2/helper/pluginutil"
	"github.com/openbao/openbao/sdk/v2/logical"
	backendplugin "github.com/openbao/openbao/sdk/v2/plugin"

	"plugward.dev/tests/hosts/internal/backends"
	"plugward.dev/tests/hosts/internal/catalog"
	"plugward.dev/tests/hosts/openbao/internal/bao"
)

// system is what plugins may ask about the server itself.
var system = &logical.StaticSystemView{
	DefaultLeaseTTLVal: time.Hour,
	MaxLeaseTTLVal:     24 * time.Hour,
	VersionString:      bao.Version,
}

// storage is a backend's, in memory.
type storage struct{ logical.InmemStorage }

func (s *storage) Keys(ctx context.Context) ([]string, error) {
	return logical.CollectKeys(ctx, &s.InmemStorage)
}

func (s *storage) Open(ctx context.Context, on *catalog.Catalog, mount string, metadata bool) (backends.Client, bool, error) {
	runner := &bao.Runner{Catalog: on, Mount: mount, AlwaysNamed: true}
	made, err := backendplugin.NewPluginClientV5(ctx, runner, pluginutil.PluginClientConfig{
		Name: mount,
		// Of this the SDK only wants that it is known.
		PluginType:      consts.PluginTypeSecrets,
		PluginSets:      backendplugin.PluginSet,
		HandshakeConfig: backendplugin.HandshakeConfig,
		Logger:          hclog.NewNullLogger(),
		IsMetadataMode:  metadata,
		AutoMTLS:        true,
		Wrapper:         runner,
	})
	return client{made, s}, runner.Multiplexed, err
}

// client is the SDK's, of a backend with a storage.
type client struct {
	logical.Backend
	storage *storage
}

func (c client) Setup(ctx context.Context, uuid string, config map[string]string) error {
	return c.Backend.Setup(ctx, &logical.BackendConfig{
		StorageView: &c.storage.InmemStorage,
		Logger:      hclog.NewNullLogger(),
		System:      system,
		BackendUUID: uuid,
		Config:      config,
	})
}

func (c client) Initialize(ctx context.Context) error {
	return c.Backend.Initialize(ctx, &logical.InitializationRequest{Storage: &c.storage.InmemStorage})
}

func (c client) About() (kind, version string) {
	if versioner, ok := c.Backend.(logical.PluginVersioner); ok {
		version = versioner.PluginVersion().Version
	}
	return c.Type().String(), version
}

func (c client) Exists(ctx context.Context, request backends.Request) (found, exists bool, err error) {
	return c.HandleExistenceCheck(ctx, logicalOf(request))
}

func (c client) Handle(ctx context.Context, request backends.Request) (*backends.Response, error) {
	response, err := c.HandleRequest(ctx, logicalOf(request))
	if err == nil && response.IsError() {
		err = response.Error()
	}
	if response == nil {
		return nil, err
	}
	answer := &backends.Response{Data: response.Data, Warnings: response.Warnings}
	if response.Auth != nil {
		answer.Auth = response.Auth
	}
	return answer, err
}

func logicalOf(request backends.Request) *logical.Request {
	return &logical.Request{
		ID:          request.UUID,
		Operation:   logical.Operation(request.Operation),
		Path:        request.Path,
		Data:        request.Data,
		MountPoint:  request.Backend + "/",
		ClientToken: "token",
		DisplayName: "token",
		Connection:  &logical.Connection{RemoteAddr: "127.0.0.1"},
	}
}
