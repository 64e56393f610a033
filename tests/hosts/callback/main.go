// Command callback is a host on go-plugin's client, of plugins that call it back over the broker: tests/plugins/go/callback, and
// HashiCorp's plugin-counter. It reattaches to what the gateway serves, and does what its standard input says (package orders):
//
//	callback [-own-pid] '{"MOUNT": {"Protocol": "grpc", "ProtocolVersion": 1, "Pid": 123, "Test": true, "Addr": {…}}}'
//
// or starts it itself, where it is told of a command (package reattach, whose verbs it has beside its own).
//
//	connect      {mount}                                              {version, multiplexed}  as every other verb does when it is needed
//	increment    {mount, instance, key, delta, within}                {value}           plugin-counter's only method
//	add          {mount, instance, key, delta, within}                {value}           through a server of this call's own
//	attach       {mount, instance, within}                            {}                has the plugin keep a connection to the host
//	add_kept     {mount, instance, key, delta, within}                {value}           through that connection
//	detach       {mount, instance, within}                            {}                ends it
//	watch        {mount, instance, key, messages, take, kept, within}  {values}         a stream with a callback for each message
//	open         {mount, instance, within}                            {opened}          dials what the plugin serves; its number
//	echo         {opened, text, within}                               {text, calls}     calls it
//	end          {opened, within}                                     {}                has the plugin end it
//	print        {mount, instance, stdout, stderr, within}            {}                has the plugin write lines
//	output       {mount}                                              {stdout, stderr}  what came of all that plugins of the mount wrote
//	stored       {mount, instance, key}                               {value}           a number that the host keeps
//	load         {mount, instance, method, callers, rate, within}     {load}            begins calls without end (load.go); its number
//	tally        {load}                                               counts            what became of its calls up to now
//	pace         {load}                                               pace              how fast its answers came
//	stop         {load}                                               counts            ends it, and waits for calls under way
//	close        {mount}                                              {}                Shutdown, and the connection; the next verb reconnects
//
// An instance is one of those that a plugin which multiplexes keeps apart: its name is the multiplex_id of its calls, and what it keeps
// with the host is its own. Without a name there is no id. "within" is a call's deadline in milliseconds, 0 for none; "take" is the
// message after which a watch is cancelled, 0 for none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"sync"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"plugward.dev/tests/hosts/internal/load"
	"plugward.dev/tests/hosts/internal/orders"
	"plugward.dev/tests/hosts/internal/reattach"
	"plugward.dev/tests/plugins/callback/api"
)

type host struct {
	mounts *reattach.Mounts
	loads  load.Loads

	mutex     sync.Mutex
	instances map[[2]string]*instance
	outputs   map[string]*output
	opened    []*opened
}

type order struct {
	Mount    string
	Instance string
	Key      string
	Delta    int64
	Messages int64
	Take     int
	Kept     bool
	Opened   int
	Text     string
	Stdout   string
	Stderr   string
	Within   orders.Milliseconds
}

func main() {
	ownPid := flag.Bool("own-pid", false, "watch this process instead of the one that the object names")
	flag.Parse()
	host := &host{instances: map[[2]string]*instance{}, outputs: map[string]*output{}}
	mounts, err := reattach.Parse(flag.Arg(0), *ownPid, func(config *plugin.ClientConfig, mount string, _ int) {
		output := host.output(mount)
		config.HandshakeConfig = api.Handshake
		config.Plugins = plugin.PluginSet{"callback": &callbackPlugin{}}
		config.SyncStdout = &output.stdout
		config.SyncStderr = &output.stderr
	})
	if err != nil {
		log.Fatal(err)
	}
	host.mounts = mounts
	orders.Follow(mounts.Verbs(host.first, orders.Verbs{
		"connect":   orders.On(host.connect),
		"increment": orders.On(host.increment),
		"add":       orders.On(host.add),
		"attach":    orders.On(host.attach),
		"add_kept":  orders.On(host.addKept),
		"detach":    orders.On(host.detach),
		"watch":     orders.On(host.watch),
		"open":      orders.On(host.open),
		"echo":      orders.On(host.echo),
		"end":       orders.On(host.end),
		"print":     orders.On(host.print),
		"output":    orders.On(host.written),
		"stored":    orders.On(host.stored),
		"load":      orders.On(host.load),
		"tally":     orders.On(host.loads.Tally),
		"pace":      orders.On(host.loads.Pace),
		"stop":      orders.On(host.loads.Stop),
		"close":     orders.On(host.close),
	}))
	mounts.End()
}

// instance is what a call needs, on the connection that is there or a new one.
func (h *host) instance(mount, id string) (*client, *instance, error) {
	_, protocol, err := h.mounts.GRPC(mount)
	if err != nil {
		return nil, nil, err
	}
	dispensed, err := protocol.Dispense("callback")
	if err != nil {
		return nil, nil, err
	}
	return dispensed.(*client), h.known(mount, id), nil
}

