// Package reattach makes go-plugin clients of what `plugward get instance NAME -o reattach` prints: an object with a description per
// mount, in the shape of Terraform's TF_REATTACH_PROVIDERS.
//
// A description that has a Command instead of an address is of a plugin that is nobody's yet: its client starts it as a process, with
// AutoMTLS, as hosts do that have no gateway.
package reattach

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// Mounts are clients by mount, made when they are first needed.
type Mounts struct {
	described map[string]description
	ours      func(*plugin.ClientConfig, string, int)

	mutex   sync.Mutex
	clients map[string]*plugin.Client
}

type description struct {
	Protocol        string
	ProtocolVersion int
	Pid             int
	Test            bool
	Addr            struct{ Network, String string }
	// The program to start and its arguments, and what is added to our environment for it.
	Command []string
	Env     map[string]string
}

// Parse reads the object. With ownPid the process that clients watch is this one, as it is of a host that writes
// Pid: os.Getpid(). What a client needs beyond its ReattachConfig is set by ours, which is told the mount and its protocol version.
func Parse(text string, ownPid bool, ours func(config *plugin.ClientConfig, mount string, version int)) (*Mounts, error) {
	var described map[string]description
	if err := json.Unmarshal([]byte(text), &described); err != nil {
		return nil, fmt.Errorf("the reattach object: %w", err)
	}
	for name, mount := range described {
		if len(mount.Command) == 0 && mount.Addr.Network != "unix" {
			return nil, fmt.Errorf("the mount %s has a %q address, not a Unix socket's", name, mount.Addr.Network)
		}
		if ownPid {
			mount.Pid = os.Getpid()
			described[name] = mount
		}
	}
	return &Mounts{ours: ours, described: described, clients: map[string]*plugin.Client{}}, nil
}

// Client is the mount's client, which may not be connected. It is the same one until it is forgotten.
func (m *Mounts) Client(mount string) (*plugin.Client, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if client := m.clients[mount]; client != nil {
		return client, nil
	}
	described, found := m.described[mount]
	if !found {
		return nil, fmt.Errorf("nothing was said of a mount %q", mount)
	}
	config := &plugin.ClientConfig{
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.New(&hclog.LoggerOptions{Name: mount, Level: hclog.Error, Output: os.Stderr}),
	}
	described.found(config)
	m.ours(config, mount, described.ProtocolVersion)
	client := plugin.NewClient(config)
	m.clients[mount] = client
	return client, nil
}

// found says to a client where its plugin is, or how to start it.
func (d description) found(config *plugin.ClientConfig) {
	if len(d.Command) == 0 {
		config.Reattach = &plugin.ReattachConfig{
			Protocol:        plugin.Protocol(d.Protocol),
			ProtocolVersion: d.ProtocolVersion,
			Pid:             d.Pid,
			Test:            d.Test,
			Addr:            &net.UnixAddr{Net: d.Addr.Network, Name: d.Addr.String},
		}
		return
	}
	config.AutoMTLS = true
	config.Cmd = exec.Command(d.Command[0], d.Command[1:]...)
	// It would outlive a host that is killed.
	config.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		config.Cmd.Env = append(config.Cmd.Env, name+"="+d.Env[name])
	}
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
