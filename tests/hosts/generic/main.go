// Command generic is a host on go-plugin's client, of the counter plugin. It reattaches to what the gateway serves, and does what its
// standard input says (package orders):
//
//	generic [-own-pid] '{"MOUNT": {"Protocol": "grpc", "ProtocolVersion": 1, "Pid": 123, "Test": true, "Addr": {…}}}'
//
// or starts it itself, where it is told of a command (package reattach, whose verbs it has beside its own).
//
//	connect     {mount}                                          {version}            as every other verb does when it is needed
//	increment   {mount, key, delta, within}                      {value}              within: the deadline in milliseconds; 0, none
//	get         {mount, key, within}                             {value}
//	ping        {mount}                                          {}                   go-plugin's health check, which has no deadline
//	health      {mount, service, within}                         {status}             gRPC's name for it: SERVING, …
//	load        {mount, callers, rate, within}                   {load}               begins calls without end (package load); its number
//	tally       {load}                                           counts               what became of its calls up to now
//	pace        {load}                                           pace                 how fast its answers came
//	stop        {load}                                           counts               ends it, and waits for calls under way
//	exited      {mount}                                          {exited}             whether the client thinks that the plugin has
//	await_exit  {mount}                                          {}                   when it does
//	close       {mount}                                          {}                   Shutdown, and the connection; the next verb reconnects
package main

import (
	"context"
	"flag"
	"log"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/health/grpc_health_v1"

	"plugward.dev/tests/hosts/internal/load"
	"plugward.dev/tests/hosts/internal/orders"
	"plugward.dev/tests/hosts/internal/reattach"
)

// How often a client is asked whether its plugin has exited. It asks the system once per second.
const glance = 20 * time.Millisecond

type host struct {
	mounts *reattach.Mounts
	loads  load.Loads
}

type mountOrder struct {
	Mount   string
	Key     string
	Delta   int64
	Service string
	Within  orders.Milliseconds
}

func main() {
	ownPid := flag.Bool("own-pid", false, "watch this process instead of the one that the object names")
	flag.Parse()
	mounts, err := reattach.Parse(flag.Arg(0), *ownPid, func(config *plugin.ClientConfig, _ string, _ int) {
		config.HandshakeConfig = handshake
		config.Plugins = plugin.PluginSet{"counter": &counterPlugin{}}
	})
	if err != nil {
		log.Fatal(err)
	}
	host := &host{mounts: mounts}
	orders.Follow(mounts.Verbs(first, orders.Verbs{
		"connect":    orders.On(host.connect),
		"increment":  orders.On(host.increment),
		"get":        orders.On(host.get),
		"ping":       orders.On(host.ping),
		"health":     orders.On(host.health),
		"load":       orders.On(host.load),
		"tally":      orders.On(host.loads.Tally),
		"pace":       orders.On(host.loads.Pace),
		"stop":       orders.On(host.loads.Stop),
		"exited":     orders.On(host.exited),
		"await_exit": orders.On(host.awaitExit),
		"close":      orders.On(host.close),
	}))
	mounts.End()
}

// counter dispenses the plugin as hosts do, on the connection that is there or a new one.
func (h *host) counter(mount string) (*counter, error) {
	_, client, err := h.mounts.GRPC(mount)
	if err != nil {
		return nil, err
	}
	return dispense(client)
}

func dispense(client *plugin.GRPCClient) (*counter, error) {
	dispensed, err := client.Dispense("counter")
	if err != nil {
		return nil, err
	}
	return dispensed.(*counter), nil
}

// first reads a counter that nobody has.
func first(_ string, client *reattach.Client) error {
	connected, err := client.GRPC()
	if err != nil {
		return err
	}
	counter, err := dispense(connected)
	if err != nil {
		return err
	}
	_, err = counter.get(context.Background(), "first")
	return err
}

func (h *host) connect(order mountOrder) (any, error) {
	client, _, err := h.mounts.GRPC(order.Mount)
	if err != nil {
		return nil, err
	}
	return map[string]int{"version": client.NegotiatedVersion()}, nil
}

func (h *host) increment(order mountOrder) (any, error) {
	counter, err := h.counter(order.Mount)
	if err != nil {
		return nil, err
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	value, err := counter.increment(ctx, order.Key, order.Delta)
	return map[string]int64{"value": value}, err
}

func (h *host) get(order mountOrder) (any, error) {
	counter, err := h.counter(order.Mount)
	if err != nil {
		return nil, err
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	value, err := counter.get(ctx, order.Key)
	return map[string]int64{"value": value}, err
}

func (h *host) ping(order mountOrder) (any, error) {
	_, client, err := h.mounts.GRPC(order.Mount)
	if err != nil {
		return nil, err
	}
	return nil, client.Ping()
}

func (h *host) health(order mountOrder) (any, error) {
	_, client, err := h.mounts.GRPC(order.Mount)
	if err != nil {
		return nil, err
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	request := &grpc_health_v1.HealthCheckRequest{Service: order.Service}
	answer, err := grpc_health_v1.NewHealthClient(client.Conn).Check(ctx, request)
	return map[string]string{"status": answer.GetStatus().String()}, err
}

func (h *host) exited(order mountOrder) (any, error) {
	client, err := h.mounts.Client(order.Mount)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"exited": client.Exited()}, nil
}

func (h *host) awaitExit(order mountOrder) (any, error) {
	client, err := h.mounts.Client(order.Mount)
	if err != nil {
		return nil, err
	}
	for !client.Exited() {
		time.Sleep(glance)
	}
	return nil, nil
}

func (h *host) close(order mountOrder) (any, error) {
	_, client, err := h.mounts.GRPC(order.Mount)
	if err != nil {
		return nil, err
	}
	h.mounts.Forget(order.Mount)
	return nil, client.Close()
}
