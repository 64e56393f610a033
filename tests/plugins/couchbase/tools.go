//go:build tools

// Package couchbase pins a database plugin as it was published, with the versions of its own go.mod. It multiplexes; without a
// Couchbase it can tell its type. Build it with
//
//	CGO_ENABLED=0 go build github.com/hashicorp/vault-plugin-database-couchbase/cmd/vault-plugin-database-couchbase
package couchbase

import (
	// Cookie VAULT_DATABASE_PLUGIN, versions 5 and 6.
	_ "github.com/hashicorp/vault-plugin-database-couchbase/cmd/vault-plugin-database-couchbase"
)