// first has the plugin print nothing. That plugin-counter does not know of it is an answer, too.
func (h *host) first(_ string, on *reattach.Client) error {
	protocol, err := on.GRPC()
	if err != nil {
		return err
	}
	// An id of its own, for a plugin that multiplexes.
	ctx := (&instance{id: "first"}).named(context.Background())
	_, err = api.Print.Call(ctx, protocol.Conn, api.Lines{})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return err
}

func (h *host) known(mount, id string) *instance {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	name := [2]string{mount, id}
	if h.instances[name] == nil {
		h.instances[name] = &instance{id: id, numbers: numbers{values: map[string]int64{}}}
	}
	return h.instances[name]
}

// output is of all the clients that a mount has had.
func (h *host) output(mount string) *output {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.outputs[mount] == nil {
		h.outputs[mount] = &output{}
	}
	return h.outputs[mount]
}

// call makes one for an instance.
func (h *host) call(order order, work func(context.Context, *client, *instance) error) error {
	client, instance, err := h.instance(order.Mount, order.Instance)
	if err != nil {
		return err
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	return work(ctx, client, instance)
}

func (h *host) connect(order order) (any, error) {
	client, protocol, err := h.mounts.GRPC(order.Mount)
	if err != nil {
		return nil, err
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	multiplexed, err := pluginutil.MultiplexingSupported(ctx, protocol.Conn, order.Mount)
	return map[string]any{"version": client.NegotiatedVersion(), "multiplexed": multiplexed}, err
}

func (h *host) increment(order order) (any, error) {
	var value int64
	err := h.call(order, func(ctx context.Context, on *client, instance *instance) (err error) {
		value, _, err = instance.increment(ctx, on, order.Key, order.Delta)
		return err
	})
	return api.Value{Value: value}, err
}

func (h *host) add(order order) (any, error) {
	var value int64
	err := h.call(order, func(ctx context.Context, on *client, instance *instance) (err error) {
		value, _, err = instance.add(ctx, on, order.Key, order.Delta)
		return err
	})
	return api.Value{Value: value}, err
}

func (h *host) attach(order order) (any, error) {
	return nil, h.call(order, func(ctx context.Context, on *client, instance *instance) error {
		return instance.attach(ctx, on)
	})
}

func (h *host) addKept(order order) (any, error) {
	var value int64
	err := h.call(order, func(ctx context.Context, on *client, instance *instance) (err error) {
		value, err = instance.addKept(ctx, on, order.Key, order.Delta)
		return err
	})
	return api.Value{Value: value}, err
}

func (h *host) detach(order order) (any, error) {
	return nil, h.call(order, func(ctx context.Context, on *client, instance *instance) error {
		return instance.detach(ctx, on)
	})
}

// errTaken ends a watch that has gone on for long enough.
var errTaken = errors.New("enough")

func (h *host) watch(order order) (any, error) {
	values := []int64{}
	err := h.call(order, func(ctx context.Context, on *client, instance *instance) error {
		return instance.watch(ctx, on, order.Key, order.Messages, order.Kept, func(value int64) error {
			values = append(values, value)
			if len(values) == order.Take {
				return errTaken
			}
			return nil
		})
	})
	if errors.Is(err, errTaken) {
		err = nil
	}
	return map[string][]int64{"values": values}, err
}

func (h *host) open(order order) (any, error) {
	var number int
	err := h.call(order, func(ctx context.Context, on *client, instance *instance) error {
		opened, err := instance.open(ctx, on)
		if err != nil {
			return err
		}
		h.mutex.Lock()
		defer h.mutex.Unlock()
		number = len(h.opened)
		h.opened = append(h.opened, opened)
		return nil
	})
	return map[string]int{"opened": number}, err
}

func (h *host) openedAs(number int) (*opened, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if number < 0 || number >= len(h.opened) {
		return nil, fmt.Errorf("nothing was opened as %d", number)
	}
	return h.opened[number], nil
}

func (h *host) echo(order order) (any, error) {
	opened, err := h.openedAs(order.Opened)
	if err != nil {
		return nil, err
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	return opened.echo(ctx, order.Text)
}

func (h *host) end(order order) (any, error) {
	opened, err := h.openedAs(order.Opened)
	if err != nil {
		return nil, err
	}
	ctx, cancel := order.Within.Limit()
	defer cancel()
	return nil, opened.close(ctx)
}

func (h *host) print(order order) (any, error) {
	return nil, h.call(order, func(ctx context.Context, on *client, instance *instance) error {
		lines := api.Lines{Stdout: order.Stdout, Stderr: order.Stderr}
		_, err := api.Print.Call(instance.named(ctx), on.connection, lines)
		return err
	})
}

func (h *host) written(order order) (any, error) {
	output := h.output(order.Mount)
	return api.Lines{Stdout: output.stdout.String(), Stderr: output.stderr.String()}, nil
}

func (h *host) stored(order order) (any, error) {
	return api.Value{Value: h.known(order.Mount, order.Instance).numbers.get(order.Key)}, nil
}

func (h *host) close(order order) (any, error) {
	_, protocol, err := h.mounts.GRPC(order.Mount)
	if err != nil {
		return nil, err
	}
	h.mounts.Forget(order.Mount)
	return nil, protocol.Close()
}
