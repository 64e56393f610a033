package reattach

import (
	"errors"
	"maps"
	"time"

	"github.com/hashicorp/go-plugin"

	"plugward.dev/tests/hosts/internal/orders"
)

// mountOrder is of a verb that all hosts have.
type mountOrder struct {
	Mount string
}

// Verbs are those that all hosts have, and these. What they do to the client of a mount is what hosts do that start their plugins:
//
//	start    {mount}                     {pid, milliseconds, version}       until the plugin says where it serves, which Start waits for
//	kill     {mount}                     {milliseconds, graceful, ended}    Client.Kill; the next verb starts another
//	cleanup_clients {}                   {milliseconds}                     plugin.CleanupClients, once: kills those that are managed
//	log      {mount}                     {text}                             what go-plugin logged, and its plugins' standard error
//	cycles   {mount, count, together}    {cycles}                           starts and kills again and again (cycles.go)
//
// First makes a client's first call, whatever it is.
func (m *Mounts) Verbs(first func(mount string, client *Client) error, own orders.Verbs) orders.Verbs {
	verbs := orders.Verbs{
		"start":           orders.On(m.start),
		"kill":            orders.On(m.kill),
		"cleanup_clients": orders.On(cleanupClients),
		"log":             orders.On(m.told),
		"cycles":          orders.On(func(order cyclesOrder) (any, error) { return m.cycles(order, first) }),
	}
	maps.Copy(verbs, own)
	return verbs
}

func (m *Mounts) start(order mountOrder) (any, error) {
	client, err := m.Client(order.Mount)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := client.Start(); err != nil {
		m.Forget(order.Mount)
		return nil, err
	}
	took := Since(began)
	reattach := client.ReattachConfig()
	if reattach == nil {
		return nil, errors.New("the plugin has no process")
	}
	return map[string]any{"pid": reattach.Pid, "milliseconds": took, "version": client.NegotiatedVersion()}, nil
}

func (m *Mounts) kill(order mountOrder) (any, error) {
	client, err := m.Client(order.Mount)
	if err != nil {
		return nil, err
	}
	if m.Starts(order.Mount) {
		m.Forget(order.Mount)
	}
	return client.Kill(), nil
}

func cleanupClients(struct{}) (any, error) {
	began := time.Now()
	plugin.CleanupClients()
	return map[string]float64{"milliseconds": Since(began)}, nil
}

func (m *Mounts) told(order mountOrder) (any, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return map[string]string{"text": m.log(order.Mount).String()}, nil
}
