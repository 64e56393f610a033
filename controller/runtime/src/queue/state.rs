//! What the queue knows and how it chooses: no lock, no clock, no waiting.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use super::{Added, Depth, Priority, later};

/// After so many fresh requests in a row, a background request that is due gets its turn.
const FRESH_IN_A_ROW: u32 = 4;

pub(super) struct State<K, R> {
    /// Every key that waits or runs, or both.
    keys: HashMap<K, Entry<R>>,
    /// The waiting keys that do not run, in the order of their places.
    fresh: BTreeMap<Place, K>,
    background: BTreeMap<Place, K>,
    fresh_in_a_row: u32,
    next_sequence: u64,
    closed: bool,
}

/// A request taken out of the queue: its key is running.
#[derive(Debug)]
pub(crate) struct Taken<K, R> {
    pub(crate) key: K,
    pub(crate) reason: R,
    /// How many runs of this key have failed since the last one that did not.
    pub(crate) attempt: u32,
    pub(crate) due: Instant,
    pub(super) priority: Priority,
}

/// What is to become of a key whose run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, and its failures are forgotten.
    Forget,
    /// Its failures are forgotten, and it runs again after this time.
    Requeue(Duration),
    /// One more failure, and it runs again after this time.
    Retry(Duration),
}

struct Entry<R> {
    failures: u32,
    phase: Phase<R>,
}

enum Phase<R> {
    Waiting(Waiting<R>),
    /// With what was asked for since the run began.
    Running(Option<Waiting<R>>),
}

struct Waiting<R> {
    place: Place,
    priority: Priority,
    reason: R,
}

/// A place in line: by the time it is due, then by the order of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    due: Instant,
    sequence: u64,
}

// === impl State ===

