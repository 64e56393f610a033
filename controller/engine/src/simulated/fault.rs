//! What goes wrong with calls and events.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::error::{ErrorKind, Operation};

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and did nothing.
    FailBefore(ErrorKind),
    /// It fails although it took effect.
    FailAfter(ErrorKind),
    /// It takes this long before its effect, and this long after.
    Slow {
        /// Before the effect.
        before: Duration,
        /// Between the effect and the answer.
        after: Duration,
    },
    /// It does nothing and never answers: the caller's limit ends it.
    HangBefore,
    /// It takes effect and never answers.
    HangAfter,
}

/// What goes wrong with an event on its way to the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// It does not come.
    Lose,
    /// It comes twice.
    Duplicate,
    /// It comes this much later, behind events that happened after it.
    Delay(Duration),
}

/// How much goes wrong by chance, drawn from the engine's seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Calls, of a thousand, that get a [`Fault`].
    pub calls_per_mille: u32,
    /// The operations that may get one; empty means all.
    pub operations: Vec<Operation>,
    /// Events, of a thousand, that get a [`Disturbance`].
    pub events_per_mille: u32,
    /// The longest delay of a slow call or a delayed event.
    pub longest_delay: Duration,
}

/// What is planned to go wrong. What was asked for explicitly comes before chance.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) plan: FaultPlan,
    pub(super) calls: BTreeMap<Operation, VecDeque<Fault>>,
    pub(super) events: VecDeque<Disturbance>,
}

impl Faults {
    pub(super) fn of_call(&mut self, operation: Operation, random: &mut StdRng) -> Option<Fault> {
        if let Some(fault) = self.calls.get_mut(&operation).and_then(VecDeque::pop_front) {
            return Some(fault);
        }
        let plan = &self.plan;
        let concerned = plan.operations.is_empty() || plan.operations.contains(&operation);
        if !concerned || !happens(plan.calls_per_mille, random) {
            return None;
        }
        let kinds = [ErrorKind::Unreachable, ErrorKind::TimedOut, ErrorKind::Internal];
        let kind = kinds[random.random_range(0..kinds.len())];
        Some(match random.random_range(0..5) {
            0 => Fault::FailBefore(kind),
            1 => Fault::FailAfter(kind),
            2 => Fault::HangBefore,
            3 => Fault::HangAfter,
            _ => Fault::Slow {
                before: up_to(plan.longest_delay, random),
                after: up_to(plan.longest_delay, random),
            },
        })
    }

    pub(super) fn of_event(&mut self, random: &mut StdRng) -> Option<Disturbance> {
        if let Some(disturbance) = self.events.pop_front() {
            return Some(disturbance);
        }
        happens(self.plan.events_per_mille, random).then(|| match random.random_range(0..3) {
            0 => Disturbance::Lose,
            1 => Disturbance::Duplicate,
            _ => Disturbance::Delay(up_to(self.plan.longest_delay, random)),
        })
    }
}

/// A duration up to another, both included, in milliseconds.
pub(super) fn up_to(longest: Duration, random: &mut StdRng) -> Duration {
    let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random.random_range(0..=millis))
}

/// Draws only where something can come of it, so that adding a plan for calls does not shift the events' chance.
fn happens(per_mille: u32, random: &mut StdRng) -> bool {
    per_mille > 0 && random.random_range(0..1000) < per_mille
}
