package catalog

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"plugward.dev/tests/hosts/internal/reattach"
)

// First makes the first call of a connection: it asks whether the plugin multiplexes. One that does not know the question has answered
// it, too. The messages have the fields of those that the SDKs have.
func First(_ string, client *reattach.Client) error {
	connected, err := client.GRPC()
	if err != nil {
		return err
	}
	method := "/pluginutil.multiplexing.PluginMultiplexing/MultiplexingSupport"
	err = connected.Conn.Invoke(context.Background(), method, &emptypb.Empty{}, &wrapperspb.BoolValue{})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return err
}
