//go:build tools

// Package redis pins a database plugin as it was published, with the versions of its own go.mod. It does not multiplex, and it does
// nothing before Initialize. Build it with
//
//	CGO_ENABLED=0 go build github.com/hashicorp/vault-plugin-database-redis/cmd/vault-plugin-database-redis
package redis

import (
	// Cookie VAULT_DATABASE_PLUGIN, version 5.
	_ "github.com/hashicorp/vault-plugin-database-redis/cmd/vault-plugin-database-redis"
)
