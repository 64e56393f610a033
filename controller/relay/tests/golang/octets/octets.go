// Package octets is a codec of gRPC for messages that are bytes.
package octets

import "fmt"

// Message is any message.
type Message []byte

// Codec leaves messages as they are.
type Codec struct{}

// Marshal gives the bytes of a *Message.
func (Codec) Marshal(v any) ([]byte, error) {
	message, ok := v.(*Message)
	if !ok {
		return nil, fmt.Errorf("not a message: %T", v)
	}
	return *message, nil
}

// Unmarshal copies bytes to a *Message: gRPC uses theirs again.
func (Codec) Unmarshal(data []byte, v any) error {
	message, ok := v.(*Message)
	if !ok {
		return fmt.Errorf("not a message: %T", v)
	}
	*message = append((*message)[:0:0], data...)
	return nil
}

// Name is what requests call the codec.
func (Codec) Name() string { return "octets" }
