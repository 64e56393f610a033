// Command backend is a host of secrets and auth plugins, on the client that Vault has for them (its SDK's plugin). It reattaches to what
// the gateway serves, and does what its standard input says (package orders):
//
//	backend [-own-pid] '{"MOUNT": {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": 123, "Test": true, "Addr": {…}}}'
//
// or starts it itself, where it is told of a command (package reattach).
//
//	open        {backend, mount, within}          {multiplexed}                   a client of the backend's own over that of the mount
//	setup       {backend, config, within}         {}                              once for each open: the plugin calls back from then on
//	initialize  {backend, within}                 {}
//	about       {backend}                         {type, version}                 which the SDK gives no deadline
//	write       {backend, path, data, within}     {data, warnings, auth}
//	read        {backend, path, within}           {data, warnings}                no data where there is nothing
//	list        {backend, path, within}           {keys}
//	delete      {backend, path, within}           {}
//	cleanup     {backend, within}                 {}                              the end of what open began
//	keys        {backend}                         {keys}                          what the plugin keeps in the backend's storage
//	load        {backend, callers, rate, within}  {load}                          begins calls without end (load.go); its number
//	tally       {load}                            counts                          what became of its calls up to now
//	stop        {load}                            counts                          ends it, and waits for calls under way
//	shutdown    {mount}                           {}                              ends the mount's client, and its backends
//
// Each backend has a storage of its own, which stays when it is opened again, and a multiplex_id of its own, which does not: Vault sends
// one to plugins that do not multiplex, too. "within" is a deadline in milliseconds, 0 for none; a write is two calls under one
// (request in backend.go).
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/logical"
	backendplugin "github.com/hashicorp/vault/sdk/plugin"

	"plugward.dev/tests/hosts/internal/load"
	"plugward.dev/tests/hosts/internal/orders"
	"plugward.dev/tests/hosts/internal/reattach"
	"plugward.dev/tests/hosts/internal/vault"
)

// system is what plugins may ask about Vault itself.
var system = &logical.StaticSystemView{
	DefaultLeaseTTLVal: time.Hour,
	MaxLeaseTTLVal:     24 * time.Hour,
	VersionString:      "1.21.0",
}

type host struct {
	mounts *reattach.Mounts
	loads  load.Loads

	mutex    sync.Mutex
	backends map[string]*backend
}

type order struct {
	Backend string
	Mount   string
	Config  map[string]string
	Path    string
	Data    map[string]any
	Within  orders.Milliseconds
}

// answer is what a plugin says to a request.
type answer struct {
	Data     map[string]any `json:"data"`
	Warnings []string       `json:"warnings,omitempty"`
	Auth     *logical.Auth  `json:"auth,omitempty"`
}

func main() {
	ownPid := flag.Bool("own-pid", false, "watch this process instead of the one that the object names")
	flag.Parse()
	mounts, err := reattach.Parse(flag.Arg(0), *ownPid, func(config *plugin.ClientConfig, _ string, version int) {
		config.HandshakeConfig = backendplugin.HandshakeConfig
		// What is offered to a plugin that is started, beside which the SDK's own is of long ago.
		config.HandshakeConfig.ProtocolVersion = uint(version)
		config.Plugins = backendplugin.PluginSet[version]
	})
	if err != nil {
		log.Fatal(err)
	}
	host := &host{mounts: mounts, backends: map[string]*backend{}}
	orders.Follow(orders.Verbs{
		"open":       orders.On(host.open),
		"setup":      orders.On(host.setup),
		"initialize": orders.On(host.initialize),
		"about":      orders.On(host.about),
		"write":      orders.On(host.write),
		"read":       orders.On(host.read),
		"list":       orders.On(host.list),
		"delete":     orders.On(host.delete),
		"cleanup":    orders.On(host.cleanup),
		"keys":       orders.On(host.keys),
		"load":       orders.On(host.load),
		"tally":      orders.On(host.loads.Tally),
		"stop":       orders.On(host.loads.Stop),
		"shutdown":   orders.On(host.shutdown),
	})
}

