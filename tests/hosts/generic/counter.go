package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// handshake is what a host would start the plugin with.
var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "COUNTER_PLUGIN", MagicCookieValue: "counter"}

// counterPlugin is the example plugin, tests/plugins/counter.
type counterPlugin struct {
	plugin.NetRPCUnsupportedPlugin
}

func (*counterPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is a host")
}

func (*counterPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, connection *grpc.ClientConn) (any, error) {
	return &counter{connection}, nil
}

// counter is its service. The fields of its messages are those of its counter.proto.
type counter struct {
	connection grpc.ClientConnInterface
}

func (c *counter) increment(ctx context.Context, key string, delta int64) (int64, error) {
	request := protowire.AppendTag(nil, 1, protowire.BytesType)
	request = protowire.AppendString(request, key)
	request = protowire.AppendTag(request, 2, protowire.VarintType)
	request = protowire.AppendVarint(request, uint64(delta))
	return c.call(ctx, "Increment", request)
}

func (c *counter) get(ctx context.Context, key string) (int64, error) {
	request := protowire.AppendTag(nil, 1, protowire.BytesType)
	return c.call(ctx, "Get", protowire.AppendString(request, key))
}

func (c *counter) call(ctx context.Context, method string, request []byte) (int64, error) {
	var answer []byte
	if err := c.connection.Invoke(ctx, "/counter.Counter/"+method, &request, &answer, grpc.ForceCodec(octets{})); err != nil {
		return 0, err
	}
	return value(answer)
}

// value reads the only field of a Value. One that is not there is 0.
func value(message []byte) (int64, error) {
	if len(message) == 0 {
		return 0, nil
	}
	number, kind, length := protowire.ConsumeTag(message)
	if number != 1 || kind != protowire.VarintType {
		return 0, fmt.Errorf("not a counter's value: %x", message)
	}
	value, read := protowire.ConsumeVarint(message[length:])
	if read < 0 {
		return 0, protowire.ParseError(read)
	}
	return int64(value), nil
}

// octets leaves messages as they are.
type octets struct{}

func (octets) Name() string { return "proto" }

func (octets) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (octets) Unmarshal(data []byte, message any) error {
	// gRPC uses its memory again.
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}
