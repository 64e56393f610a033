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
//! - No slot has two containers that may serve: what runs and is not the slot's current start is halted or
//!   removed before the current one is created, except an outgoing one on another engine, which serves until
//!   the new one is ready.
//! - A container is never given up for one that cannot start: a replacement waits for its image and runtime.
//! - Nothing is done on an engine that cannot be seen.

mod judge;
mod slot;
mod step;
#[cfg(test)]
mod tests;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plugward_api::status::LastExit;
use plugward_api::{Name, RestartReason};
use plugward_engine::{ContainerId, ContainerState};

use crate::names::{ClusterId, SlotName};
use crate::recipe::{Recipe, SpecHash};
use crate::slot::{Edit, EngineRef, Slot, Start};

pub use judge::OWN_END_WINDOW;
pub use step::{Before, Ended, NewStart, Place, Step};

/// Everything that a decision about an instance rests on.
#[derive(Debug, Clone)]
pub struct Situation {
    /// The time of day.
    pub now: Timestamp,
    /// A random number for the jitter of delays.
    pub random: u64,
    /// Whose containers these are.
    pub cluster: ClusterId,
    /// The instance.
    pub instance: Name,
    /// What is wanted, by slot. A slot that is not named here is to go.
    pub targets: BTreeMap<SlotName, Target>,
    /// What is remembered and seen, by slot.
    pub slots: BTreeMap<SlotName, SlotSight>,
    /// Engines, by ID, that hold containers of ours and cannot be asked now.
    pub unseen: BTreeSet<String>,
    /// Whether a container that serves may be replaced now (the roll token).
    pub may_replace: bool,
}

/// What is wanted in a slot.
#[derive(Debug, Clone)]
pub struct Target {
    /// The state of the records that wants it.
    pub edit: Edit,
    /// What the container is made from.
    pub recipe: Arc<Recipe>,
    /// The hash of that.
    pub hash: SpecHash,
    /// The engine to be on.
    pub engine: EngineSight,
    /// The image there.
    pub image: ImageSight,
}

/// An engine as it is seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineSight {
    /// It answers.
    Up {
        /// Which it is.
        engine: EngineRef,
        /// The OCI runtimes that it knows.
        oci_runtimes: Vec<String>,
        /// When it was last lost and found again, if it was while this controller ran.
        absence: Option<Absence>,
    },
    /// It does not.
    Down {
        /// Why, in words.
        message: String,
    },
}

/// A time in which an engine did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// When it was lost.
    pub from: Timestamp,
    /// When it was back.
    pub to: Timestamp,
}

/// The wanted image as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSight {
    /// It was not looked for: the engine is down.
    Unknown,
    /// The engine does not hold it.
    Missing,
    /// The engine holds one of that name that is not the declared one.
    Mismatch {
        /// What was found: its ID and digests.
        found: String,
    },
    /// It is there and, where an ID was declared, it is that.
    Found {
        /// Its ID.
        id: String,
    },
}

/// What is known of a slot.
#[derive(Debug, Clone, Default)]
pub struct SlotSight {
    /// What is remembered.
    pub stored: Arc<Slot>,
    /// Its containers, in whatever state, on all engines that can be seen.
    pub containers: Vec<Sighting>,
}

/// A container of ours, as it is seen.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Where.
    pub engine: EngineRef,
    /// Its ID.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// What it was made from.
    pub hash: SpecHash,
    /// The image it was made from.
    pub image_id: String,
    /// What it does.
    pub state: ContainerState,
    /// How our conversation with the plugin in it stands.
    pub session: SessionSight,
}

/// How our conversation with a plugin stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionSight {
    /// There is none.
    None,
    /// It is being established.
    Connecting,
    /// It stands, and the plugin is healthy.
    Ready {
        /// The plugin's handshake line.
        handshake: Arc<str>,
        /// Since when.
        since: Timestamp,
    },
    /// It failed for good: the container is to be replaced.
    Failed {
        /// As what it counts.
        reason: RestartReason,
        /// What happened, in words.
        message: String,
        /// Since when the plugin has been of no use: before it was given up.
        since: Timestamp,
    },
}

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

/// How a slot stands once the plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// What its current start does.
    pub state: OutlookState,
    /// Whether a replacement is due, and why it does not happen.
    pub update: UpdateState,
    /// Whether the image's name means another image by now than the one that runs.
    pub image_outdated: bool,
}

/// What a slot's current start does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutlookState {
    /// Able to serve.
    Ready,
    /// On its way.
    Starting,
    /// The next start waits for its time.
    BackingOff {
        /// Why the last one ended.
        reason: RestartReason,
        /// When it may start.
        until: Timestamp,
    },
    /// Something must appear first.
    Waiting(Obstacle),
    /// Going away.
    Terminating,
}

/// What keeps a container from being started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The engine does not answer.
    EngineDown(String),
    /// The engine has no OCI runtime of that name.
    UnknownRuntime {
        /// The wanted one.
        wanted: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The image is not on the engine.
    ImageMissing,
    /// The image of that name is another one.
    ImageMismatch(String),
}

/// Whether a replacement is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateState {
    /// What runs is what is wanted.
    None,
    /// Under way.
    InProgress,
    /// The new start has failed so far.
    Failing,
    /// Another instance of the runtime is being replaced.
    WaitingForTurn,
    /// What is wanted cannot be started; the old container goes on.
    Blocked(Obstacle),
}

/// How often to look for what an engine does not announce reliably.
pub(crate) const POLL: Duration = Duration::from_secs(30);

/// How soon to look again at a container that is being removed by somebody else.
pub(crate) const REMOVAL_POLL: Duration = Duration::from_secs(1);

/// Decides what to do next.
pub fn plan(situation: &Situation) -> Plan {
    let mut plan = Plan::default();
    let names: BTreeSet<&SlotName> = situation.targets.keys().chain(situation.slots.keys()).collect();
    for name in names {
        let nothing = SlotSight::default();
        let sight = situation.slots.get(name).unwrap_or(&nothing);
        match situation.targets.get(name) {
            Some(target) => slot::plan_wanted(situation, name, sight, target, &mut plan),
            None => slot::plan_unwanted(situation, name, sight, &mut plan),
        }
    }
    plan
}

/// The end of a start that the engine refused, and when the next may come.
pub fn start_failed(
    start: &Start,
    message: String,
    failures: u32,
    now: Timestamp,
    random: u64,
) -> (Ended, Timestamp) {
    let exit = LastExit {
        reason: RestartReason::StartFailed,
        code: None,
        oom_killed: false,
        message,
        finished_at: now,
        output: Vec::new(),
    };
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

// === impl Sighting ===

impl Sighting {
    /// Where it is.
    pub fn place(&self) -> Place {
        Place { engine: self.engine.clone(), id: self.id.clone(), name: self.name.clone() }
    }

    /// Whether its process lives.
    pub const fn runs(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }
}

// === impl Outlook ===

impl Outlook {
    const fn new(state: OutlookState) -> Self {
        Self { state, update: UpdateState::None, image_outdated: false }
    }
}
