//! How long the phases of starts take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use plugward_api::status::StartTimes;
use tokio::time::Instant;

/// How long the phases of starts took, by container name.
#[derive(Clone, Default)]
pub struct Timings(Arc<Mutex<HashMap<String, Timing>>>);

#[derive(Clone, Copy)]
pub(super) struct Timing {
    pub(super) create: Duration,
    pub(super) start: Duration,
    pub(super) started: Instant,
}

// === impl Timings ===

impl Timings {
    pub(super) fn put(&self, container: String, timing: Timing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(container, timing);
    }

    /// Forgets a start that never became ready.
    pub(super) fn forget(&self, container: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }

    /// The times of a start that became ready at `since`; none if this controller did not start it.
    pub(super) fn take(&self, container: &str, now: Timestamp, since: Timestamp) -> StartTimes {
        let timing = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
        let Some(timing) = timing else { return StartTimes::default() };
        let since_ready: Duration = now.duration_since(since).try_into().unwrap_or_default();
        let handshake = timing.started.elapsed().saturating_sub(since_ready);
        StartTimes {
            create: Some(timing.create.as_secs_f64()),
            start: Some(timing.start.as_secs_f64()),
            handshake: Some(handshake.as_secs_f64()),
        }
    }
}
