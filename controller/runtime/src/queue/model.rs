//! The queue against a model that is too simple to be wrong: a list, searched from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::state::{Next, State, Taken};
use super::{Added, Depth, Priority};

/// How often in a row a due background request may see a fresh one go first.
const PATIENCE: u32 = 4;

#[derive(Debug, Clone)]
enum Step {
    Add { key: u8, at: i64, priority: Priority },
    Take,
    Finish { which: prop::sample::Index, next: Next },
    Wait { seconds: u64 },
}

#[derive(Debug, Clone)]
struct Asked {
    key: u8,
    due: Instant,
    /// Unique, and rising in the order of acceptance.
    reason: u64,
    /// When it got this place: a retry has an old reason at a new place.
    accepted: u64,
    priority: Priority,
}

#[derive(Default)]
struct Model {
    waiting: Vec<Asked>,
    running: BTreeSet<u8>,
    failures: BTreeMap<u8, u32>,
    /// Fresh requests taken since the last background one, and those of them while one was due.
    fresh_in_a_row: u32,
    passed_over: u32,
}

fn any_step() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![Just(Priority::Fresh), Just(Priority::Background)];
    let next = prop_oneof![
        2 => Just(Next::Forget),
        1 => (0..5_u64).prop_map(|seconds| Next::Requeue(Duration::from_secs(seconds))),
        2 => (0..5_u64).prop_map(|seconds| Next::Retry(Duration::from_secs(seconds))),
    ];
    prop_oneof![
        5 => (0..8_u8, prop_oneof![3 => Just(0), 1 => -3..6_i64], priority)
            .prop_map(|(key, at, priority)| Step::Add { key, at, priority }),
        4 => Just(Step::Take),
        3 => (any::<prop::sample::Index>(), next).prop_map(|(which, next)| Step::Finish { which, next }),
        1 => (1..4_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

impl Model {
    /// Adds a request; the earlier one of two for a key stays, at the higher priority.
    fn ask(&mut self, new: Asked) -> Added {
        let Some(old) = self.waiting.iter_mut().find(|asked| asked.key == new.key) else {
            self.waiting.push(new);
            return Added::New;
        };
        let priority = old.priority.max(new.priority);
        if new.due < old.due {
            *old = new;
        }
        old.priority = priority;
        Added::Merged
    }

    fn finish(&mut self, taken: &Taken<u8, u64>, next: Next, accepted: u64, now: Instant) {
        self.running.remove(&taken.key);
        let (failures, delay) = match next {
            Next::Forget => (0, None),
            Next::Requeue(delay) => (0, Some(delay)),
            Next::Retry(delay) => (taken.attempt + 1, Some(delay)),
        };
        self.failures.insert(taken.key, failures);
        if let Some(delay) = delay {
            let (key, reason, priority) = (taken.key, taken.reason, taken.priority);
            self.ask(Asked { key, due: now + delay, reason, accepted, priority });
        }
    }

    /// Those that may be taken now, in their order.
    fn due(&self, priority: Priority, now: Instant) -> Vec<Asked> {
        let may = |asked: &&Asked| {
            asked.priority == priority && asked.due <= now && !self.running.contains(&asked.key)
        };
        let mut due: Vec<Asked> = self.waiting.iter().filter(may).cloned().collect();
        due.sort_by_key(|asked| (asked.due, asked.accepted));
        due
    }

    fn depth(&self, now: Instant) -> Depth {
        let free = || self.waiting.iter().filter(|asked| !self.running.contains(&asked.key));
        let due = free().filter(|asked| asked.due <= now).count();
        Depth { due, delayed: free().count() - due, running: self.running.len() }
    }

    /// Checks that what was taken is one of the two that may be, and that nobody is kept from their turn.
    fn check_take(&mut self, taken: Option<&Taken<u8, u64>>, now: Instant) -> Result<(), TestCaseError> {
        let (fresh, background) = (self.due(Priority::Fresh, now), self.due(Priority::Background, now));
        let Some(taken) = taken else {
            prop_assert!(fresh.is_empty() && background.is_empty(), "something was due");
            return Ok(());
        };
        prop_assert!(self.running.insert(taken.key), "run twice at once");
        let was = |line: &[Asked]| {
            line.first().is_some_and(|asked| {
                (asked.key, asked.reason, asked.due) == (taken.key, taken.reason, taken.due)
            })
        };
        if was(&fresh) {
            self.fresh_in_a_row += 1;
            self.passed_over = if background.is_empty() { 0 } else { self.passed_over + 1 };
            prop_assert!(self.passed_over <= PATIENCE, "the background starves");
        } else {
            prop_assert!(was(&background), "not the first of a line");
            prop_assert!(fresh.is_empty() || self.fresh_in_a_row >= PATIENCE, "the fresh must wait");
            self.passed_over = 0;
            self.fresh_in_a_row = 0;
        }
        prop_assert_eq!(taken.attempt, self.failures.get(&taken.key).copied().unwrap_or(0));
        self.waiting.retain(|asked| asked.key != taken.key);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// For every interleaving: never twice at once, nothing lost, nothing made up, the earliest of several
    /// requests with its reason, failures counted, each line in order, neither line starved.
    #[test]
    fn the_queue_does_what_the_model_does(steps in prop::collection::vec(any_step(), 0..150)) {
        let mut state = State::new();
        let mut model = Model::default();
        let mut running: Vec<Taken<u8, u64>> = Vec::new();
        // Long enough after the beginning of the clock to ask for times in the past.
        let mut now = Instant::now() + Duration::from_hours(1);
        for (accepted, step) in (0..).zip(steps) {
            match step {
                Step::Add { key, at, priority } => {
                    let shift = Duration::from_secs(at.unsigned_abs());
                    let at = if at < 0 { now - shift } else { now + shift };
                    let (added, _) = state.add(key, accepted, at, priority, now);
                    let asked = Asked { key, due: at.max(now), reason: accepted, accepted, priority };
                    prop_assert_eq!(added, model.ask(asked));
                }
                Step::Take => {
                    let taken = state.take(now);
                    model.check_take(taken.as_ref(), now)?;
                    running.extend(taken);
                }
                Step::Finish { .. } if running.is_empty() => {}
                Step::Finish { which, next } => {
                    let taken = running.swap_remove(which.index(running.len()));
                    model.finish(&taken, next, accepted, now);
                    state.finish(taken, next, now);
                }
                Step::Wait { seconds } => now += Duration::from_secs(seconds),
            }
            prop_assert_eq!(state.depth(now), model.depth(now));
        }

        model.waiting.sort_by_key(|asked| (asked.due, asked.accepted));
        let left: Vec<(u8, u64)> = model.waiting.iter().map(|asked| (asked.key, asked.reason)).collect();
        prop_assert_eq!(state.drain(), left);
        prop_assert_eq!(state.depth(now), Depth { running: running.len(), ..Depth::default() });
        prop_assert_eq!(state.add(0, 0, now, Priority::Fresh, now).0, Added::Closed);
    }
}
