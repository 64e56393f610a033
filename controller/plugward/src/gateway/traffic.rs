//! How much is going on at a mount: calls that wait, calls in flight, and since when there were none.
//!
//! Only calls that are the plugin's count. Hosts keep streams that the gateway serves open for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::terms::Demand;
use crate::clock::Clock;

/// The calls of one mount.
#[derive(Debug)]
pub(super) struct Traffic {
    clock: Clock,
    calls: AtomicUsize,
    waiting: AtomicUsize,
    over: AtomicU64,
    /// When a call last ended, in milliseconds since the epoch.
    idle_since: AtomicI64,
    ended: Notify,
}

/// A call that is not over.
#[derive(Debug)]
pub(super) struct InFlight {
    traffic: Arc<Traffic>,
    waiting: bool,
}

// === impl Traffic ===

impl Traffic {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let idle_since = AtomicI64::new(clock.now().as_millisecond());
        Arc::new(Self {
            clock,
            calls: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            over: AtomicU64::new(0),
            idle_since,
            ended: Notify::new(),
        })
    }

    /// A call begins.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.calls.fetch_add(1, Ordering::Relaxed);
        InFlight { traffic: self.clone(), waiting: false }
    }

    /// Calls that are not over, those that wait among them.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// How many calls are over.
    pub(super) fn over(&self) -> u64 {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits until there are no calls.
    pub(super) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.calls() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// What this says of what hosts want.
    pub(super) fn demand(&self) -> Demand {
        let calls = self.calls();
        let waiting = self.waiting.load(Ordering::Relaxed);
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        Demand {
            waiting,
            in_flight: calls.saturating_sub(waiting),
            // What was a time when it was stored is one.
            idle_since: Timestamp::from_millisecond(idle_since).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

// === impl InFlight ===

impl InFlight {
    /// The call begins to wait. True if no other waits.
    pub(super) fn waits(&mut self) -> bool {
        if std::mem::replace(&mut self.waiting, true) {
            return false;
        }
        self.traffic.waiting.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// It waits no more.
    pub(super) fn goes(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.traffic.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.goes();
        let traffic = &self.traffic;
        traffic.over.fetch_add(1, Ordering::Relaxed);
        // Before it is said that there are none: whoever sees none sees since when.
        traffic.idle_since.store(traffic.clock.now().as_millisecond(), Ordering::Relaxed);
        if traffic.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            traffic.ended.notify_waiters();
        }
    }
}

// === impl Demand ===

impl Demand {
    /// What hosts want of two mounts together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            waiting: self.waiting + other.waiting,
            in_flight: self.in_flight + other.in_flight,
            idle_since: self.idle_since.max(other.idle_since),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_from_their_beginning_to_their_end() {
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH);
        let traffic = Traffic::new(clock);
        let begun = traffic.demand();
        assert!(begun.is_idle());
        let (mut one, mut two) = (traffic.begin(), traffic.begin());
        assert!(one.waits() && !one.waits() && !two.waits());
        assert_eq!((traffic.demand().waiting, traffic.demand().in_flight), (2, 0));
        one.goes();
        assert_eq!((traffic.demand().waiting, traffic.demand().in_flight), (1, 1));
        tokio::time::advance(std::time::Duration::from_secs(5)).await;
        drop((one, two));
        let ended = traffic.demand();
        assert!(ended.is_idle());
        assert_eq!(ended.idle_since.duration_since(begun.idle_since).as_secs(), 5);
    }
}
