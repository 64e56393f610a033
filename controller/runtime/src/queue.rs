//! The work queue: which keys are to be reconciled, and when.

use std::fmt::{self, Display};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use self::state::State;
pub(crate) use self::state::{Next, Taken};
use crate::observer::Observer;
use crate::pulse::Pulse;

#[cfg(test)]
mod model;
mod state;
#[cfg(test)]
mod tests;

/// What a request is for. Two requests are for the same thing when their keys are equal.
pub trait Key: Clone + Eq + Hash + Display + Send + Sync + 'static {}

impl<K: Clone + Eq + Hash + Display + Send + Sync + 'static> Key for K {}

/// Why a request was made, for logs and metrics only.
pub trait Reason: Clone + Display + Send + 'static {}

impl<R: Clone + Display + Send + 'static> Reason for R {}

/// Makes an empty queue: any number of handles to ask with, and the one end at which requests come out, for
/// [`run`](crate::run). Use `()` to have nothing observed.
pub fn queue<K: Key, R: Reason>(observer: impl Observer<K, R>) -> (Queue<K, R>, Requests<K, R>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State::new()),
        changed: Notify::new(),
        closed: watch::Sender::new(false),
        pulse: Pulse::default(),
        observer: Box::new(observer),
    });
    (Queue { shared: Arc::clone(&shared) }, Requests { shared })
}

/// A handle to ask for runs with. Cheap to clone.
///
/// # Guarantees
///
/// - One request per key: a second one is merged into the first. The earlier time counts, with its reason, and
///   the higher priority.
/// - One run per key: what is asked for during a run is kept, and comes after it at its own time.
/// - In line by the time they are due, then by the order in which they were asked for. A key that is asked for
///   again takes a new place behind those who wait, however often that is.
/// - A retry or a requeue is a request like any other, with the reason and the priority of the run before it.
/// - What was accepted is run, or reported as dropped when the queue is closed first.
pub struct Queue<K: Key, R: Reason> {
    shared: Arc<Shared<K, R>>,
}

/// The end of the queue at which requests come out. To drop it closes the queue.
pub struct Requests<K: Key, R: Reason> {
    shared: Arc<Shared<K, R>>,
}

/// Which of two requests that are due goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Found by looking at everything (a start, a resync): probably nothing to do. A due request of this kind
    /// is taken when nothing fresh is due, and after every few that are.
    Background,
    /// Something happened.
    Fresh,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It waits.
    New,
    /// One for the same key waited already: they are one now.
    Merged,
    /// The queue is closed: it is not accepted.
    Closed,
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Keys that could run now, if there were room.
    pub due: usize,
    /// Keys that wait for their time.
    pub delayed: usize,
    /// Keys that run, whether or not they were asked for again.
    pub running: usize,
}

struct Shared<K, R> {
    state: Mutex<State<K, R>>,
    /// There is something to look at for the one who takes.
    changed: Notify,
    closed: watch::Sender<bool>,
    /// Of the workers.
    pulse: Pulse,
    observer: Box<dyn Observer<K, R>>,
}

// === impl Queue ===

impl<K: Key, R: Reason> Queue<K, R> {
    /// Asks for a run as soon as possible.
    pub fn add(&self, key: K, reason: R) -> Added {
        self.shared.add(key, reason, Instant::now(), Priority::Fresh)
    }

    /// Asks for a run as soon as possible, behind what is [fresh](Priority).
    pub fn add_background(&self, key: K, reason: R) -> Added {
        self.shared.add(key, reason, Instant::now(), Priority::Background)
    }

    /// Asks for a run after this time.
    pub fn add_after(&self, key: K, delay: Duration, reason: R) -> Added {
        self.shared.add(key, reason, later(Instant::now(), delay), Priority::Fresh)
    }

    /// Asks for a run at this time, or as soon as possible when it is over.
    pub fn add_at(&self, key: K, at: Instant, reason: R) -> Added {
        self.shared.add(key, reason, at, Priority::Fresh)
    }

