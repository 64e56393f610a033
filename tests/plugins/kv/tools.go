//go:build tools

// Package kv pins a secrets plugin as it was published, with the versions of its own go.mod. It multiplexes, and keeps everything in its
// host's storage, which it reaches over the broker from Setup on. Build it with
//
//	CGO_ENABLED=0 go build github.com/hashicorp/vault-plugin-secrets-kv/cmd/vault-plugin-secrets-kv
package kv

import (
	// Cookie VAULT_BACKEND_PLUGIN, versions 3 to 5.
	_ "github.com/hashicorp/vault-plugin-secrets-kv/cmd/vault-plugin-secrets-kv"
)
