//! A relay of HTTP/2 frames between gRPC peers.

mod connection;
pub mod driver;
pub mod frame;
pub mod grpc;
pub mod head;
pub mod hpack;
mod limits;
mod policy;
mod served;
mod stream;
mod violation;
mod window;

pub use connection::{Connection, Received, StreamId};
pub use head::{Amendments, Request};
pub use limits::{HoldBudget, Limits, Rate};
pub use policy::{Decision, Ended, Observe, Outcome, Policy};
pub use violation::{Peer, Violation};
