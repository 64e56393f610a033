package load

import (
	"slices"
	"time"
)

// pace is how fast a load's calls were answered.
type pace struct {
	// Since it began.
	Seconds float64 `json:"seconds"`
	// Answers per second.
	Rate float64 `json:"rate"`
	// How long the answers took, in microseconds: half of them at most so long, and so on.
	Half       uint32 `json:"p50"`
	Most       uint32 `json:"p90"`
	AlmostAll  uint32 `json:"p99"`
	TheSlowest uint32 `json:"slowest"`
}

// Pace is how fast a load's calls were answered up to now. The load goes on.
func (l *Loads) Pace(order Started) (any, error) {
	load, err := l.get(order.Load)
	if err != nil {
		return nil, err
	}
	load.tally.mutex.Lock()
	took := slices.Clone(load.tally.took)
	load.tally.mutex.Unlock()
	seconds := time.Since(load.began).Seconds()
	slices.Sort(took)
	return pace{
		Seconds:    seconds,
		Rate:       float64(len(took)) / seconds,
		Half:       within(took, 0.5),
		Most:       within(took, 0.9),
		AlmostAll:  within(took, 0.99),
		TheSlowest: within(took, 1),
	}, nil
}

// within is what this share of sorted times is within; 0 of none.
func within(took []uint32, share float64) uint32 {
	if len(took) == 0 {
		return 0
	}
	return took[min(int(share*float64(len(took))), len(took)-1)]
}
