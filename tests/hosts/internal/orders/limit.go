package orders

import (
	"context"
	"time"
)

// Milliseconds of a limit; 0 is none.
type Milliseconds int64

// Duration is as long.
func (m Milliseconds) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// Limit is a context that ends after it.
func (m Milliseconds) Limit() (context.Context, context.CancelFunc) {
	if m == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), m.Duration())
}
