//! A relay of HTTP/2 frames between a gRPC client, the *host*, and a server that comes and goes, the *plugin*.
//!
//! ```text
//! host ── HTTP/2 ──▶ Connection ── HTTP/2 ──▶ plugin
//!                        │ ▲
//!        request, ended  ▼ │  pass, answer, serve
//!                      Policy
//! ```
//!
//! Frames are relayed, not calls: ids, DATA and the windows of streams pass as they are, so that a call costs two looks at its headers and
//! no copy of its messages. What has to be known of HTTP/2 for that is here; nothing of containers, and nothing of go-plugin.
//!
//! # The tour
//!
//! - [`Connection`] is the state machine, without clock, tasks or transports: bytes in, bytes out. One host connection is bound to **one**
//!   plugin connection, at its first call that is to pass, and never to another. When the plugin goes, GOAWAY tells the host to connect
//!   again, and the next connection is bound to the next plugin.
//! - [`driver::Relay`] moves the bytes on tokio, in one task.
//! - [`Policy`] is the program's part: it says of each request what becomes of it, and is told how each call ended.
//!   [`driver::Program`] adds what takes time: finding a plugin, and serving streams.
//! - [`Limits`] and [`HoldBudget`] are what peers may cost. A peer that breaks them, or the protocol, loses its connection and is reported
//!   as a [`Violation`].
//! - [`frame`], [`hpack`], [`head`] and [`grpc`] are the formats.
//!
//! Inside, `window` is the arithmetic of credit, `stream` the states of one stream, `served` the messages of one that the program serves.
//!
//! # A call
//!
//! Its HEADERS are decoded, checked, and shown to the policy. One that passes is encoded again, without dynamic table and with what the
//! policy sets, and goes to the plugin, in the order of ids. While there is no plugin, or while it takes no more streams, it waits, with
//! all later ones: its DATA is kept, and its time limit is rewritten to what is left when it goes. One whose time ends first is answered
//! here and never sent. The plugin is told not to use a dynamic table, so that each of its header blocks stands alone: it is read for the
//! status and passed raw.
//!
//! # Guarantees
//!
//! - **No call is sent twice by us**, and none of which the plugin's transport took a byte is refused: refused calls, which gRPC tries again
//!   at once, have never been seen by a plugin.
//! - **None is left without an end.** When a plugin's connection ends, calls that it had are answered with a status that the program gives.
//! - **A drain fails no call**: the host is told twice, and what it opened before it knew is served.
//! - **A slow reader slows its writer.** What is kept of DATA is bounded by [`Limits::window`] for each direction, whatever windows a host or
//!   plugin offers, and [`Limits::hold_bytes`]; with headers and all, what waits for a peer by [`Limits::unread`].
//! - **Peers are read at all times**, so that two that wait for each other cannot stop.
//! - **A plugin's fault costs that plugin.** The host sees calls that failed, and goes on with the next.
//! - No input makes it panic. Bodies and header values are in no log and no `Debug`; [copies](grpc::Copy) are cleared when dropped.
//!
//! # What it may touch
//!
//! The two transports it is given. It opens nothing, reads no environment, and starts no task.

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
pub use policy::{Decision, Ended, Observe, Outcome, Policy, Stop};
pub use violation::{Peer, Violation};
