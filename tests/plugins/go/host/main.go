// Command host is a host made with the real go-plugin library. It runs a plugin of application protocol version 1, prints what it
// sees of it, and ends it:
//
//	host COOKIE_KEY COOKIE_VALUE TEXT PROGRAM [ARGUMENT...]
//
// TEXT is what it waits for in the plugin's output before it ends the plugin.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// How long the plugin may take to write the text. It is not meant to pass.
const limit = time.Minute

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: host COOKIE_KEY COOKIE_VALUE TEXT PROGRAM [ARGUMENT...]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], exec.Command(os.Args[4], os.Args[5:]...)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(key, value, text string, command *exec.Cmd) error {
	output := &search{text: text, found: make(chan struct{})}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: key, MagicCookieValue: value},
		Plugins:          plugin.PluginSet{"connection": &connection{}},
		Cmd:              command,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SyncStdout:       output,
	})
	defer client.Kill()
	protocol, err := client.Client()
	if err != nil {
		return err
	}
	fmt.Println("version", client.NegotiatedVersion())
	if err := protocol.Ping(); err != nil {
		return err
	}
	fmt.Println("healthy")
	select {
	case <-output.found:
		fmt.Println("output")
	case <-time.After(limit):
		return errors.New("the plugin did not write the text")
	}
	client.Kill()
	// A status of the process, not a guess: it is known once Kill has returned.
	fmt.Println("ended", command.ProcessState)
	return nil
}

// search is a writer that looks for a text.
type search struct {
	mutex sync.Mutex
	seen  strings.Builder
	text  string
	found chan struct{}
	once  sync.Once
}

func (s *search) Write(piece []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.seen.Write(piece)
	if strings.Contains(s.seen.String(), s.text) {
		s.once.Do(func() { close(s.found) })
	}
	return len(piece), nil
}

// connection is a plugin of which nothing but the connection is used.
type connection struct {
	plugin.NetRPCUnsupportedPlugin
}

func (*connection) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is a host")
}

func (*connection) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}
