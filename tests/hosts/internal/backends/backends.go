// Package backends is a host of secrets and auth plugins, whoever's SDK it has its clients from. It reattaches to what the gateway
// serves, or starts it itself where it is told of a command (package reattach, whose verbs it has beside its own), and does what its
// standard input says (package orders):
//
//	open        {backend, mount, metadata, within}  {multiplexed}                 a client of the backend's own over that of the mount
//	setup       {backend, config, within}         {}                              once for each open: the plugin calls back from then on
//	initialize  {backend, within}                 {}
//	about       {backend}                         {type, version}                 which the SDKs give no deadline
//	write       {backend, path, data, within}     {data, warnings, auth}
//	read        {backend, path, within}           {data, warnings}                no data where there is nothing
//	list        {backend, path, within}           {keys}
//	delete      {backend, path, within}           {}
//	cleanup     {backend, within}                 {}                              the end of what open began
//	keys        {backend}                         {keys}                          what the plugin keeps in the backend's storage
//	load        {backend, callers, rate, within}  {load}                          begins calls without end (load.go); its number
//	tally       {load}                            counts                          what became of its calls up to now
//	pace        {load}                            pace                            how fast its answers came
//	stop        {load}                            counts                          ends it, and waits for calls under way
//	shutdown    {mount}                           {}                              ends the mount's client, and its backends
//
// Each backend has a storage of its own, which stays when it is opened again, and a multiplex_id of its own, which does not: the servers
// send one to plugins that do not multiplex, too. One that is opened with "metadata" may only be asked what it is, after setup.
// "within" is a deadline in milliseconds, 0 for none; a write is two calls under one (request in backend.go).
package backends

import (
	"context"
	"flag"
	"fmt"
	"log"
	"sync"

	"github.com/hashicorp/go-plugin"

	"plugward.dev/tests/hosts/internal/catalog"
	"plugward.dev/tests/hosts/internal/load"
	"plugward.dev/tests/hosts/internal/orders"
	"plugward.dev/tests/hosts/internal/reattach"
)

// Request is one to a backend, as all of them are made: by a token, to the backend's own path.
type Request struct {
	Operation string
	Path      string
	Data      map[string]any
	Backend   string
	UUID      string
}

// The operations.
const (
	Create = "create"
	Update = "update"
	Read   = "read"
	List   = "list"
	Delete = "delete"
)

// Response is what a plugin says to a request. Auth is the SDK's.
type Response struct {
	Data     map[string]any `json:"data"`
	Warnings []string       `json:"warnings,omitempty"`
	Auth     any            `json:"auth,omitempty"`
}

// Client is an SDK's, of one backend.
type Client interface {
	// Setup lets the plugin at the backend's storage.
	Setup(ctx context.Context, uuid string, config map[string]string) error
	Initialize(context.Context) error
	// About is the plugin's type and version.
	About() (kind, version string)
	// Exists asks whether there is something at a path, and whether the plugin knows.
	Exists(context.Context, Request) (found, exists bool, err error)
	// Handle fails too with what a plugin answers as an error.
	Handle(context.Context, Request) (*Response, error)
	// Cleanup has no end where the SDK waits for a server that never comes.
	Cleanup(context.Context)
}

// Storage is where an SDK keeps what the plugins of one backend store.
type Storage interface {
	Keys(context.Context) ([]string, error)
	// Open makes a client over a mount's, and says whether its plugin multiplexes.
	Open(ctx context.Context, on *catalog.Catalog, mount string, metadata bool) (client Client, multiplexed bool, err error)
}

// SDK is what a host is made with.
type SDK struct {
	// Ours is for clients that are nobody's but ours (package reattach).
	Ours func(config *plugin.ClientConfig, mount string, version int)
	// Storage is of a new backend, which stores nothing.
	Storage func() Storage
}

type host struct {
	sdk     SDK
	catalog *catalog.Catalog
	loads   load.Loads

	mutex    sync.Mutex
	backends map[string]*backend
}

type order struct {
	Backend  string
	Mount    string
	Metadata bool
	Config   map[string]string
	Path     string
	Data     map[string]any
	Within   orders.Milliseconds
}

// Follow is the whole of a host: it ends with its standard input.
func Follow(sdk SDK) {
	ownPid := flag.Bool("own-pid", false, "watch this process instead of the one that the object names")
	flag.Parse()
	mounts, err := reattach.Parse(flag.Arg(0), *ownPid, sdk.Ours)
	if err != nil {
		log.Fatal(err)
	}
	host := &host{sdk: sdk, catalog: catalog.New(mounts), backends: map[string]*backend{}}
	orders.Follow(mounts.Verbs(catalog.First, orders.Verbs{
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
		"pace":       orders.On(host.loads.Pace),
		"stop":       orders.On(host.loads.Stop),
		"shutdown":   orders.On(host.shutdown),
	}))
	mounts.End()
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
	ctx, answered := catalog.WithStatus(limit)
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
		known = newBackend(order.Backend, h.sdk.Storage())
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	multiplexed, err := known.open(ctx, h.catalog, order.Mount, order.Metadata)
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
		return client.Initialize(ctx)
	})
}

func (h *host) about(order order) (any, error) {
	about := map[string]string{}
	err := h.call(order, func(_ context.Context, backend *backend) error {
		client, err := backend.opened()
		if err == nil {
			about["type"], about["version"] = client.About()
		}
		return err
	})
	return about, err
}

// request is a call whose answer is the plugin's.
func (h *host) request(order order, operation string) (*Response, error) {
	response := &Response{}
	err := h.call(order, func(ctx context.Context, backend *backend) error {
		given, err := backend.request(ctx, operation, order.Path, order.Data)
		if given != nil {
			response = given
		}
		return err
	})
	return response, err
}

func (h *host) write(order order) (any, error) { return h.request(order, Update) }

func (h *host) read(order order) (any, error) { return h.request(order, Read) }

func (h *host) list(order order) (any, error) {
	response, err := h.request(order, List)
	keys := response.Data["keys"]
	if keys == nil {
		keys = []string{}
	}
	return map[string]any{"keys": keys}, err
}

func (h *host) delete(order order) (any, error) { return h.request(order, Delete) }

func (h *host) cleanup(order order) (any, error) {
	return nil, h.call(order, func(ctx context.Context, backend *backend) error { return backend.cleanup(ctx) })
}

func (h *host) keys(order order) (any, error) {
	keys := []string{}
	err := h.call(order, func(ctx context.Context, backend *backend) error {
		stored, err := backend.storage.Keys(ctx)
		keys = append(keys, stored...)
		return err
	})
	return map[string][]string{"keys": keys}, err
}

func (h *host) shutdown(order order) (any, error) {
	return nil, h.catalog.Shutdown(order.Mount)
}
