package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/base62"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	backendplugin "github.com/hashicorp/vault/sdk/plugin"

	"plugward.dev/tests/hosts/internal/reattach"
	"plugward.dev/tests/hosts/internal/vault"
)

// backend is one of Vault's: a path that a plugin serves, with a storage of its own.
type backend struct {
	name    string
	uuid    string
	storage *logical.InmemStorage

	mutex sync.Mutex
	// What it is served by, if it is open.
	client logical.Backend
	// A client can be set up once: its server for the plugin is never made again.
	setUp bool
}

func newBackend(name string) (*backend, error) {
	// The KV plugin keeps everything under it.
	uuid, err := base62.Random(20)
	if err != nil {
		return nil, err
	}
	return &backend{name: name, uuid: uuid, storage: &logical.InmemStorage{}}, nil
}

// open makes a new client, one of any number over that of the mount, with a multiplex_id of its own. What is stored stays.
func (b *backend) open(ctx context.Context, mounts *reattach.Mounts, mount string) (multiplexed bool, err error) {
	runner := &vault.Runner{Mounts: mounts, Mount: mount, AlwaysNamed: true}
	client, err := backendplugin.NewPluginClientV5(ctx, runner, pluginutil.PluginClientConfig{
		Name: mount,
		// Of this the SDK only wants that it is known.
		PluginType:      consts.PluginTypeSecrets,
		PluginSets:      backendplugin.PluginSet,
		HandshakeConfig: backendplugin.HandshakeConfig,
		Logger:          hclog.NewNullLogger(),
		AutoMTLS:        true,
	})
	if err != nil {
		return false, err
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.client, b.setUp = client, false
	return runner.Multiplexed, nil
}

func (b *backend) opened() (logical.Backend, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.client == nil {
		return nil, fmt.Errorf("the backend %q is not open", b.name)
	}
	return b.client, nil
}

// setup lets the plugin at the storage, by a server that stays until cleanup.
func (b *backend) setup(ctx context.Context, config map[string]string) error {
	client, err := b.opened()
	if err != nil {
		return err
	}
	b.mutex.Lock()
	again := b.setUp
	b.setUp = true
	b.mutex.Unlock()
	if again {
		return errors.New("a client can be set up only once: open the backend again")
	}
	return client.Setup(ctx, &logical.BackendConfig{
		StorageView: b.storage,
		Logger:      hclog.NewNullLogger(),
		System:      system,
		BackendUUID: b.uuid,
		Config:      config,
	})
}

// request has Vault's order: whether a write creates or updates is what the plugin says of its path.
func (b *backend) request(ctx context.Context, operation logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	client, err := b.opened()
	if err != nil {
		return nil, err
	}
	request := &logical.Request{
		ID:          b.uuid,
		Operation:   operation,
		Path:        path,
		Data:        data,
		MountPoint:  b.name + "/",
		ClientToken: "token",
		DisplayName: "token",
		Connection:  &logical.Connection{RemoteAddr: "127.0.0.1"},
	}
	if operation == logical.UpdateOperation {
		found, exists, err := client.HandleExistenceCheck(ctx, request)
		if err != nil {
			return nil, err
		}
		if found && !exists {
			request.Operation = logical.CreateOperation
		}
	}
	response, err := client.HandleRequest(ctx, request)
	if err == nil && response.IsError() {
		err = response.Error()
	}
	return response, err
}

// cleanup ends it, and the server that setup made.
func (b *backend) cleanup(ctx context.Context) error {
	client, err := b.opened()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		client.Cleanup(ctx)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		// The SDK waits for its server, which may never come.
		return ctx.Err()
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.client = nil
	return nil
}

func (b *backend) keys(ctx context.Context) ([]string, error) {
	return logical.CollectKeys(ctx, b.storage)
}
