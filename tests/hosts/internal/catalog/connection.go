package catalog

import (
	"context"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// The metadata that says for which of a plugin's instances a call is.
const multiplexID = "multiplex_id"

// Connection is what both SDKs call a plugin's client: one of any number over go-plugin's.
type Connection struct {
	plugin.ClientProtocol
	// Whether the plugin said that it multiplexes.
	Multiplexed bool

	on    named
	end   func()
	ended sync.Once
}

// Conn has the connection's id in its calls.
func (c *Connection) Conn() grpc.ClientConnInterface { return &c.on }

// Reload is what a backend asks for that is cleaned up to be there again: the end of its connection.
func (c *Connection) Reload() error { return c.Close() }

// Close leaves the process to the others that share it.
func (c *Connection) Close() error {
	c.ended.Do(c.end)
	return nil
}

// named names its client to a plugin that has several, and notes what calls fail with.
type named struct {
	grpc.ClientConnInterface
	id string
}

func (n *named) Invoke(ctx context.Context, method string, request, answer any, options ...grpc.CallOption) error {
	if n.id != "" {
		ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs(multiplexID, n.id))
	}
	err := n.ClientConnInterface.Invoke(ctx, method, request, answer, options...)
	if noted, ok := ctx.Value(statusKey{}).(*AnsweredStatus); ok {
		noted.Err = err
	}
	return err
}

// AnsweredStatus is what the call that was made with a context failed with: the status that the plugin, or the gateway, answered. The
// SDKs put words around it, and leave out its code at times.
type AnsweredStatus struct{ Err error }

type statusKey struct{}

// WithStatus is a context that notes it.
func WithStatus(ctx context.Context) (context.Context, *AnsweredStatus) {
	answered := &AnsweredStatus{}
	return context.WithValue(ctx, statusKey{}, answered), answered
}