    /// How much there is to do. Takes a time in proportion to what is due: for metrics and tests.
    pub fn depth(&self) -> Depth {
        self.shared.lock().depth(Instant::now())
    }

    /// The pulse of the workers: felt as long as they take what is due, or are busy with runs of which some end
    /// ([`Options::stall`](crate::Options::stall)).
    pub fn pulse(&self) -> Pulse {
        self.shared.pulse.clone()
    }

    /// Stops the workers as their shutdown does: from now on nothing is accepted, and what waits is dropped.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl<K: Key, R: Reason> Clone for Queue<K, R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Key, R: Reason> fmt::Debug for Queue<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("depth", &self.depth()).finish_non_exhaustive()
    }
}

// === impl Requests ===

impl<K: Key, R: Reason> Requests<K, R> {
    /// Waits for the request whose turn it is; `None` when the queue is closed. Its key runs until it is given
    /// to [`finish`](Self::finish).
    ///
    /// # Cancel safety
    ///
    /// A request is taken in the moment it is returned, so one that is not returned is still in line.
    pub(crate) async fn next(&self) -> Option<Taken<K, R>> {
        loop {
            // A change after the look below leaves its mark here, so it is not slept through.
            let changed = self.shared.changed.notified();
            let due = {
                let mut state = self.shared.lock();
                if state.is_closed() {
                    return None;
                }
                if let Some(taken) = state.take(Instant::now()) {
                    return Some(taken);
                }
                state.next_due()
            };
            match due {
                // Woken by the time or by a change: look again either way.
                Some(due) => drop(timeout_at(due, changed).await),
                None => changed.await,
            }
        }
    }

    /// Ends the run of a key. Nobody is woken: who finishes is who takes, and looks again at the next
    /// [`next`](Self::next).
    pub(crate) fn finish(&self, taken: Taken<K, R>, next: Next) {
        self.shared.lock().finish(taken, next, Instant::now());
    }

    /// Waits until the queue is closed.
    pub(crate) async fn closed(&self) {
        let mut closed = self.shared.closed.subscribe();
        // The sender is held here, so there is no other end than this one.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// From now on nothing is accepted, and [`next`](Self::next) gives nothing more.
    pub(crate) fn close(&self) {
        self.shared.close();
    }

    /// Closes the queue and takes out what waits, reporting it as dropped.
    pub(crate) fn drain(&self) -> Vec<K> {
        let dropped = self.shared.lock().drain();
        self.shared.close();
        dropped
            .into_iter()
            .map(|(key, reason)| {
                self.observer().dropped(&key, &reason);
                key
            })
            .collect()
    }

    /// What the workers beat.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.shared.pulse
    }

    pub(crate) fn observer(&self) -> &dyn Observer<K, R> {
        &*self.shared.observer
    }
}

impl<K: Key, R: Reason> Drop for Requests<K, R> {
    fn drop(&mut self) {
        self.drain();
    }
}

impl<K: Key, R: Reason> fmt::Debug for Requests<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

// === impl Shared ===

impl<K: Key, R: Reason> Shared<K, R> {
    fn add(&self, key: K, reason: R, at: Instant, priority: Priority) -> Added {
        let asked = (key.clone(), reason.clone());
        let (added, sooner) = self.lock().add(key, reason, at, priority, Instant::now());
        if added == Added::New {
            self.observer.queued(&asked.0, &asked.1, priority);
        }
        if sooner {
            self.changed.notify_one();
        }
        added
    }

    fn close(&self) {
        self.lock().close();
        self.closed.send_replace(true);
        self.changed.notify_one();
    }

    /// The state is whole even if a key's `Eq` or `Hash` panicked.
    fn lock(&self) -> MutexGuard<'_, State<K, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time so far ahead, without overflow.
fn later(now: Instant, delay: Duration) -> Instant {
    const FAR: Duration = Duration::from_hours(10 * 365 * 24);
    now + delay.min(FAR)
}
