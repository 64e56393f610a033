package backends

import (
	"context"
	"fmt"
	"sync/atomic"

	"plugward.dev/tests/hosts/internal/load"
)

// loadOrder is for callers that each write what nobody has written before to a path of their own, and read it back: for a KV backend
// of version 1. Both are one call.
type loadOrder struct {
	Backend string
	load.Order
}

func (h *host) load(order loadOrder) (any, error) {
	backend, err := h.backend(order.Backend)
	if err != nil {
		return nil, err
	}
	return h.loads.Begin(order.Order, func(name string) load.Call { return backend.writesAndReads(name) })
}

func (b *backend) writesAndReads(path string) load.Call {
	var calls atomic.Int64
	return func(ctx context.Context) (load.Verdict, error) {
		written := fmt.Sprintf("%s, %s, %d", b.name, path, calls.Add(1))
		if _, err := b.request(ctx, Update, path, map[string]any{"value": written}); err != nil {
			return 0, err
		}
		response, err := b.request(ctx, Read, path, nil)
		if err != nil {
			return 0, err
		}
		if response == nil || response.Data["value"] != written {
			return load.Wrong, nil
		}
		return load.Right, nil
	}
}
