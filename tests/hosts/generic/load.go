package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"plugward.dev/tests/hosts/internal/orders"
)

// How long after its deadline a call may come back before it is taken for lost.
const grace = 5 * time.Second

// How many different messages of a code are told.
const messages = 5

// loadOrder is for so many callers, each of which increments a counter of its own again and again.
type loadOrder struct {
	Mount   string
	Callers int
	// Calls per second of all callers together; 0: one after the other without a pause.
	Rate float64
	// The deadline of each call, which it must have.
	Within milliseconds
}

// startedOrder is about a load that has begun.
type startedOrder struct {
	Load int
}

// counts say what became of the calls that have ended.
type counts struct {
	Answered int64 `json:"answered"`
	// By gRPC's code.
	Failed map[codes.Code]*failed `json:"failed"`
	// Neither answered nor failed by its deadline and the grace after it.
	Lost int64 `json:"lost"`
	// Answers that show that an earlier call was carried out more than once.
	Repeated int64 `json:"repeated"`
	// The slowest answer, in milliseconds.
	Slowest int64 `json:"slowest"`
}

type failed struct {
	Count int64 `json:"count"`
	// The first few different ones.
	Messages []string `json:"messages"`
}

// tally is counts that callers add to.
type tally struct {
	mutex  sync.Mutex
	counts counts
}

// running is a load.
type running struct {
	end     context.CancelFunc
	callers sync.WaitGroup
	tally   tally
}

// loads are all that were begun, by number.
type loads struct {
	mutex sync.Mutex
	begun []*running
}

func (l *loads) add(load *running) int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.begun = append(l.begun, load)
	return len(l.begun) - 1
}

func (l *loads) get(number int) (*running, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if number < 0 || number >= len(l.begun) {
		return nil, fmt.Errorf("there is no load %d", number)
	}
	return l.begun[number], nil
}

func (h *host) load(order loadOrder) (any, error) {
	if order.Within <= 0 || order.Callers <= 0 {
		return nil, errors.New("a load needs callers, and deadlines for their calls")
	}
	counter, err := h.counter(order.Mount)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	load := &running{end: end, tally: tally{counts: counts{Failed: map[codes.Code]*failed{}}}}
	number := h.loads.add(load)
	for i := range order.Callers {
		caller := caller{counter: counter, key: fmt.Sprintf("load-%d-%d-%d", os.Getpid(), number, i), tally: &load.tally}
		load.callers.Go(func() { caller.run(ctx, order) })
	}
	return map[string]int{"load": number}, nil
}

func (h *host) tally(order startedOrder) (any, error) {
	load, err := h.loads.get(order.Load)
	if err != nil {
		return nil, err
	}
	return &load.tally, nil
}

func (h *host) stop(order startedOrder) (any, error) {
	load, err := h.loads.get(order.Load)
	if err != nil {
		return nil, err
	}
	load.end()
	load.callers.Wait()
	return &load.tally, nil
}

// caller makes one call after the other.
type caller struct {
	counter *counter
	key     string
	tally   *tally
	// The highest value that its counter can have: each call adds one at most, and only a new plugin takes any away.
	most int64
}

func (c *caller) run(ctx context.Context, order loadOrder) {
	var pace <-chan time.Time
	if order.Rate > 0 {
		ticker := time.NewTicker(time.Duration(float64(order.Callers) / order.Rate * float64(time.Second)))
		defer ticker.Stop()
		pace = ticker.C
	}
	for ctx.Err() == nil {
		c.call(order.Within)
		if pace == nil {
			continue
		}
		select {
		case <-pace:
		case <-ctx.Done():
		}
	}
}

type outcome struct {
	value int64
	err   error
	took  time.Duration
}

// call goes to its end though the load be over: what was begun is counted.
func (c *caller) call(within milliseconds) {
	c.most++
	came := make(chan outcome, 1)
	go func() {
		ctx, cancel := within.limit()
		defer cancel()
		began := time.Now()
		value, err := c.counter.increment(ctx, c.key, 1)
		came <- outcome{value, err, time.Since(began)}
	}()
	select {
	case outcome := <-came:
		c.most = c.tally.count(outcome, c.most)
	case <-time.After(within.duration() + grace):
		c.tally.lose()
	}
}

// count returns the highest value that the counter can have now.
func (t *tally) count(outcome outcome, most int64) int64 {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if outcome.err != nil {
		t.counts.fail(orders.FailureOf(outcome.err))
		return most
	}
	t.counts.Answered++
	t.counts.Slowest = max(t.counts.Slowest, outcome.took.Milliseconds())
	if outcome.value > most {
		t.counts.Repeated++
	}
	return outcome.value
}

func (t *tally) lose() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.counts.Lost++
}

// MarshalJSON is of the counts as they are now.
func (t *tally) MarshalJSON() ([]byte, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return json.Marshal(t.counts)
}

func (c *counts) fail(failure *orders.Failure) {
	code := codes.Code(failure.Code)
	if c.Failed[code] == nil {
		c.Failed[code] = &failed{}
	}
	calls := c.Failed[code]
	calls.Count++
	if len(calls.Messages) < messages && !slices.Contains(calls.Messages, failure.Message) {
		calls.Messages = append(calls.Messages, failure.Message)
	}
}
