//! What a program may want to count.

use std::sync::Arc;
use std::time::Duration;

use crate::queue::Priority;
use crate::workers::Verdict;

/// Hears of everything that happens to requests. All methods do nothing unless they are written.
///
/// They are called in passing, by whoever asks for a run and by the one task that starts all runs: they must
/// be quick and must not panic. No lock is held, so two calls may come at once and in either order; they are
/// for counting, and [`Queue::depth`](crate::Queue::depth) is for the state.
pub trait Observer<K, R>: Send + Sync + 'static {
    /// A request was accepted for a key that had none. A request that is merged into an earlier one is not told.
    fn queued(&self, _key: &K, _reason: &R, _priority: Priority) {}

    /// A run begins, so long after the request was due.
    fn started(&self, _key: &K, _waited: Duration) {}

    /// A run ended, or was ended.
    fn finished(&self, _key: &K, _outcome: Outcome, _took: Duration) {}

    /// A failed run will be repeated after this wait. `attempt` counts the failures in a row, from 1.
    fn retried(&self, _key: &K, _attempt: u32, _delay: Duration) {}

    /// An accepted request will not be run, because the program stops.
    fn dropped(&self, _key: &K, _reason: &R) {}
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is done, and wants to be run again after this time.
    Requeued(Duration),
    /// It returned an error of this category.
    Failed(&'static str, Verdict),
    /// It panicked. It will be run again, as after an error that may pass.
    Panicked,
    /// It took longer than the program had left.
    Aborted,
}

// === impl Outcome ===

impl Outcome {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "success",
            Self::Requeued(_) => "requeue_after",
            Self::Failed(_, Verdict::Retry) => "error",
            Self::Failed(_, Verdict::Terminal) => "terminal_error",
            Self::Panicked => "panic",
            Self::Aborted => "aborted",
        }
    }
}

// === impl Observer ===

/// Hears nothing.
impl<K, R> Observer<K, R> for () {}

impl<K, R, O: Observer<K, R> + ?Sized> Observer<K, R> for Arc<O> {
    fn queued(&self, key: &K, reason: &R, priority: Priority) {
        (**self).queued(key, reason, priority);
    }

    fn started(&self, key: &K, waited: Duration) {
        (**self).started(key, waited);
    }

    fn finished(&self, key: &K, outcome: Outcome, took: Duration) {
        (**self).finished(key, outcome, took);
    }

    fn retried(&self, key: &K, attempt: u32, delay: Duration) {
        (**self).retried(key, attempt, delay);
    }

    fn dropped(&self, key: &K, reason: &R) {
        (**self).dropped(key, reason);
    }
}
