//go:build tools

// Package jwt pins an auth plugin as it was published, with the versions of its own go.mod. It multiplexes, and keeps its configuration
// and its roles in its host's storage. With public keys in its configuration it needs no other service, not even for logins. Build it
// with
//
//	CGO_ENABLED=0 go build github.com/hashicorp/vault-plugin-auth-jwt/cmd/vault-plugin-auth-jwt
package jwt

import (
	// Cookie VAULT_BACKEND_PLUGIN, versions 3 to 5.
	_ "github.com/hashicorp/vault-plugin-auth-jwt/cmd/vault-plugin-auth-jwt"
)
