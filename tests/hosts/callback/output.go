package main

import (
	"strings"
	"sync"
)

// output is what a plugin has written.
type output struct {
	stdout, stderr text
}

// text grows.
type text struct {
	mutex   sync.Mutex
	written strings.Builder
}

func (t *text) Write(piece []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.written.Write(piece)
}

func (t *text) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.written.String()
}
