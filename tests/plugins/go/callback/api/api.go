// Package api is what the callback plugin and its hosts say to each other: two services that go over the broker, one in each direction,
// and the plugin's own.
//
// Messages are google.protobuf.Struct on the wire, whose fields are those of the types here, so that there is no generated code. Whole
// numbers are exact up to 2^53.
package api

import "github.com/hashicorp/go-plugin"

// Handshake is what a host starts the plugin with.
var Handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "CALLBACK_PLUGIN", MagicCookieValue: "callback"}

// The plugin's service.
const Callback = "callback.Callback"

var (
	// Add adds through the storage of the host at Server, which is dialled for this call only.
	Add = Unary[AddRequest, Value]{Callback, "Add"}
	// Attach connects to the storage at Server for as long as the plugin lives, or until Detach. It counts itself there, under
	// Attachments.
	Attach = Unary[Server, Nothing]{Callback, "Attach"}
	// AddKept adds through the storage that was attached: FAILED_PRECONDITION where none was.
	AddKept = Unary[AddRequest, Value]{Callback, "AddKept"}
	// Detach ends the connection that Attach made, if there is one.
	Detach = Unary[Nothing, Nothing]{Callback, "Detach"}
	// Open serves Echo over the broker, and says where.
	Open = Unary[Nothing, Server]{Callback, "Open"}
	// Close ends what Open began.
	Close = Unary[Server, Nothing]{Callback, "Close"}
	// Watch adds 1 again and again, and tells what each made of it: through the storage at Server, or the attached one if it is 0.
	Watch = Stream[WatchRequest, Value]{Callback, "Watch"}
	// Print writes lines to the plugin's standard output and standard error.
	Print = Unary[Lines, Nothing]{Callback, "Print"}
)

// StorageAdd is the service of a host: it adds to a number, and says what has become of it.
var StorageAdd = Unary[AddRequest, Value]{"callback.Storage", "Add"}

// OpenedEcho is the service that Open begins.
var OpenedEcho = Unary[Text, Echoed]{"callback.Opened", "Echo"}

// Attachments is the key that Attach counts under.
const Attachments = "attachments"

// AddRequest is for one number. Server is only the plugin's.
type AddRequest struct {
	Key    string `json:"key"`
	Delta  int64  `json:"delta"`
	Server uint32 `json:"server"`
}

// Value is what a number is now.
type Value struct {
	Value int64 `json:"value"`
}

// Server is an id of the broker's.
type Server struct {
	Server uint32 `json:"server"`
}

// WatchRequest is for so many messages; 0: without end.
type WatchRequest struct {
	Key      string `json:"key"`
	Server   uint32 `json:"server"`
	Messages int64  `json:"messages"`
}

// Lines are without their ends. Those that are empty are not written.
type Lines struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// Text is for Echo.
type Text struct {
	Text string `json:"text"`
}

// Echoed is the same text, and the number of the call on what Open began.
type Echoed struct {
	Text  string `json:"text"`
	Calls int64  `json:"calls"`
}

// Nothing has no fields.
type Nothing struct{}
