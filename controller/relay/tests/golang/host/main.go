// Command host is a gRPC client on a Unix socket.
//
//	host SOCKET own            says something on a stream that the relay serves, and makes a call, before and after each line of input
//	host SOCKET calls          makes a list of calls, and prints what came of each
//	host SOCKET load WORKERS   makes calls until standard input ends, and prints how many had which outcome
//	host SOCKET wait CALLS     makes so many calls at once behind one that hangs, says "hanging", and prints the outcomes
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"plugward.dev/relay/tests/octets"
)

func main() {
	connection, err := grpc.NewClient("unix:"+os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(octets.Codec{}), grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	switch os.Args[2] {
	case "calls":
		calls(connection)
	case "load":
		load(connection, number(3))
	case "own":
		own(connection)
	case "wait":
		wait(connection, number(3))
	default:
		log.Fatal("what?")
	}
}

func number(index int) int {
	number, err := strconv.Atoi(os.Args[index])
	if err != nil {
		log.Fatal(err)
	}
	return number
}

func unary(ctx context.Context, connection *grpc.ClientConn, method string, message []byte, options ...grpc.CallOption) ([]byte, error) {
	request, answer := octets.Message(message), octets.Message{}
	err := connection.Invoke(ctx, method, &request, &answer, options...)
	return answer, err
}

func outcome(err error) string {
	failed := status.Convert(err)
	return fmt.Sprintf("%s %q %v", failed.Code(), failed.Message(), failed.Details())
}

// echoed keeps what the server made of our metadata: the rest is the transport's.
func echoed(headers metadata.MD) string {
	var lines []string
	for name, values := range headers {
		if strings.HasPrefix(name, "echo") {
			lines = append(lines, fmt.Sprint(name, values))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, ";")
}

func calls(connection *grpc.ClientConn) {
	background := context.Background()
	for _, method := range []string{"Echo", "Fail", "FailLate", "Nothing"} {
		for _, size := range []int{0, 1, 1000, 100_000, 5 << 20} {
			ctx := metadata.AppendToOutgoingContext(background, "echo", "one", "echo", "two", "raw-bin", "\x00\xff")
			var header, trailer metadata.MD
			message := bytes.Repeat([]byte{7}, size)
			answer, err := unary(ctx, connection, "/test/"+method, message, grpc.Header(&header), grpc.Trailer(&trailer))
			fmt.Println(method, size, bytes.Equal(answer, message), outcome(err), echoed(header), echoed(trailer))
		}
	}
	answer, err := unary(background, connection, "/test/Echo", make([]byte, 64<<20))
	fmt.Println("large", len(answer), outcome(err))

	big := metadata.AppendToOutgoingContext(background, "echo", strings.Repeat("x", 8000))
	var header metadata.MD
	_, err = unary(big, connection, "/test/Echo", nil, grpc.Header(&header))
	fmt.Println("big metadata", len(echoed(header)), outcome(err))

	late, cancel := context.WithTimeout(background, 30*time.Millisecond)
	_, err = unary(late, connection, "/test/Hang", nil)
	cancel()
	fmt.Println("deadline", status.Code(err))

	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	for _, shape := range [][2]int{{1, 1}, {100, 10_000}, {10_000, 10}} {
		stream, err := connection.NewStream(background, description, "/test/Echo")
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			message := octets.Message(make([]byte, shape[1]))
			for range shape[0] {
				if stream.SendMsg(&message) != nil {
					return
				}
			}
			_ = stream.CloseSend()
		}()
		count, length := 0, 0
		for {
			var message octets.Message
			if err = stream.RecvMsg(&message); err != nil {
				break
			}
			count, length = count+1, length+len(message)
		}
		fmt.Println("both ways", shape, count, length, err == io.EOF, echoed(stream.Trailer()))
	}

	stream, err := connection.NewStream(background, description, "/test/Repeat")
	if err != nil {
		log.Fatal(err)
	}
	request := octets.Message("2000 10000")
	fmt.Println("asked", stream.SendMsg(&request), stream.CloseSend())
	length := 0
	for {
		var message octets.Message
		if err = stream.RecvMsg(&message); err != nil {
			break
		}
		length += len(message)
	}
	fmt.Println("repeated", length, err == io.EOF)

	cancelled, cancel := context.WithCancel(background)
	stream, err = connection.NewStream(cancelled, description, "/test/Hang")
	if err != nil {
		log.Fatal(err)
	}
	var message octets.Message
	err = stream.RecvMsg(&message)
	cancel()
	fmt.Println("cancelled", string(message), err, status.Code(stream.RecvMsg(&message)))
}

// outcomes counts.
type outcomes struct {
	sync.Mutex
	counts map[string]int
}

func (o *outcomes) add(err error) {
	o.Lock()
	defer o.Unlock()
	if o.counts == nil {
		o.counts = map[string]int{}
	}
	o.counts[outcome(err)]++
}

func (o *outcomes) print() {
	for outcome, count := range o.counts {
		fmt.Println(count, outcome)
	}
}

func load(connection *grpc.ClientConn, workers int) {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	var all outcomes
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			// Some are larger than the transport keeps for a retry of its own.
			message := make([]byte, 100)
			if worker%8 == 0 {
				message = make([]byte, 300<<10)
			}
			for {
				select {
				case <-ended:
					return
				default:
					_, err := unary(context.Background(), connection, "/test/Work", message)
					all.add(err)
				}
			}
		})
	}
	group.Wait()
	all.print()
}

func own(connection *grpc.ClientConn) {
	stream, err := connection.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/own/Stream")
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for {
		message := octets.Message("on a stream of the relay's own")
		if err := stream.SendMsg(&message); err != nil {
			log.Fatal(err)
		}
		message = nil
		if err := stream.RecvMsg(&message); err != nil {
			log.Fatal(err)
		}
		_, err := unary(context.Background(), connection, "/test/Echo", []byte("x"))
		fmt.Println(string(message), outcome(err))
		if !lines.Scan() {
			return
		}
	}
}

func wait(connection *grpc.ClientConn, calls int) {
	stream, err := connection.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test/Hang")
	if err != nil {
		log.Fatal(err)
	}
	var message octets.Message
	if err := stream.RecvMsg(&message); err != nil {
		log.Fatal(err)
	}
	var all outcomes
	var group sync.WaitGroup
	for range calls {
		group.Go(func() {
			_, err := unary(context.Background(), connection, "/test/Echo", []byte("x"))
			all.add(err)
		})
	}
	fmt.Println("hanging")
	group.Wait()
	fmt.Println("hung:", outcome(stream.RecvMsg(&message)))
	all.print()
}
