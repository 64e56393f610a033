package reattach

import (
	"errors"
	"sync"
	"time"
)

// cyclesOrder is for so many lives of a mount's plugin, so many of them at once.
type cyclesOrder struct {
	Mount    string
	Count    int
	Together int
}

// cycle is a plugin's life, from when its host started it.
type cycle struct {
	// Until it said where it serves, in milliseconds.
	Start float64 `json:"start"`
	// Of that, what the plugin took: from the start of its process to its first line.
	Line float64 `json:"line"`
	// Until it had answered the first call.
	Answer float64 `json:"answer"`
	Killed Killed  `json:"killed"`
	// What it failed with, if it did: nothing came after that.
	Failure string `json:"failure,omitempty"`
}

// cycles lets plugins live, each of a client of its own. A failed one is told of with the others.
func (m *Mounts) cycles(order cyclesOrder, first func(string, *Client) error) (any, error) {
	if order.Count <= 0 || order.Together <= 0 {
		return nil, errors.New("there are no cycles to make")
	}
	cycles := make([]cycle, order.Count)
	waiting := make(chan *cycle)
	var makers sync.WaitGroup
	for range order.Together {
		makers.Go(func() {
			for cycle := range waiting {
				if err := cycle.live(m, order.Mount, first); err != nil {
					cycle.Failure = err.Error()
				}
			}
		})
	}
	for i := range cycles {
		waiting <- &cycles[i]
	}
	close(waiting)
	makers.Wait()
	return map[string]any{"cycles": cycles}, nil
}

func (c *cycle) live(mounts *Mounts, mount string, first func(string, *Client) error) error {
	client, err := mounts.Another(mount)
	if err != nil {
		return err
	}
	began := time.Now()
	// One that could not be started ends here as well.
	defer func() { c.Killed = client.Kill() }()
	if _, err := client.Start(); err != nil {
		return err
	}
	c.Start, c.Line = Since(began), client.Line()
	if err := first(mount, client); err != nil {
		return err
	}
	c.Answer = Since(began)
	return nil
}
