package reattach

import (
	"os"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// log is what the clients of a mount say: of what they do, and every line that their plugins write to their standard error. What is an
// error goes to ours, too.
type log struct {
	mutex   sync.Mutex
	written strings.Builder
}

// Write is for one message.
func (l *log) Write(message []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.written.Write(message)
}

func (l *log) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.written.String()
}

// logger is one that ends in it, and that the client listens to.
func (l *log) logger(mount string, client *Client) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: mount, Level: hclog.Error, Output: os.Stderr})
	logger.RegisterSink(hclog.NewSinkAdapter(&hclog.LoggerOptions{Level: hclog.Trace, Output: l, DisableTime: true}))
	logger.RegisterSink(client)
	return logger
}
