// Command plugin is a gRPC server on a Unix socket. It ends gracefully on SIGTERM.
//
//	plugin SOCKET [MAX_CONCURRENT_STREAMS]
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"plugward.dev/relay/tests/octets"
)

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	options := []grpc.ServerOption{
		grpc.ForceServerCodec(octets.Codec{}),
		grpc.UnknownServiceHandler(handle),
		grpc.MaxRecvMsgSize(1 << 30),
	}
	if len(os.Args) > 2 {
		streams, err := strconv.ParseUint(os.Args[2], 10, 32)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.MaxConcurrentStreams(uint32(streams)))
	}
	server := grpc.NewServer(options...)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		server.GracefulStop()
	}()
	fmt.Println("ready")
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

func handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	headers, _ := metadata.FromIncomingContext(stream.Context())
	stream.SetTrailer(metadata.Pairs("echo-trailer", strings.Join(headers.Get("echo"), ",")))
	var message octets.Message
	switch method {
	case "/test/Echo":
		if err := stream.SendHeader(metadata.Pairs("echo-header", strings.Join(headers.Get("echo"), ","))); err != nil {
			return err
		}
		for {
			if err := stream.RecvMsg(&message); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	case "/test/Count":
		count, length := 0, 0
		for {
			if err := stream.RecvMsg(&message); err == io.EOF {
				message = fmt.Appendf(nil, "%d %d", count, length)
				return stream.SendMsg(&message)
			} else if err != nil {
				return err
			}
			count++
			length += len(message)
		}
	case "/test/Repeat":
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		var count, size int
		if _, err := fmt.Sscan(string(message), &count, &size); err != nil {
			return err
		}
		message = make([]byte, size)
		for range count {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
		return nil
	case "/test/Fail":
		failed, err := status.New(codes.FailedPrecondition, "süß 100 %").WithDetails(wrapperspb.String("detail"))
		if err != nil {
			return err
		}
		return failed.Err()
	case "/test/FailLate":
		message = []byte("first")
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
		return status.Error(codes.Aborted, "late")
	case "/test/Hang":
		// A first answer says that the call is here.
		message = []byte("here")
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	case "/test/Work":
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		return stream.SendMsg(&message)
	}
	return status.Error(codes.Unimplemented, method)
}
