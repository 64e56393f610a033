//go:build tools

// Package tests pins the programs that the relay is tested with.
package tests

import (
	// Says what of HTTP/2 a server gets wrong.
	_ "github.com/summerwind/h2spec/cmd/h2spec"
)
