// Package reattach makes go-plugin clients of what `plugward get instance NAME -o reattach` prints: an object with a description per
// mount, in the shape of Terraform's TF_REATTACH_PROVIDERS.
package reattach

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// Mounts are clients by mount, made when they are first needed.
type Mounts struct {
	configs map[string]*plugin.ReattachConfig
	ours    func(*plugin.ClientConfig, string, int)

	mutex   sync.Mutex
	clients map[string]*plugin.Client
}

type description struct {
	Protocol        string
	ProtocolVersion int
	Pid             int
	Test            bool
	Addr            struct{ Network, String string }
}

// Parse reads the object. With ownPid the process that clients watch is this one, as it is of a host that writes
// Pid: os.Getpid(). What a client needs beyond its ReattachConfig is set by ours, which is told the mount and its protocol version.
func Parse(text string, ownPid bool, ours func(config *plugin.ClientConfig, mount string, version int)) (*Mounts, error) {
	var described map[string]description
	if err := json.Unmarshal([]byte(text), &described); err != nil {
		return nil, fmt.Errorf("the reattach object: %w", err)
	}
	mounts := &Mounts{ours: ours, configs: map[string]*plugin.ReattachConfig{}, clients: map[string]*plugin.Client{}}
	for name, mount := range described {
		if mount.Addr.Network != "unix" {
			return nil, fmt.Errorf("the mount %s has a %q address, not a Unix socket's", name, mount.Addr.Network)
		}
		if ownPid {
			mount.Pid = os.Getpid()
		}
		mounts.configs[name] = &plugin.ReattachConfig{
			Protocol:        plugin.Protocol(mount.Protocol),
			ProtocolVersion: mount.ProtocolVersion,
			Pid:             mount.Pid,
			Test:            mount.Test,
			Addr:            &net.UnixAddr{Net: mount.Addr.Network, Name: mount.Addr.String},
		}
	}
	return mounts, nil
}

// Client is the mount's client, which may not be connected. It is the same one until it is forgotten.
func (m *Mounts) Client(mount string) (*plugin.Client, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if client := m.clients[mount]; client != nil {
		return client, nil
	}
	reattach := m.configs[mount]
	if reattach == nil {
		return nil, fmt.Errorf("nothing was said of a mount %q", mount)
	}
	config := &plugin.ClientConfig{
		Reattach:         reattach,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.New(&hclog.LoggerOptions{Name: mount, Level: hclog.Error, Output: os.Stderr}),
	}
	m.ours(config, mount, reattach.ProtocolVersion)
	client := plugin.NewClient(config)
	m.clients[mount] = client
	return client, nil
}

// GRPC is the mount's connected client.
func (m *Mounts) GRPC(mount string) (*plugin.Client, *plugin.GRPCClient, error) {
	client, err := m.Client(mount)
	if err != nil {
		return nil, nil, err
	}
	protocol, err := client.Client()
	if err != nil {
		// One whose start failed cannot be started again.
		m.Forget(mount)
		return nil, nil, err
	}
	grpc, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return nil, nil, fmt.Errorf("the mount %s does not speak gRPC", mount)
	}
	return client, grpc, nil
}

// Forget makes the mount's next client a new one.
func (m *Mounts) Forget(mount string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.clients, mount)
}
