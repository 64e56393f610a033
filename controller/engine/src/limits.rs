//! How long a call to an engine may take.
//!
//! Both implementations keep these, so a hang looks the same on both:
//! [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut). They are bounds for an engine that does not answer,
//! far above what a loaded one needs, and not settings.

use std::time::Duration;

use crate::error::Operation;

/// Calls that an engine answers from its memory or with a little disk work: a few milliseconds, or a second or
/// two when it is loaded.
pub const SHORT: Duration = Duration::from_secs(30);

/// A start runs the OCI runtime and sets up a network: 0.2 s on an idle machine, about a second when a dozen
/// start at once. Long enough for a machine that swaps.
pub const START: Duration = Duration::from_secs(90);

/// What a stop or kill may take beyond its grace: an engine gives SIGKILL ten seconds to work before it looks for
/// other means.
pub const END: Duration = Duration::from_secs(45);

/// A removal kills first and then deletes a file system, which may be large.
pub const REMOVE: Duration = Duration::from_secs(90);

/// An engine says nothing of a pull before a registry has answered it, and it asks again, with connections that may
/// take half a minute each to fail.
pub const PULL: Duration = Duration::from_secs(180);

/// The limit of a call. `grace` counts for [`Operation::Stop`] only. Of the streams it bounds the wait for
/// the engine's consent, never the stream.
pub fn of(operation: Operation, grace: Duration) -> Duration {
    match operation {
        Operation::Start => START,
        Operation::Pull => PULL,
        Operation::Stop => END.saturating_add(grace),
        Operation::Kill => END,
        Operation::Remove => REMOVE,
        Operation::Connect
        | Operation::Info
        | Operation::InspectImage
        | Operation::Create
        | Operation::List
        | Operation::Inspect
        | Operation::Read
        | Operation::Stats
        | Operation::Logs
        | Operation::Events => SHORT,
    }
}
