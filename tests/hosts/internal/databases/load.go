package databases

import (
	"context"

	"plugward.dev/tests/hosts/internal/load"
)

// loadOrder is for callers that each make a user and delete it. Both are one call.
type loadOrder struct {
	Connection string
	User
	load.Order
}

func (h *host) load(order loadOrder) (any, error) {
	database, err := h.opened(order.Connection)
	if err != nil {
		return nil, err
	}
	return h.loads.Begin(order.Order, func(name string) load.Call {
		user := order.User
		user.Display = name
		return func(ctx context.Context) (load.Verdict, error) {
			return load.Right, answered(ctx, func(ctx context.Context) error { return comeAndGo(ctx, database, user) })
		}
	})
}

func comeAndGo(ctx context.Context, database Database, user User) (err error) {
	if user.Username, err = database.NewUser(ctx, user); err != nil {
		return err
	}
	return database.DeleteUser(ctx, user)
}
