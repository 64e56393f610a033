// Package databases is a host of database plugins, whoever's SDK it has its clients from. It reattaches to what the gateway serves, or
// starts it itself where it is told of a command (package reattach, whose verbs it has beside its own), and does what its standard
// input says (package orders):
//
//	open         {connection, mount}                                      {multiplexed}
//	initialize   {connection, config, verify, within}                     {config}
//	new_user     {connection, display, role, password, statements, within}  {username}
//	update_user  {connection, username, password, statements, within}     {}
//	delete_user  {connection, username, statements, within}               {}
//	type         {connection}                                             {type}
//	load         {connection, password, statements, callers, rate, within}  {load}  begins calls without end: each makes a user, and deletes it
//	tally        {load}                                                   counts   what became of its calls up to now
//	pace         {load}                                                   pace     how fast its answers came
//	stop         {load}                                                   counts   ends it, and waits for calls under way
//	close        {connection}                                             {}       and, where it was the last, a process that was started
//	shutdown     {mount}                                                  {}       ends the mount's client, and its connections
//
// A connection is one of the server's to a database: several may share a process, each with a multiplex_id of its own. "within" is a
// call's deadline in milliseconds, 0 for none; the SDKs give type and close a second.
package databases

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

// User is what is to be one.
type User struct {
	Display    string
	Role       string
	Username   string
	Password   string
	Statements []string
}

// Database is an SDK's client.
type Database interface {
	Initialize(ctx context.Context, config map[string]any, verify bool) (map[string]any, error)
	// NewUser makes one, and says what it is called.
	NewUser(context.Context, User) (string, error)
	UpdateUser(context.Context, User) error
	DeleteUser(context.Context, User) error
	Type() (string, error)
	Close() error
}

// SDK is what a host is made with.
type SDK struct {
	// Ours is for clients that are nobody's but ours (package reattach).
	Ours func(config *plugin.ClientConfig, mount string, version int)
	// Open makes a client on a mount, and says whether its plugin multiplexes.
	Open func(on *catalog.Catalog, mount string) (database Database, multiplexed bool, err error)
}

type host struct {
	sdk     SDK
	mounts  *reattach.Mounts
	catalog *catalog.Catalog
	loads   load.Loads

	mutex       sync.Mutex
	connections map[string]Database
}

type connectionOrder struct {
	Connection string
	Mount      string
	Config     map[string]any
	Verify     bool
	User
	Within orders.Milliseconds
}

// Follow is the whole of a host: it ends with its standard input.
func Follow(sdk SDK) {
	ownPid := flag.Bool("own-pid", false, "watch this process instead of the one that the object names")
	flag.Parse()
	mounts, err := reattach.Parse(flag.Arg(0), *ownPid, sdk.Ours)
	if err != nil {
		log.Fatal(err)
	}
	host := &host{sdk: sdk, mounts: mounts, catalog: catalog.New(mounts), connections: map[string]Database{}}
	orders.Follow(mounts.Verbs(catalog.First, orders.Verbs{
		"open":        orders.On(host.open),
		"initialize":  orders.On(host.initialize),
		"new_user":    orders.On(host.newUser),
		"update_user": orders.On(host.updateUser),
		"delete_user": orders.On(host.deleteUser),
		"type":        orders.On(host.kind),
		"load":        orders.On(host.load),
		"tally":       orders.On(host.loads.Tally),
		"pace":        orders.On(host.loads.Pace),
		"stop":        orders.On(host.loads.Stop),
		"close":       orders.On(host.close),
		"shutdown":    orders.On(host.shutdown),
	}))
	mounts.End()
}

func (h *host) open(order connectionOrder) (any, error) {
	database, multiplexed, err := h.sdk.Open(h.catalog, order.Mount)
	if err != nil {
		return nil, err
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.connections[order.Connection] = database
	return map[string]bool{"multiplexed": multiplexed}, nil
}

func (h *host) opened(connection string) (Database, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if database := h.connections[connection]; database != nil {
		return database, nil
	}
	return nil, fmt.Errorf("the connection %q was not opened", connection)
}

// call makes one on an open connection. What it fails with is the status that was answered, if one was.
func (h *host) call(order connectionOrder, work func(context.Context, Database) error) error {
	database, err := h.opened(order.Connection)
	if err != nil {
		return err
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	return answered(ctx, func(ctx context.Context) error { return work(ctx, database) })
}

func answered(ctx context.Context, work func(context.Context) error) error {
	ctx, answered := catalog.WithStatus(ctx)
	err := work(ctx)
	if err != nil && answered.Err != nil {
		return answered.Err
	}
	return err
}

func (h *host) initialize(order connectionOrder) (any, error) {
	var config map[string]any
	err := h.call(order, func(ctx context.Context, database Database) (err error) {
		config, err = database.Initialize(ctx, order.Config, order.Verify)
		return err
	})
	return map[string]any{"config": config}, err
}

func (h *host) newUser(order connectionOrder) (any, error) {
	var username string
	err := h.call(order, func(ctx context.Context, database Database) (err error) {
		username, err = database.NewUser(ctx, order.User)
		return err
	})
	return map[string]string{"username": username}, err
}

func (h *host) updateUser(order connectionOrder) (any, error) {
	return nil, h.call(order, func(ctx context.Context, database Database) error { return database.UpdateUser(ctx, order.User) })
}

func (h *host) deleteUser(order connectionOrder) (any, error) {
	return nil, h.call(order, func(ctx context.Context, database Database) error { return database.DeleteUser(ctx, order.User) })
}

func (h *host) kind(order connectionOrder) (any, error) {
	var kind string
	err := h.call(order, func(_ context.Context, database Database) (err error) {
		kind, err = database.Type()
		return err
	})
	return map[string]string{"type": kind}, err
}

func (h *host) close(order connectionOrder) (any, error) {
	err := h.call(order, func(_ context.Context, database Database) error { return database.Close() })
	if err == nil {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		delete(h.connections, order.Connection)
	}
	return nil, err
}

func (h *host) shutdown(order connectionOrder) (any, error) {
	return nil, h.catalog.Shutdown(order.Mount)
}
