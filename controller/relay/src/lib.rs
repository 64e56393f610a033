//! A relay of HTTP/2 frames between gRPC peers.

pub mod frame;
pub mod grpc;
pub mod head;
pub mod hpack;
pub mod limits;
pub mod policy;
pub mod violation;
pub mod window;
