package main

import (
	"context"
	"sync/atomic"

	"plugward.dev/tests/hosts/internal/load"
)

// loadOrder is for callers that each increment a counter of their own.
type loadOrder struct {
	Mount string
	load.Order
}

func (h *host) load(order loadOrder) (any, error) {
	counter, err := h.counter(order.Mount)
	if err != nil {
		return nil, err
	}
	return h.loads.Begin(order.Order, func(name string) load.Call { return increments(counter, name) })
}

// increments are calls that each add one to a counter. The highest value that it can have is known: each call adds one at most, and only
// a new plugin takes any away.
func increments(counter *counter, key string) load.Call {
	var most atomic.Int64
	return func(ctx context.Context) (load.Verdict, error) {
		highest := most.Add(1)
		value, err := counter.increment(ctx, key, 1)
		if err != nil {
			return 0, err
		}
		most.Store(value)
		if value > highest {
			return load.Repeated, nil
		}
		return load.Right, nil
	}
}
