// Command database is a host of database plugins, on the client that Vault has for them (its SDK's dbplugin/v5). It reattaches to what
// the gateway serves, and does what its standard input says (package orders):
//
//	database [-own-pid] '{"MOUNT": {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": 123, "Test": true, "Addr": {…}}}'
//
//	open         {connection, mount}                                      {multiplexed}
//	initialize   {connection, config, verify, within}                     {config}
//	new_user     {connection, display, role, password, statements, within}  {username}
//	update_user  {connection, username, password, statements, within}     {}
//	delete_user  {connection, username, statements, within}               {}
//	type         {connection}                                             {type}
//	close        {connection}                                             {}
//	shutdown     {mount}                                                  {}     ends the mount's client, and its connections
//
// A connection is one of Vault's to a database: several may share the client of a mount, each with a multiplex_id of its own.
// "within" is a call's deadline in milliseconds, 0 for none; the SDK gives type and close a second.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/database/dbplugin/v5"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"

	"plugward.dev/tests/hosts/internal/orders"
	"plugward.dev/tests/hosts/internal/reattach"
	"plugward.dev/tests/hosts/internal/vault"
)

type host struct {
	mounts *reattach.Mounts

	mutex       sync.Mutex
	connections map[string]dbplugin.Database
}

type connectionOrder struct {
	Connection string
	Mount      string
	Config     map[string]any
	Verify     bool
	Display    string
	Role       string
	Username   string
	Password   string
	Statements []string
	Within     int64
}

func main() {
	ownPid := flag.Bool("own-pid", false, "watch this process instead of the one that the object names")
	flag.Parse()
	mounts, err := reattach.Parse(flag.Arg(0), *ownPid, func(config *plugin.ClientConfig, _ string, version int) {
		config.HandshakeConfig = dbplugin.HandshakeConfig
		config.Plugins = dbplugin.PluginSets[version]
	})
	if err != nil {
		log.Fatal(err)
	}
	host := &host{mounts: mounts, connections: map[string]dbplugin.Database{}}
	orders.Follow(orders.Verbs{
		"open":        orders.On(host.open),
		"initialize":  orders.On(host.initialize),
		"new_user":    orders.On(host.newUser),
		"update_user": orders.On(host.updateUser),
		"delete_user": orders.On(host.deleteUser),
		"type":        orders.On(host.kind),
		"close":       orders.On(host.close),
		"shutdown":    orders.On(host.shutdown),
	})
}

func (h *host) open(order connectionOrder) (any, error) {
	runner := &vault.Runner{Mounts: h.mounts, Mount: order.Mount}
	database, err := dbplugin.NewPluginClient(context.Background(), runner, pluginutil.PluginClientConfig{
		Name:            order.Mount,
		PluginType:      consts.PluginTypeDatabase,
		PluginSets:      dbplugin.PluginSets,
		HandshakeConfig: dbplugin.HandshakeConfig,
		Logger:          hclog.NewNullLogger(),
	})
	if err != nil {
		return nil, err
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.connections[order.Connection] = database
	return map[string]bool{"multiplexed": runner.Multiplexed}, nil
}

// call makes one on an open connection. What it fails with is the status that was answered, if one was.
func (h *host) call(order connectionOrder, work func(context.Context, dbplugin.Database) error) error {
	h.mutex.Lock()
	database := h.connections[order.Connection]
	h.mutex.Unlock()
	if database == nil {
		return fmt.Errorf("the connection %q was not opened", order.Connection)
	}
	ctx, answered := vault.WithStatus(context.Background())
	if order.Within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(order.Within)*time.Millisecond)
		defer cancel()
	}
	err := work(ctx, database)
	if err != nil && answered.Err != nil {
		return answered.Err
	}
	return err
}

func (h *host) initialize(order connectionOrder) (any, error) {
	var answer dbplugin.InitializeResponse
	err := h.call(order, func(ctx context.Context, database dbplugin.Database) (err error) {
		request := dbplugin.InitializeRequest{Config: order.Config, VerifyConnection: order.Verify}
		answer, err = database.Initialize(ctx, request)
		return err
	})
	return map[string]any{"config": answer.Config}, err
}

func (h *host) newUser(order connectionOrder) (any, error) {
	var answer dbplugin.NewUserResponse
	err := h.call(order, func(ctx context.Context, database dbplugin.Database) (err error) {
		answer, err = database.NewUser(ctx, dbplugin.NewUserRequest{
			UsernameConfig: dbplugin.UsernameMetadata{DisplayName: order.Display, RoleName: order.Role},
			Statements:     dbplugin.Statements{Commands: order.Statements},
			CredentialType: dbplugin.CredentialTypePassword,
			Password:       order.Password,
			Expiration:     time.Now().Add(time.Hour),
		})
		return err
	})
	return map[string]string{"username": answer.Username}, err
}

func (h *host) updateUser(order connectionOrder) (any, error) {
	return nil, h.call(order, func(ctx context.Context, database dbplugin.Database) error {
		_, err := database.UpdateUser(ctx, dbplugin.UpdateUserRequest{
			Username:       order.Username,
			CredentialType: dbplugin.CredentialTypePassword,
			Password: &dbplugin.ChangePassword{
				NewPassword: order.Password,
				Statements:  dbplugin.Statements{Commands: order.Statements},
			},
		})
		return err
	})
}

func (h *host) deleteUser(order connectionOrder) (any, error) {
	return nil, h.call(order, func(ctx context.Context, database dbplugin.Database) error {
		_, err := database.DeleteUser(ctx, dbplugin.DeleteUserRequest{
			Username:   order.Username,
			Statements: dbplugin.Statements{Commands: order.Statements},
		})
		return err
	})
}

func (h *host) kind(order connectionOrder) (any, error) {
	var kind string
	err := h.call(order, func(_ context.Context, database dbplugin.Database) (err error) {
		kind, err = database.Type()
		return err
	})
	return map[string]string{"type": kind}, err
}

func (h *host) close(order connectionOrder) (any, error) {
	err := h.call(order, func(_ context.Context, database dbplugin.Database) error { return database.Close() })
	if err == nil {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		delete(h.connections, order.Connection)
	}
	return nil, err
}

func (h *host) shutdown(order connectionOrder) (any, error) {
	_, client, err := h.mounts.GRPC(order.Mount)
	if err != nil {
		return nil, err
	}
	h.mounts.Forget(order.Mount)
	return nil, client.Close()
}
