// Command database is a host of database plugins, on the client that Vault has for them (its SDK's dbplugin/v5), which starts them by
// Vault's runner. What it is told and does is in package databases:
//
//	database [-own-pid] '{"MOUNT": {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": 123, "Test": true, "Addr": {…}}}'
package main

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/database/dbplugin/v5"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"

	"plugward.dev/tests/hosts/internal/catalog"
	"plugward.dev/tests/hosts/internal/databases"
	"plugward.dev/tests/hosts/internal/vault"
)

func main() {
	databases.Follow(databases.SDK{Ours: ours, Open: open})
}

func ours(config *plugin.ClientConfig, _ string, version int) {
	config.HandshakeConfig = dbplugin.HandshakeConfig
	config.ProtocolVersion = uint(version)
	config.Plugins = dbplugin.PluginSets[version]
}

func open(on *catalog.Catalog, mount string) (databases.Database, bool, error) {
	runner := &vault.Runner{Catalog: on, Mount: mount}
	client, err := dbplugin.NewPluginClient(context.Background(), runner, pluginutil.PluginClientConfig{
		Name:            mount,
		PluginType:      consts.PluginTypeDatabase,
		PluginSets:      dbplugin.PluginSets,
		HandshakeConfig: dbplugin.HandshakeConfig,
		Logger:          hclog.NewNullLogger(),
		AutoMTLS:        true,
		Wrapper:         runner,
	})
	return database{client}, runner.Multiplexed, err
}

// database is the SDK's client.
type database struct{ dbplugin.Database }

func (d database) Initialize(ctx context.Context, config map[string]any, verify bool) (map[string]any, error) {
	answer, err := d.Database.Initialize(ctx, dbplugin.InitializeRequest{Config: config, VerifyConnection: verify})
	return answer.Config, err
}

func (d database) NewUser(ctx context.Context, user databases.User) (string, error) {
	answer, err := d.Database.NewUser(ctx, dbplugin.NewUserRequest{
		UsernameConfig: dbplugin.UsernameMetadata{DisplayName: user.Display, RoleName: user.Role},
		Statements:     dbplugin.Statements{Commands: user.Statements},
		CredentialType: dbplugin.CredentialTypePassword,
		Password:       user.Password,
		Expiration:     time.Now().Add(time.Hour),
	})
	return answer.Username, err
}

func (d database) UpdateUser(ctx context.Context, user databases.User) error {
	_, err := d.Database.UpdateUser(ctx, dbplugin.UpdateUserRequest{
		Username:       user.Username,
		CredentialType: dbplugin.CredentialTypePassword,
		Password: &dbplugin.ChangePassword{
			NewPassword: user.Password,
			Statements:  dbplugin.Statements{Commands: user.Statements},
		},
	})
	return err
}

func (d database) DeleteUser(ctx context.Context, user databases.User) error {
	_, err := d.Database.DeleteUser(ctx, dbplugin.DeleteUserRequest{
		Username:   user.Username,
		Statements: dbplugin.Statements{Commands: user.Statements},
	})
	return err
}
