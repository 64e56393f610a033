//go:build tools

// Package plugins pins the plugins, made with the real go-plugin library, that plugward is tested with. Build one with
//
//	CGO_ENABLED=0 go build -o plugin-counter github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/plugin-counter
package plugins

import (
	// A counter that keeps its numbers with its host, over the broker. Cookie BASIC_PLUGIN=hello, version 1.
	_ "github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/plugin-counter"
)
