// Package orders is how a test tells a host what to do, and hears what came of it.
//
// A line of standard input is an order, a JSON object with its number, its verb and what the verb needs:
//
//	{"id": 7, "do": "get", "mount": "orders", "key": "hello"}
//
// Each gets one line of standard output, when it is done. Orders are carried out side by side, so that answers may come in another
// order than they were asked for:
//
//	{"id": 7, "answer": {"value": 3}}
//	{"id": 7, "failure": {"code": 14, "message": "the plugin died during this call"}}
//
// The code is gRPC's, and 2 (unknown) for what failed on the way to a call. The host ends with its standard input.
package orders

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"

	"google.golang.org/grpc/status"
)

// Verb carries out an order, and answers with what can be written as JSON.
type Verb func(order json.RawMessage) (any, error)

// Verbs by name.
type Verbs map[string]Verb

// Failure is what a call failed with.
type Failure struct {
	Code    uint32 `json:"code"`
	Message string `json:"message"`
}

type answer struct {
	ID      uint64   `json:"id"`
	Answer  any      `json:"answer,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
}

// On makes a verb of a function that takes what the order holds, and nothing else.
func On[Order any](carryOut func(Order) (any, error)) Verb {
	return func(raw json.RawMessage) (any, error) {
		var order Order
		if err := json.Unmarshal(raw, &order); err != nil {
			return nil, err
		}
		return carryOut(order)
	}
}

// Follow carries out what standard input says until it ends. What is not an order at all ends the host.
func Follow(verbs Verbs) {
	var answers sync.Mutex
	written := json.NewEncoder(os.Stdout)
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		var order struct {
			ID uint64 `json:"id"`
			Do string `json:"do"`
		}
		if err == nil {
			err = json.Unmarshal(line, &order)
		}
		if err != nil {
			log.Fatalf("no order: %v", err)
		}
		go func() {
			given := carryOut(verbs[order.Do], order.Do, line)
			given.ID = order.ID
			answers.Lock()
			defer answers.Unlock()
			if err := written.Encode(given); err != nil {
				log.Fatalf("an answer cannot be written: %v", err)
			}
		}()
	}
}

func carryOut(verb Verb, name string, order json.RawMessage) answer {
	if verb == nil {
		return answer{Failure: FailureOf(fmt.Errorf("this host cannot %q", name))}
	}
	given, err := verb(order)
	if err != nil {
		return answer{Failure: FailureOf(err)}
	}
	if given == nil {
		given = struct{}{}
	}
	return answer{Answer: given}
}

// FailureOf says what an error is in gRPC's terms.
func FailureOf(err error) *Failure {
	failed := status.Convert(err)
	return &Failure{Code: uint32(failed.Code()), Message: failed.Message()}
}
