//! What a peer may cost: every limit is a setting with a default, and is counted here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The limits of one host connection and its plugin connection. The defaults suit a host on the same machine.
///
/// With them, and whatever both peers do, a connection takes about 50 MiB at most, by reckoning: twice what may wait unread on each side, as
/// memory grows by doubling, 4 MiB of header blocks, as much for what waits for a window, 10 MiB for streams and their states, 5 MiB for
/// those that the program serves. What the program keeps for its calls, and has [copied](crate::Observe), comes on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest header list of a request, sizes as in RFC 7541, section 4.1. A larger one ends that call.
    pub header_list: u32,
    /// The largest header list that is decoded at all, and the longest header block, in bytes. More ends the connection.
    pub header_bomb: usize,
    /// Pieces of a header block. More end the connection.
    pub continuations: u32,
    /// The time that a host may take for its preface and first SETTINGS, that either peer may take for a header block it began, and that
    /// the plugin may take for its first SETTINGS.
    pub patience: Duration,
    /// Streams of one host connection that are open at once. More are refused.
    pub streams: u32,
    /// Of these, those that the program serves itself.
    pub served_streams: u32,
    /// The largest message to the program, and what it may have waiting for a host, in bytes per stream.
    pub served_message: usize,
    /// Streams that a host may reset before their answer began: at once, and per second.
    pub resets: Rate,
    /// Control frames beyond those that DATA and answers sent to that peer account for: at once, and per second.
    pub control_frames: Rate,
    /// The bytes of DATA that may be on their way in one direction of one connection, in our memory or promised to a sender.
    pub window: usize,
    /// The bytes that wait for a peer to read them, of which DATA is at most [`window`](Self::window). More end the connection.
    pub unread: usize,
    /// The bytes of waiting requests, per connection, beyond what its windows allow anyway.
    pub hold_bytes: usize,
    /// The time that a host has to answer the ping of a drain.
    pub drain_ping: Duration,
}

/// So many at once, and then so many per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// Per second.
    pub per_second: u32,
}

/// How much of a [`Rate`] is left.
#[derive(Debug)]
pub(crate) struct Allowance {
    rate: Rate,
    left: u32,
    filled: Instant,
}

/// What the calls may cost together that wait for one plugin, over all of its connections.
#[derive(Debug)]
pub struct HoldBudget {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    max_requests: AtomicUsize,
    max_bytes: AtomicUsize,
}

/// A part of a [`HoldBudget`], given back when it goes.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<HoldBudget>,
    bytes: usize,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_list: 64 << 10,
            header_bomb: 1 << 20,
            continuations: 64,
            patience: Duration::from_secs(10),
            streams: 10_000,
            served_streams: 16,
            served_message: 64 << 10,
            // A host that goes away may cancel all it had.
            resets: Rate { burst: 10_000, per_second: 100 },
            control_frames: Rate { burst: 10_000, per_second: 1_000 },
            window: 2 << 20,
            unread: 6 << 20,
            hold_bytes: 1 << 20,
            drain_ping: Duration::from_secs(5),
        }
    }
}

// === impl Allowance ===

impl Allowance {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.burst, filled: now }
    }

    /// Takes one. False if none is left.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            self.refill(now);
        }
        let spent = self.left.checked_sub(1);
        self.left = spent.unwrap_or(0);
        spent.is_some()
    }

    /// Gives `count` back.
    pub(crate) fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.rate.burst);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        let earned = passed * u128::from(self.rate.per_second) / 1_000_000_000;
        if earned > 0 {
            self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
            self.filled = now;
        }
    }
}

// === impl HoldBudget ===

impl HoldBudget {
    /// A budget of so many calls, and so many bytes of their requests.
    pub fn new(requests: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_requests: AtomicUsize::new(requests),
            max_bytes: AtomicUsize::new(bytes),
        })
    }

    /// Changes the limits. What waits already goes on waiting.
    pub fn resize(&self, requests: usize, bytes: usize) {
        self.max_requests.store(requests, Ordering::Relaxed);
        self.max_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of the requests that wait, as far as they count.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A call with a head of `bytes` is to wait. `None` if that is too many.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        take(&self.requests, 1, &self.max_requests).then_some(())?;
        if !take(&self.bytes, bytes, &self.max_bytes) {
            self.requests.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Held { budget: Arc::clone(self), bytes })
    }
}

/// Adds to a counter if it stays within its limit.
fn take(counter: &AtomicUsize, count: usize, limit: &AtomicUsize) -> bool {
    let limit = limit.load(Ordering::Relaxed);
    let added = |now: usize| now.checked_add(count).filter(|sum| *sum <= limit);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).is_ok()
}

// === impl Held ===

impl Held {
    /// Takes as many of `wanted` more bytes as there are.
    pub(crate) fn more(&mut self, wanted: usize) -> usize {
        let left = self.budget.max_bytes.load(Ordering::Relaxed).saturating_sub(self.budget.bytes());
        let taken = wanted.min(left);
        if !take(&self.budget.bytes, taken, &self.budget.max_bytes) {
            return 0;
        }
        self.bytes += taken;
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.requests.fetch_sub(1, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(Rate { burst: 2, per_second: 10 }, start);
        assert!(allowance.spend(start) && allowance.spend(start) && !allowance.spend(start));
        let later = start + Duration::from_millis(150);
        assert!(allowance.spend(later) && !allowance.spend(later));
        allowance.earn(100);
        assert!(allowance.spend(later) && allowance.spend(later) && !allowance.spend(later));
    }

    #[test]
    fn a_budget_is_given_back_by_those_that_go() {
        let budget = HoldBudget::new(2, 100);
        let mut first = budget.hold(60).unwrap();
        assert!(budget.hold(50).is_none());
        assert_eq!((budget.waiting(), budget.bytes()), (1, 60));
        let second = budget.hold(10).unwrap();
        assert!(budget.hold(0).is_none());
        assert_eq!(first.more(50), 30);
        drop(first);
        assert_eq!((budget.waiting(), budget.bytes()), (1, 10));
        drop(second);
        assert_eq!((budget.waiting(), budget.bytes()), (0, 0));
    }
}
