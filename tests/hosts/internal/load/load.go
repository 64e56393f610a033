// Package load makes many calls side by side, again and again, and counts what becomes of each.
package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

// Order is for so many callers, each of which makes one call after the other.
type Order struct {
	Callers int
	// Calls per second of all callers together; 0: one after the other without a pause.
	Rate float64
	// The deadline of each call, which it must have.
	Within orders.Milliseconds
}

// Started is an order about a load that has begun.
type Started struct {
	Load int
}

// Call makes one call of a caller's, and says what the answer shows. It returns once its context has ended.
type Call func(context.Context) (Verdict, error)

// Verdict is what an answer shows.
type Verdict int

const (
	// Right is an answer as it should be.
	Right Verdict = iota
	// Repeated is one that shows that an earlier call was carried out more than once.
	Repeated
	// Wrong is one that cannot be.
	Wrong
)

// counts say what became of the calls that have ended.
type counts struct {
	Answered int64 `json:"answered"`
	// By gRPC's code.
	Failed map[codes.Code]*failed `json:"failed"`
	// Neither answered nor failed by its deadline and the grace after it.
	Lost int64 `json:"lost"`
	// Of those that were answered.
	Repeated int64 `json:"repeated"`
	Wrong    int64 `json:"wrong"`
	// The slowest answer, in milliseconds.
	Slowest int64 `json:"slowest"`
}

type failed struct {
	Count int64 `json:"count"`
	// The first few different ones.
	Messages []string `json:"messages"`
}

// tally is counts that callers add to, and how long each answer took, in microseconds.
type tally struct {
	mutex  sync.Mutex
	counts counts
	took   []uint32
}

// running is a load.
type running struct {
	began   time.Time
	end     context.CancelFunc
	callers sync.WaitGroup
	tally   tally
}

// Loads are all that were begun, by number.
type Loads struct {
	mutex sync.Mutex
	begun []*running
}

// Begin begins a load that goes on until it is stopped. Each of its callers is told a name that no other has.
func (l *Loads) Begin(order Order, caller func(name string) Call) (any, error) {
	if order.Within <= 0 || order.Callers <= 0 {
		return nil, errors.New("a load needs callers, and deadlines for their calls")
	}
	ctx, end := context.WithCancel(context.Background())
	load := &running{began: time.Now(), end: end, tally: tally{counts: counts{Failed: map[codes.Code]*failed{}}}}
	number := l.add(load)
	for i := range order.Callers {
		call := caller(fmt.Sprintf("load-%d-%d-%d", os.Getpid(), number, i))
		load.callers.Go(func() { load.tally.follow(ctx, call, order) })
	}
	return map[string]int{"load": number}, nil
}

// Tally is what became of a load's calls up to now.
func (l *Loads) Tally(order Started) (any, error) {
	load, err := l.get(order.Load)
	if err != nil {
		return nil, err
	}
	return &load.tally, nil
}

// Stop ends a load, and waits for the calls under way.
func (l *Loads) Stop(order Started) (any, error) {
	load, err := l.get(order.Load)
	if err != nil {
		return nil, err
	}
	load.end()
	load.callers.Wait()
	return &load.tally, nil
}

func (l *Loads) add(load *running) int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.begun = append(l.begun, load)
	return len(l.begun) - 1
}

func (l *Loads) get(number int) (*running, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if number < 0 || number >= len(l.begun) {
		return nil, fmt.Errorf("there is no load %d", number)
	}
	return l.begun[number], nil
}

func (t *tally) follow(ctx context.Context, call Call, order Order) {
	var pace <-chan time.Time
	if order.Rate > 0 {
		ticker := time.NewTicker(time.Duration(float64(order.Callers) / order.Rate * float64(time.Second)))
		defer ticker.Stop()
		pace = ticker.C
	}
	for ctx.Err() == nil {
		t.make(call, order.Within)
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
	verdict Verdict
	err     error
	took    time.Duration
}

// make goes to the call's end though the load be over: what was begun is counted.
func (t *tally) make(call Call, within orders.Milliseconds) {
	came := make(chan outcome, 1)
	go func() {
		ctx, cancel := within.Limit()
		defer cancel()
		began := time.Now()
		verdict, err := call(ctx)
		came <- outcome{verdict, err, time.Since(began)}
	}()
	select {
	case outcome := <-came:
		t.count(outcome)
	case <-time.After(within.Duration() + grace):
		t.lose()
	}
}

func (t *tally) count(outcome outcome) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if outcome.err != nil {
		t.counts.fail(orders.FailureOf(outcome.err))
		return
	}
	t.counts.Answered++
	t.took = append(t.took, uint32(min(outcome.took.Microseconds(), math.MaxUint32)))
	t.counts.Slowest = max(t.counts.Slowest, outcome.took.Milliseconds())
	switch outcome.verdict {
	case Repeated:
		t.counts.Repeated++
	case Wrong:
		t.counts.Wrong++
	}
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
