package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// Unary is a method with one answer.
type Unary[Request, Answer any] struct{ service, name string }

// Stream is a method with any number of answers.
type Stream[Request, Answer any] struct{ service, name string }

// Call makes a call.
func (u Unary[Request, Answer]) Call(ctx context.Context, on grpc.ClientConnInterface, request Request) (Answer, error) {
	var answer structpb.Struct
	message, err := write(request)
	if err == nil {
		err = on.Invoke(ctx, "/"+u.service+"/"+u.name, message, &answer)
	}
	if err != nil {
		var none Answer
		return none, err
	}
	return read[Answer](&answer)
}

// Served is the method as a server has it.
func (u Unary[Request, Answer]) Served(serve func(context.Context, Request) (Answer, error)) grpc.MethodDesc {
	handler := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var message structpb.Struct
		if err := decode(&message); err != nil {
			return nil, err
		}
		request, err := read[Request](&message)
		if err != nil {
			return nil, err
		}
		answer, err := serve(ctx, request)
		if err != nil {
			return nil, err
		}
		return write(answer)
	}
	return grpc.MethodDesc{MethodName: u.name, Handler: handler}
}

// Call makes a call, and hands over each of its answers. It ends with the stream, or with what receive fails with, which ends the
// call.
func (s Stream[Request, Answer]) Call(ctx context.Context, on grpc.ClientConnInterface, request Request, receive func(Answer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := on.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+s.service+"/"+s.name)
	if err != nil {
		return err
	}
	message, err := write(request)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(message); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var message structpb.Struct
		if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		answer, err := read[Answer](&message)
		if err == nil {
			err = receive(answer)
		}
		if err != nil {
			return err
		}
	}
}

// Served is the method as a server has it.
func (s Stream[Request, Answer]) Served(serve func(context.Context, Request, func(Answer) error) error) grpc.StreamDesc {
	handler := func(_ any, stream grpc.ServerStream) error {
		var message structpb.Struct
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		request, err := read[Request](&message)
		if err != nil {
			return err
		}
		return serve(stream.Context(), request, func(answer Answer) error {
			message, err := write(answer)
			if err != nil {
				return err
			}
			return stream.SendMsg(message)
		})
	}
	return grpc.StreamDesc{StreamName: s.name, Handler: handler, ServerStreams: true}
}

// Register makes these methods a service of the server's.
func Register(server *grpc.Server, service string, methods []grpc.MethodDesc, streams []grpc.StreamDesc) {
	server.RegisterService(&grpc.ServiceDesc{ServiceName: service, Methods: methods, Streams: streams}, nil)
}

// RegisterStorage serves a host's storage.
func RegisterStorage(server *grpc.Server, add func(context.Context, AddRequest) (Value, error)) {
	Register(server, StorageAdd.service, []grpc.MethodDesc{StorageAdd.Served(add)}, nil)
}

// RegisterOpened serves what Open promises.
func RegisterOpened(server *grpc.Server, echo func(context.Context, Text) (Echoed, error)) {
	Register(server, OpenedEcho.service, []grpc.MethodDesc{OpenedEcho.Served(echo)}, nil)
}

func write(value any) (*structpb.Struct, error) {
	var message structpb.Struct
	text, err := json.Marshal(value)
	if err == nil {
		err = message.UnmarshalJSON(text)
	}
	return &message, err
}

func read[Value any](message *structpb.Struct) (value Value, err error) {
	text, err := message.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(text, &value)
	}
	if err != nil {
		return value, status.Error(codes.InvalidArgument, err.Error())
	}
	return value, nil
}
