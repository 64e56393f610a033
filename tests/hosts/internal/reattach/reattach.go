// Package reattach makes go-plugin clients of what `plugward get instance NAME -o reattach` prints: an object with a description per
// mount, in the shape of Terraform's TF_REATTACH_PROVIDERS.
//
// A description that has a Command instead of an address is of a plugin that is nobody's yet: its client starts it, as hosts do that
// cannot reattach (package start says how). The host ends it with itself, unless it is killed.
package reattach

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"plugward.dev/tests/hosts/internal/start"
)

// Mounts are clients by mount, made when they are first needed.
type Mounts struct {
	described map[string]description
	ours      func(*plugin.ClientConfig, string, int)

	mutex   sync.Mutex
	clients map[string]*Client
	// All that have started a plugin.
	started []*Client
	logs    map[string]*log
}

type description struct {
	Protocol        string
	ProtocolVersion int
	Pid             int
	Test            bool
	Addr            struct{ Network, String string }
	start.Start
}

// Parse reads the object. With ownPid the process that clients watch is this one, as it is of a host that writes
// Pid: os.Getpid(). What a client needs beyond its ReattachConfig is set by ours, which is told the mount and its protocol version.
func Parse(text string, ownPid bool, ours func(config *plugin.ClientConfig, mount string, version int)) (*Mounts, error) {
	var described map[string]description
	if err := json.Unmarshal([]byte(text), &described); err != nil {
		return nil, fmt.Errorf("the reattach object: %w", err)
	}
	for name, mount := range described {
		if !mount.starts() && mount.Addr.Network != "unix" {
			return nil, fmt.Errorf("the mount %s has a %q address, not a Unix socket's", name, mount.Addr.Network)
		}
		if ownPid {
			mount.Pid = os.Getpid()
			described[name] = mount
		}
	}
	return &Mounts{ours: ours, described: described, clients: map[string]*Client{}, logs: map[string]*log{}}, nil
}

// Client is the mount's client, which may not be connected. It is the same one until it is forgotten.
func (m *Mounts) Client(mount string) (*Client, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if client := m.clients[mount]; client != nil {
		return client, nil
	}
	client, err := m.make(mount)
	if err == nil {
		m.clients[mount] = client
	}
	return client, err
}

// Another is a client of the mount's plugin beside those that are there: of a process of its own, where it is started.
func (m *Mounts) Another(mount string) (*Client, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.make(mount)
}

func (m *Mounts) make(mount string) (*Client, error) {
	described, found := m.described[mount]
	if !found {
		return nil, fmt.Errorf("nothing was said of a mount %q", mount)
	}
	client := &Client{}
	config := &plugin.ClientConfig{
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           m.logger(mount, client),
		// Whatever the logger leaves out.
		Stderr: m.log(mount),
	}
	m.ours(config, mount, described.ProtocolVersion)
	if err := described.found(config); err != nil {
		return nil, err
	}
	client.Client, client.command = plugin.NewClient(config), config.Cmd
	if described.starts() {
		m.started = append(m.started, client)
	}
	return client, nil
}

// Run makes a client by the way that a library has of its own, which is told how the plugin is to be started, and where to log.
func (m *Mounts) Run(mount string, run func(start.Start, hclog.Logger) (*plugin.Client, error)) (*Client, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	client := &Client{}
	made, err := run(m.described[mount].Start, m.logger(mount, client))
	if err != nil {
		return nil, err
	}
	client.Client = made
	m.started = append(m.started, client)
	return client, nil
}

// Starts is whether a mount's plugin is to be started.
func (m *Mounts) Starts(mount string) bool { return m.described[mount].starts() }

func (m *Mounts) logger(mount string, client *Client) hclog.Logger {
	return m.log(mount).logger(mount, client)
}

func (m *Mounts) log(mount string) *log {
	if m.logs[mount] == nil {
		m.logs[mount] = &log{}
	}
	return m.logs[mount]
}

func (d description) starts() bool { return len(d.Command) != 0 }

// found says to a client where its plugin is, or how to start it.
func (d description) found(config *plugin.ClientConfig) error {
	if d.starts() {
		return d.Configure(config)
	}
	config.Reattach = &plugin.ReattachConfig{
		Protocol:        plugin.Protocol(d.Protocol),
		ProtocolVersion: d.ProtocolVersion,
		Pid:             d.Pid,
		Test:            d.Test,
		Addr:            &net.UnixAddr{Net: d.Addr.Network, Name: d.Addr.String},
	}
	return nil
}

// GRPC is the mount's connected client.
func (m *Mounts) GRPC(mount string) (*Client, *plugin.GRPCClient, error) {
	client, err := m.Client(mount)
	if err != nil {
		return nil, nil, err
	}
	grpc, err := client.GRPC()
	if err != nil {
		// One whose start failed cannot be started again.
		m.Forget(mount)
		return nil, nil, err
	}
	return client, grpc, nil
}

// Forget makes the mount's next client a new one.
func (m *Mounts) Forget(mount string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.clients, mount)
}

// End ends what was started: the host has finished.
func (m *Mounts) End() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var ending sync.WaitGroup
	for _, client := range m.started {
		ending.Go(func() { client.Kill() })
	}
	ending.Wait()
}
