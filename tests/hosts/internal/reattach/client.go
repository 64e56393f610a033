package reattach

import (
	"fmt"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// Client is one of go-plugin's, of which it is known how its plugin has ended.
type Client struct {
	*plugin.Client
	// What it was started with, where the client is our own making.
	command  *exec.Cmd
	ungentle atomic.Bool
	// When its plugin's process was started, and when the plugin's first line was understood.
	launched, spoke atomic.Pointer[time.Time]
}

// Killed is how a plugin ended that its host has finished with.
type Killed struct {
	// How long Kill took, in milliseconds.
	Milliseconds float64 `json:"milliseconds"`
	// Whether the plugin went by itself when it was told to.
	Graceful bool `json:"graceful"`
	// How its process ended ("exit status 0", "signal: killed"), where that is known.
	Ended string `json:"ended"`
}

// Accept hears of what the client does. It keeps to itself whether it had to kill, and when what its plugin has to do began and ended:
// before that it makes a certificate.
func (c *Client) Accept(_ string, _ hclog.Level, message string, _ ...any) {
	now := time.Now()
	switch message {
	case "starting plugin":
		c.launched.Store(&now)
	case "using plugin":
		c.spoke.Store(&now)
	case "plugin failed to exit gracefully":
		c.ungentle.Store(true)
	}
}

// Line is how long its plugin took from the start of its process to its first line, in milliseconds; 0 if it was not started.
func (c *Client) Line() float64 {
	launched, spoke := c.launched.Load(), c.spoke.Load()
	if launched == nil || spoke == nil {
		return 0
	}
	return milliseconds(spoke.Sub(*launched))
}

// Kill is what a host does that has finished with its plugin.
func (c *Client) Kill() Killed {
	began := time.Now()
	c.Client.Kill()
	killed := Killed{Milliseconds: Since(began), Graceful: !c.ungentle.Load()}
	if c.command != nil && c.command.ProcessState != nil {
		killed.Ended = c.command.ProcessState.String()
	}
	return killed
}

// GRPC is its connection, which is made when it is first needed.
func (c *Client) GRPC() (*plugin.GRPCClient, error) {
	protocol, err := c.Client.Client()
	if err != nil {
		return nil, err
	}
	grpc, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return nil, fmt.Errorf("the plugin speaks %s, not gRPC", c.Protocol())
	}
	return grpc, nil
}

// Since is the time since then in milliseconds, with their fractions.
func Since(then time.Time) float64 { return milliseconds(time.Since(then)) }

func milliseconds(took time.Duration) float64 { return float64(took) / float64(time.Millisecond) }