impl<K: Clone + Eq + Hash, R> State<K, R> {
    pub(super) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            fresh: BTreeMap::new(),
            background: BTreeMap::new(),
            fresh_in_a_row: 0,
            next_sequence: 0,
            closed: false,
        }
    }

    /// Accepts a request. The second value says whether there is something to take sooner than before, so that
    /// whoever waits must look again.
    pub(super) fn add(
        &mut self,
        key: K,
        reason: R,
        at: Instant,
        priority: Priority,
        now: Instant,
    ) -> (Added, bool) {
        if self.closed {
            return (Added::Closed, false);
        }
        let before = self.next_due();
        let waiting = Waiting { place: self.place(at, now), priority, reason };
        let (failures, phase, added) = match self.keys.remove(&key) {
            None => (0, Phase::Waiting(waiting), Added::New),
            Some(Entry { failures, phase }) => match phase {
                Phase::Waiting(old) => {
                    self.line(old.priority).remove(&old.place);
                    (failures, Phase::Waiting(old.merge(waiting)), Added::Merged)
                }
                Phase::Running(None) => (failures, Phase::Running(Some(waiting)), Added::New),
                Phase::Running(Some(old)) => {
                    (failures, Phase::Running(Some(old.merge(waiting))), Added::Merged)
                }
            },
        };
        self.file(key, Entry { failures, phase });
        (added, self.is_sooner(before))
    }

    /// Takes the request whose turn it is, if one is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Taken<K, R>> {
        let priority = self.turn(now)?;
        let (_, key) = self.line(priority).pop_first()?;
        let Some(Entry { failures, phase: Phase::Waiting(Waiting { place, reason, .. }) }) =
            self.keys.remove(&key)
        else {
            unreachable!("a key stands in line exactly while its phase is waiting");
        };
        self.keys.insert(key.clone(), Entry { failures, phase: Phase::Running(None) });
        Some(Taken { key, reason, attempt: failures, due: place.due, priority })
    }

    /// Ends the run of a key.
    pub(super) fn finish(&mut self, taken: Taken<K, R>, next: Next, now: Instant) {
        let Taken { key, reason, attempt, priority, .. } = taken;
        let Some(Entry { phase: Phase::Running(asked), .. }) = self.keys.remove(&key) else {
            unreachable!("a key that was taken runs until it is finished");
        };
        let (failures, delay) = match next {
            Next::Forget => (0, None),
            Next::Requeue(delay) => (0, Some(delay)),
            Next::Retry(delay) => (attempt.saturating_add(1), Some(delay)),
        };
        let again =
            delay.map(|delay| Waiting { place: self.place(later(now, delay), now), priority, reason });
        let waiting = match (asked, again) {
            (Some(asked), Some(again)) => asked.merge(again),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return,
        };
        self.file(key, Entry { failures, phase: Phase::Waiting(waiting) });
    }

    /// When the next request is due, past or future.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let firsts = [&self.fresh, &self.background].into_iter().filter_map(BTreeMap::first_key_value);
        firsts.map(|(place, _)| place.due).min()
    }

    pub(super) fn depth(&self, now: Instant) -> Depth {
        let last = Place { due: now, sequence: u64::MAX };
        let waiting = self.fresh.len() + self.background.len();
        let due = self.fresh.range(..=last).count() + self.background.range(..=last).count();
        Depth { due, delayed: waiting - due, running: self.keys.len() - waiting }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// From now on nothing is accepted.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Closes the queue and empties it, in the order in which the requests are due. Keys that run go on.
    pub(super) fn drain(&mut self) -> Vec<(K, R)> {
        self.closed = true;
        self.fresh.clear();
        self.background.clear();
        let mut drained = Vec::new();
        for (key, Entry { failures, phase }) in mem::take(&mut self.keys) {
            let waiting = match phase {
                Phase::Waiting(waiting) => Some(waiting),
                Phase::Running(asked) => {
                    self.keys.insert(key.clone(), Entry { failures, phase: Phase::Running(None) });
                    asked
                }
            };
            drained.extend(waiting.map(|Waiting { place, reason, .. }| (place, key, reason)));
        }
        drained.sort_unstable_by_key(|(place, ..)| *place);
        drained.into_iter().map(|(_, key, reason)| (key, reason)).collect()
    }

    /// Whose turn it is. Fresh requests go first, but not for ever.
    fn turn(&mut self, now: Instant) -> Option<Priority> {
        let due =
            |line: &BTreeMap<Place, K>| line.first_key_value().is_some_and(|(place, _)| place.due <= now);
        match (due(&self.fresh), due(&self.background)) {
            (false, false) => None,
            (true, background) if !background || self.fresh_in_a_row < FRESH_IN_A_ROW => {
                self.fresh_in_a_row = self.fresh_in_a_row.saturating_add(1);
                Some(Priority::Fresh)
            }
            (_, _) => {
                self.fresh_in_a_row = 0;
                Some(Priority::Background)
            }
        }
    }

    /// A new place. A time in the past counts as now: nobody jumps the queue with it.
    fn place(&mut self, at: Instant, now: Instant) -> Place {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Place { due: at.max(now), sequence }
    }

    /// Puts an entry back and, if it waits, into its line.
    fn file(&mut self, key: K, entry: Entry<R>) {
        if let Phase::Waiting(Waiting { place, priority, .. }) = entry.phase {
            self.line(priority).insert(place, key.clone());
        }
        self.keys.insert(key, entry);
    }

    /// Whether the next request is due sooner than it was.
    fn is_sooner(&self, before: Option<Instant>) -> bool {
        self.next_due().is_some_and(|now| before.is_none_or(|before| now < before))
    }

    fn line(&mut self, priority: Priority) -> &mut BTreeMap<Place, K> {
        match priority {
            Priority::Fresh => &mut self.fresh,
            Priority::Background => &mut self.background,
        }
    }
}

// === impl Waiting ===

impl<R> Waiting<R> {
    /// One request of two for the same key: the earlier one, at the higher priority of both.
    fn merge(self, later: Self) -> Self {
        let priority = self.priority.max(later.priority);
        let earlier = if later.place.due < self.place.due { later } else { self };
        Self { priority, ..earlier }
    }
}
