package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"plugward.dev/tests/hosts/internal/load"
)

// loadOrder is for callers that each add to a number of their own, with one callback per call, or two (increment).
type loadOrder struct {
	Mount    string
	Instance string
	// add, add_kept or increment.
	Method string
	load.Order
}

func (h *host) load(order loadOrder) (any, error) {
	client, instance, err := h.instance(order.Mount, order.Instance)
	if err != nil {
		return nil, err
	}
	var caller func(name string) load.Call
	switch order.Method {
	case "add":
		caller = func(name string) load.Call { return instance.counted(client, name, 1, instance.add) }
	case "increment":
		caller = func(name string) load.Call { return instance.counted(client, name, 2, instance.increment) }
	case "add_kept":
		caller = func(name string) load.Call { return instance.compared(client, name) }
	default:
		return nil, fmt.Errorf("a load cannot call %q", order.Method)
	}
	return h.loads.Begin(order.Order, caller)
}

type adding func(ctx context.Context, on *client, key string, delta int64) (int64, callbacks, error)

// counted are calls that each have a server of their own: an answer must be what the last of so many callbacks made of the number.
func (i *instance) counted(on *client, key string, wanted int, add adding) load.Call {
	return func(ctx context.Context) (load.Verdict, error) {
		value, seen, err := add(ctx, on, key, 1)
		if err != nil {
			return 0, err
		}
		switch {
		case seen.count > wanted:
			return load.Repeated, nil
		case seen != callbacks{count: wanted, key: key, value: value}:
			return load.Wrong, nil
		}
		return load.Right, nil
	}
}

// compared are calls over the connection that all share: the number must have become what is answered, and that during the call. Each
// call adds one at most, though it fail.
func (i *instance) compared(on *client, key string) load.Call {
	var begun atomic.Int64
	return func(ctx context.Context) (load.Verdict, error) {
		most := begun.Add(1)
		before := i.numbers.get(key)
		value, err := i.addKept(ctx, on, key, 1)
		if err != nil {
			return 0, err
		}
		switch {
		case value <= before || value > i.numbers.get(key):
			return load.Wrong, nil
		case value > most:
			return load.Repeated, nil
		}
		return load.Right, nil
	}
}
