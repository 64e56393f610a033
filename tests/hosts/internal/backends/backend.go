package backends

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"plugward.dev/tests/hosts/internal/catalog"
)

// backend is one of a server's: a path that a plugin serves, with a storage of its own.
type backend struct {
	name    string
	uuid    string
	storage Storage

	mutex sync.Mutex
	// What it is served by, if it is open.
	client Client
	// A client can be set up once: its server for the plugin is never made again.
	setUp bool
}

func newBackend(name string, storage Storage) *backend {
	// The KV plugin keeps everything under its id.
	return &backend{name: name, uuid: rand.Text(), storage: storage}
}

// open makes a new client, one of any number over that of the mount, with a multiplex_id of its own. What is stored stays.
func (b *backend) open(ctx context.Context, on *catalog.Catalog, mount string, metadata bool) (multiplexed bool, err error) {
	client, multiplexed, err := b.storage.Open(ctx, on, mount, metadata)
	if err != nil {
		return false, err
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.client, b.setUp = client, false
	return multiplexed, nil
}

func (b *backend) opened() (Client, error) {
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
	return client.Setup(ctx, b.uuid, config)
}

// request has the servers' order: whether a write creates or updates is what the plugin says of its path.
func (b *backend) request(ctx context.Context, operation, path string, data map[string]any) (*Response, error) {
	client, err := b.opened()
	if err != nil {
		return nil, err
	}
	request := Request{Operation: operation, Path: path, Data: data, Backend: b.name, UUID: b.uuid}
	if operation == Update {
		found, exists, err := client.Exists(ctx, request)
		if err != nil {
			return nil, err
		}
		if found && !exists {
			request.Operation = Create
		}
	}
	return client.Handle(ctx, request)
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
