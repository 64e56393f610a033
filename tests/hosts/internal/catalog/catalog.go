// Package catalog keeps the connections of a host to its plugins, as the plugin catalogs of Vault and OpenBao do: one process for all
// connections to a plugin that multiplexes, and a process for each connection to any other. A plugin that the host did not start
// has one client, which all connections share.
//
// It knows neither's SDK: what the two want of it is the same.
package catalog

import (
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"plugward.dev/tests/hosts/internal/reattach"
	"plugward.dev/tests/hosts/internal/start"
)

// Catalog is of all plugins that a host has been told of.
type Catalog struct {
	mounts *reattach.Mounts

	// Held while a plugin starts, as in theirs.
	mutex sync.Mutex
	// The processes that have a place for another connection, by mount.
	shared map[string]*process
}

// Plugin is what an SDK does with one.
type Plugin struct {
	Mount string
	// Run makes a client that will start it.
	Run func(start.Start, hclog.Logger) (*plugin.Client, error)
	// Multiplexes asks it.
	Multiplexes func(*grpc.ClientConn) (bool, error)
	// Whether its calls have an id though it does not multiplex, as Vault's backends send one.
	AlwaysNamed bool
}

// process is a client, and how many connections it has.
type process struct {
	client *reattach.Client
	// Whether it is this host's own.
	started     bool
	connections int
}

// New knows no process yet.
func New(mounts *reattach.Mounts) *Catalog {
	return &Catalog{mounts: mounts, shared: map[string]*process{}}
}

// Connect makes another connection to a plugin.
func (c *Catalog) Connect(plugin Plugin) (*Connection, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	process, err := c.process(plugin)
	if err != nil {
		return nil, err
	}
	connection, err := connect(process, plugin)
	if err != nil {
		c.release(process)
		return nil, err
	}
	process.connections++
	if process.started && connection.Multiplexed {
		c.shared[plugin.Mount] = process
	}
	connection.end = func() { c.close(process) }
	return connection, nil
}

// process is one that has a place, which may not be connected.
func (c *Catalog) process(plugin Plugin) (*process, error) {
	if !c.mounts.Starts(plugin.Mount) {
		client, _, err := c.mounts.GRPC(plugin.Mount)
		return &process{client: client}, err
	}
	if shared := c.shared[plugin.Mount]; shared != nil && !shared.client.Exited() {
		return shared, nil
	}
	client, err := c.mounts.Run(plugin.Mount, plugin.Run)
	return &process{client: client, started: true}, err
}

func connect(process *process, plugin Plugin) (*Connection, error) {
	protocol, err := process.client.GRPC()
	if err != nil {
		return nil, err
	}
	multiplexed, err := plugin.Multiplexes(protocol.Conn)
	if err != nil {
		return nil, err
	}
	connection := &Connection{ClientProtocol: protocol, Multiplexed: multiplexed, on: named{ClientConnInterface: protocol.Conn}}
	if multiplexed || plugin.AlwaysNamed {
		connection.on.id = rand.Text()[:10]
	}
	return connection, nil
}

func (c *Catalog) close(process *process) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	process.connections--
	c.release(process)
}

// release ends a process of the host's that has no connection.
func (c *Catalog) release(process *process) {
	if process.connections > 0 || !process.started {
		return
	}
	for mount, shared := range c.shared {
		if shared == process {
			delete(c.shared, mount)
		}
	}
	process.client.Kill()
}

// Shutdown ends a mount's plugin, whoever is connected: that which the host reattached to, or which several connections share.
func (c *Catalog) Shutdown(mount string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !c.mounts.Starts(mount) {
		_, client, err := c.mounts.GRPC(mount)
		if err != nil {
			return err
		}
		c.mounts.Forget(mount)
		return client.Close()
	}
	shared := c.shared[mount]
	if shared == nil {
		return fmt.Errorf("no process of the mount %q is shared", mount)
	}
	delete(c.shared, mount)
	shared.client.Kill()
	return nil
}
