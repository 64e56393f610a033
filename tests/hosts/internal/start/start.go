// Package start is how a host starts its plugin itself, by a command, as most hosts do.
package start

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"

	"github.com/hashicorp/go-plugin"

	"plugward.dev/tests/hosts/internal/orders"
)

// Start is how. What is not said is as it mostly is: with AutoMTLS, in the host's environment, a socket for each server of the broker.
type Start struct {
	// The program and its arguments, and what its environment has beside that of the host, which wins where both have a name.
	Command []string
	Env     map[string]string
	// The cookie's name and its value, where they are not those that the host's plugins have.
	Cookie []string
	// The program's SHA-256 in hexadecimal: another one is not started.
	SHA256 string
	// Instead of AutoMTLS.
	Plaintext bool
	// Servers of the broker share the plugin's connection.
	Multiplex bool
	// Nothing of the host's environment.
	SkipHostEnv bool
	// The group of every socket, a name or a number.
	Group string
	// Where go-plugin makes directories for sockets, where it makes any.
	TempDir string
	// It ends with CleanupClients.
	Managed bool
	// How long it may take until it says where it serves; 0: go-plugin's minute.
	StartWithin orders.Milliseconds
}

// Checksum is of the program, which is the one that is pinned or none.
func (s *Start) Checksum() ([]byte, error) {
	sum, err := hex.DecodeString(s.SHA256)
	if err == nil && len(sum) != 0 && len(sum) != sha256.Size {
		err = fmt.Errorf("it has %d bytes", len(sum))
	}
	if err != nil {
		return nil, fmt.Errorf("%q is no SHA-256: %w", s.SHA256, err)
	}
	return sum, nil
}

// KnownChecksum is of the program as it is now, where none is pinned: for hosts that have a checksum of every plugin.
func (s *Start) KnownChecksum() ([]byte, error) {
	if sum, err := s.Checksum(); err != nil || len(sum) != 0 {
		return sum, err
	}
	program, err := os.Open(s.Command[0])
	if err != nil {
		return nil, err
	}
	defer program.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, program)
	return hash.Sum(nil), err
}

// Environment is what is added to the host's, in the form of a process's.
func (s *Start) Environment() []string {
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		environment = append(environment, name+"="+s.Env[name])
	}
	return environment
}

// Configure says it to a client.
func (s *Start) Configure(config *plugin.ClientConfig) error {
	config.Cmd = exec.Command(s.Command[0], s.Command[1:]...)
	config.Cmd.Env = s.Environment()
	config.AutoMTLS = !s.Plaintext
	config.GRPCBrokerMultiplex = s.Multiplex
	config.SkipHostEnv = s.SkipHostEnv
	config.Managed = s.Managed
	config.StartTimeout = s.StartWithin.Duration()
	if s.Group != "" || s.TempDir != "" {
		config.UnixSocketConfig = &plugin.UnixSocketConfig{Group: s.Group, TempDir: s.TempDir}
	}
	if len(s.Cookie) == 2 {
		config.MagicCookieKey, config.MagicCookieValue = s.Cookie[0], s.Cookie[1]
	}
	sum, err := s.Checksum()
	if len(sum) != 0 {
		config.SecureConfig = &plugin.SecureConfig{Checksum: sum, Hash: sha256.New()}
	}
	return err
}