func (h *host) backend(name string) (*backend, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.backends[name] == nil {
		return nil, fmt.Errorf("the backend %q was not opened", name)
	}
	return h.backends[name], nil
}

// call makes one for a backend. What it fails with is the status that was answered, if one was.
func (h *host) call(order order, work func(context.Context, *backend) error) error {
	backend, err := h.backend(order.Backend)
	if err != nil {
		return err
	}
	limit, cancel := order.Within.Limit()
	defer cancel()
	ctx, answered := vault.WithStatus(limit)
	err = work(ctx, backend)
	if answered.Err != nil {
		return answered.Err
	}
	return err
}

func (h *host) open(order order) (any, error) {
	h.mutex.Lock()
	known := h.backends[order.Backend]
	h.mutex.Unlock()
	if known == nil {
		made, err := newBackend(order.Backend)
		if err != nil {
			return nil, err
		}
		known = made
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	multiplexed, err := known.open(ctx, h.mounts, order.Mount)
	if err != nil {
		return nil, err
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.backends[order.Backend] = known
	return map[string]bool{"multiplexed": multiplexed}, nil
}

func (h *host) setup(order order) (any, error) {
	return nil, h.call(order, func(ctx context.Context, backend *backend) error { return backend.setup(ctx, order.Config) })
}

func (h *host) initialize(order order) (any, error) {
	return nil, h.call(order, func(ctx context.Context, backend *backend) error {
		client, err := backend.opened()
		if err != nil {
			return err
		}
		return client.Initialize(ctx, &logical.InitializationRequest{Storage: backend.storage})
	})
}

func (h *host) about(order order) (any, error) {
	about := map[string]string{}
	err := h.call(order, func(_ context.Context, backend *backend) error {
		client, err := backend.opened()
		if err != nil {
			return err
		}
		about["type"] = client.Type().String()
		if versioner, ok := client.(logical.PluginVersioner); ok {
			about["version"] = versioner.PluginVersion().Version
		}
		return nil
	})
	return about, err
}

// request is a call whose answer is the plugin's.
func (h *host) request(order order, operation logical.Operation) (*answer, error) {
	var response *logical.Response
	err := h.call(order, func(ctx context.Context, backend *backend) (err error) {
		response, err = backend.request(ctx, operation, order.Path, order.Data)
		return err
	})
	if err != nil || response == nil {
		return &answer{}, err
	}
	return &answer{Data: response.Data, Warnings: response.Warnings, Auth: response.Auth}, nil
}

func (h *host) write(order order) (any, error) { return h.request(order, logical.UpdateOperation) }

func (h *host) read(order order) (any, error) { return h.request(order, logical.ReadOperation) }

func (h *host) list(order order) (any, error) {
	answer, err := h.request(order, logical.ListOperation)
	keys := answer.Data["keys"]
	if keys == nil {
		keys = []string{}
	}
	return map[string]any{"keys": keys}, err
}

func (h *host) delete(order order) (any, error) { return h.request(order, logical.DeleteOperation) }

func (h *host) cleanup(order order) (any, error) {
	return nil, h.call(order, func(ctx context.Context, backend *backend) error { return backend.cleanup(ctx) })
}

func (h *host) keys(order order) (any, error) {
	keys := []string{}
	err := h.call(order, func(ctx context.Context, backend *backend) error {
		stored, err := backend.keys(ctx)
		keys = append(keys, stored...)
		return err
	})
	return map[string][]string{"keys": keys}, err
}

func (h *host) shutdown(order order) (any, error) {
	_, client, err := h.mounts.GRPC(order.Mount)
	if err != nil {
		return nil, err
	}
	h.mounts.Forget(order.Mount)
	return nil, client.Close()
}
