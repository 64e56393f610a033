//! A relay of HTTP/2 frames between gRPC peers.

pub mod hpack;
