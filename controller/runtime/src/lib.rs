//! The generic loop of a level-triggered controller.
//!
//! It keeps a world in line with what is declared, and knows neither: keys, objects, reasons and errors are
//! type parameters.
//!
//! # Flow
//!
//! ```text
//! source ── WatchEvent ──→ Writer ── changed keys ──→ Queue ──→ run ── Request ──→ reconcile
//!                            │                          ↑                             │
//!                            └─→ Store ←── reads ───────┼─────────────────────────────┤
//!                                                       └── retry, requeue ───────────┘
//! ```
//!
//! A [source](Follow) tells what it sees as [`WatchEvent`]s, the [`Writer`] stores it and names the keys whose
//! object is another one now, the [`Queue`] keeps each of them until it is its turn, and [`run`] calls the
//! reconcile function with it. That function is told a key and nothing of what changed; it compares what the
//! [`Store`]s say with the world and acts.
//!
//! Read [`watch`](WatchEvent), [`store()`], [`queue()`], [`run`] in this order.
//!
//! # Guarantees
//!
//! - Store first, trigger second: who is called for a change can read it.
//! - What is missing from a complete listing is a change, and triggers.
//! - Nothing runs before it may (all stores are filled), and requests are kept meanwhile.
//! - Of one key there is never more than one run at a time, and a request made during a run is not lost.
//! - Of several requests for a key the earliest time counts.
//! - Failures are counted per key, and a key that fails waits longer each time; others do not wait with it.
//! - No key can keep another one from its turn: not one that is busy, nor one that is asked for again and again,
//!   nor ten thousand that are looked at after a start.
//! - A panic is a failed run.
//! - Whether the loop still comes round can be felt ([`Queue::pulse`]).
//! - At the end, a request that was accepted was run or is reported as dropped.
//!
//! # What it may touch
//!
//! tokio's clock, tasks and channels. No files, no sockets, no signals.

mod backoff;
mod chain;
mod observer;
mod pulse;
mod queue;
mod source;
mod store;
mod watch;
mod workers;

pub use backoff::{Backoff, InvalidBackoff};
pub use observer::{Observer, Outcome};
pub use pulse::Pulse;
pub use queue::{Added, Depth, Key, Priority, Queue, Reason, Requests, queue};
pub use source::{Follow, Interruption};
pub use store::{Store, Writer, WriterDropped, store};
pub use watch::WatchEvent;
pub use workers::{Action, Failure, Options, Request, Summary, Verdict, run};
