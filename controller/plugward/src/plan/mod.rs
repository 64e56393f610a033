//! What to do next: a pure function of what is wanted, what is seen and what time it is.
//!
//! ```text
//! Situation ── plan() ──▶ Plan { steps, outlook of each slot, when to look again }
//! ```
//!
//! The planner knows no clock, no randomness and no I/O; the same situation gives the same plan, and its
//! text form ([`text`]) is compared with golden files. It owns every decision. The steps leave their execution
//! no choice, and each is stored or repeatable, so that a plan which was cut off anywhere is taken up by the
//! next one. Planning after a plan was carried out in full gives no steps.
//!
//! # Guarantees
//! - A container is started only for a start that is stored ([`Step::Prepare`] comes first).
//! - No slot has two containers that run, but for an outgoing one: that of an update which replaces nothing before it
//!   serves (`Surge`), or on another engine. It serves until the current one does, and comes back if it ends before.
//! - A container that serves is withdrawn first: it is halted when no call is under way in it any more.
//! - A container is never given up for one that cannot start: a replacement waits for its image and runtime.
//! - Nothing is done on an engine that cannot be seen, and nothing waits for a pull: it is begun, and its end is a reason to look again.

mod going;
mod judge;
mod launch;
mod outgoing;
mod outlook;
mod pull;
mod replace;
mod sight;
mod slot;
mod spare;
mod step;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
mod trial;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use plugward_api::RestartReason;
use plugward_api::instance::UpdateStrategy;
use plugward_api::status::LastExit;

use crate::names::SlotName;
use crate::slot::Start;

pub use judge::OWN_END_WINDOW;
pub use outlook::{Obstacle, Outlook, OutlookState, UpdateState};
pub use pull::PullSight;
pub use sight::{
    Absence, Activation, DirectorySight, EngineSight, ImageSight, ServiceSight, SessionSight, Sighting,
    Situation, SlotSight, Target,
};
pub use step::{Before, Ended, NewStart, Place, Step, Which};
pub use trial::{TrialFault, TrialSight};

/// What to do, and how things stand once it is done.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In this order, each only if the one before succeeded.
    pub steps: Vec<Step>,
    /// How each wanted or remaining slot stands.
    pub outlooks: BTreeMap<SlotName, Outlook>,
    /// When to look again even if nothing happens.
    pub look_again: Option<Timestamp>,
}

/// How often to look for what an engine does not announce reliably.
pub(crate) const POLL: Duration = Duration::from_secs(30);

/// How soon to look again at a container that is being removed by somebody else.
pub(crate) const REMOVAL_POLL: Duration = Duration::from_secs(1);

/// Decides what to do next.
pub fn plan(situation: &Situation) -> Plan {
    let mut plan = Plan::default();
    // Under Surge, slots that nobody wants any more serve until those do that are wanted instead.
    let surge = situation.targets.values().any(|target| target.strategy == UpdateStrategy::Surge);
    if !surge {
        plan_unwanted(situation, true, &mut plan);
    }
    let nothing = SlotSight::default();
    let (spares, slots): (Vec<_>, Vec<_>) = situation.targets.iter().partition(|(name, _)| name.is_spare());
    for (name, target) in slots {
        let sight = situation.slots.get(name).unwrap_or(&nothing);
        slot::plan_wanted(situation, name, sight, target, &mut plan);
    }
    let settled = plan.outlooks.values().all(Outlook::is_settled);
    for (name, target) in spares {
        let sight = situation.slots.get(name).unwrap_or(&nothing);
        spare::plan_spare(situation, name, sight, target, settled, &mut plan);
    }
    if surge {
        plan_unwanted(situation, settled, &mut plan);
    }
    plan
}

fn plan_unwanted(situation: &Situation, settled: bool, plan: &mut Plan) {
    for (name, sight) in &situation.slots {
        if !situation.targets.contains_key(name) {
            going::plan_unwanted(situation, name, sight, settled, plan);
        }
    }
}

/// The end of a start that the engine refused, and when the next may come.
pub fn start_failed(
    start: &Start,
    message: String,
    failures: u32,
    now: Timestamp,
    random: u64,
) -> (Ended, Timestamp) {
    let exit = LastExit::without_code(RestartReason::StartFailed, message, now);
    let judged =
        judge::judge(start, RestartReason::StartFailed, exit, failures, &start.recipe.restart, now, random);
    (judged.ended, judged.retry_at)
}

// === impl Plan ===

impl Plan {
    /// What is done, and what comes after: the steps at the end by which nothing stands differently for a host.
    pub fn acts_and_chores(&self) -> (&[Step], &[Step]) {
        let last_act = self.steps.iter().rposition(|step| !step.is_chore());
        self.steps.split_at(last_act.map_or(0, |last| last + 1))
    }

    /// Asks to be looked at again at `when`, or earlier.
    fn look_again_at(&mut self, when: Timestamp) {
        self.look_again = Some(self.look_again.map_or(when, |known| known.min(when)));
    }
}
