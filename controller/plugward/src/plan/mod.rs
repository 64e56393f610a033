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
mod outgoing;
mod pull;
mod slot;
mod spare;
mod step;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plugward_api::instance::UpdateStrategy;
use plugward_api::status::LastExit;
use plugward_api::{Name, RestartReason};
use plugward_engine::{ContainerId, ContainerState};

use crate::names::{ClusterId, MountName, SlotName};
use crate::recipe::{Recipe, SpecHash};
use crate::slot::{Edit, EngineRef, Slot, Start};

pub use judge::OWN_END_WINDOW;
pub use pull::PullSight;
pub use step::{Before, Ended, NewStart, Place, Step, Which};
pub use trial::{TrialFault, TrialSight};

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
    pub unseen: BTreeSet<Arc<str>>,
    /// The highest number that a start of it has had as far as is known, also in slots that are not remembered any more.
    pub latest_start: u64,
    /// Whether a container that serves may be replaced now (the roll token).
    pub may_replace: bool,
}

/// What is wanted in a slot.
#[derive(Debug, Clone)]
pub struct Target {
    /// The state of the records that wants it, and what was asked for beside them.
    pub edit: Edit,
    /// What the container is made from.
    pub recipe: Arc<Recipe>,
    /// The hash of that.
    pub hash: SpecHash,
    /// The engine to be on.
    pub engine: EngineSight,
    /// Where directories are shared with plugins there.
    pub directory: DirectorySight,
    /// What a trial of it has shown there.
    pub trial: TrialSight,
    /// The image there.
    pub image: ImageSight,
    /// The pull of that, where it may be pulled.
    pub pull: PullSight,
    /// The mounts that it serves.
    pub mounts: Vec<MountName>,
    /// How a container that serves is replaced.
    pub strategy: UpdateStrategy,
    /// When a container is to run.
    pub activation: Activation,
}

/// When a container is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// At all times.
    Eager,
    /// While it is needed, and some time after.
    OnDemand {
        /// Whether requests wait, or are under way.
        needed: bool,
        /// When it was needed last.
        idle_since: Timestamp,
        /// How long it goes on then.
        idle_timeout: Duration,
    },
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
        /// What makes its cgroups: `cgroupfs`, `systemd` or `none`.
        cgroup_driver: String,
        /// The most bytes of memory that a process in its containers may lock, if a limit is known that no capability lifts.
        memlock_limit: Option<u64>,
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

/// Whether directories can be shared with plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectorySight {
    /// Nothing is known to be in the way.
    Usable,
    /// They cannot.
    Unusable {
        /// Why, and what to do.
        message: String,
    },
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
    /// What it does for hosts.
    pub service: ServiceSight,
    /// The slot in which it does that, if that is not the one in which it is remembered: a spare took over.
    pub took_over: Option<SlotName>,
}

/// What a container does for hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceSight {
    /// Nothing: no call was ever let to it.
    None,
    /// It is told first what hosts had told its predecessor.
    Priming,
    /// It did not take that. It is told again.
    PrimingFailed {
        /// Which call failed, and with what.
        message: String,
        /// When it is told again.
        again_at: Timestamp,
    },
    /// It can follow the container that serves only when hosts have primed that one again: what they told it before this
    /// controller began is not known.
    PrimingUnknown {
        /// The mounts that this is said of.
        mounts: Vec<MountName>,
    },
    /// New calls go there.
    Serving,
    /// No new calls go there, and some are under way.
    Draining,
    /// No calls go there, and none is under way.
    Drained,
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
    /// Whether the outgoing start serves while the current one does not.
    pub covered: bool,
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
    /// Healthy, and not yet as hosts had made its predecessor.
    Priming {
        /// What it said to that, if it was tried.
        failure: Option<String>,
    },
    /// Nothing runs, and nothing is needed.
    Idle,
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

/// What keeps a container from being started, or from taking another's place.
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
    /// The engine makes cgroups in slices of systemd, and this is none.
    NotASlice {
        /// The wanted parent.
        wanted: String,
    },
    /// The plugin is to lock its memory, and the engine's limit does not let it.
    MemoryUnlockable {
        /// The limit, in bytes.
        limit: u64,
    },
    /// No directory can be shared with the plugin.
    NoDirectory(String),
    /// It has to be tried first.
    Untried,
    /// It was tried, and cannot run.
    Fault(TrialFault),
    /// The image is not on the engine.
    ImageMissing,
    /// It, or a newer one, is on its way there.
    Pulling,
    /// It could not be brought there.
    PullFailed {
        /// Why, in words.
        message: String,
        /// When that is tried again.
        retry_at: Timestamp,
    },
    /// The image of that name is another one.
    ImageMismatch(String),
    /// It runs, and cannot serve: what hosts told these mounts is not known, and they have to tell it again.
    Unprimed(Vec<MountName>),
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
    /// What is wanted cannot be started, or not be used; the old container goes on.
    Blocked(Obstacle),
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

// === impl Target ===

impl Target {
    /// Whether somebody asked for a new container after `start` was intended.
    pub fn renews(&self, start: &Start) -> bool {
        start.renewal < self.edit.renewal
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
    pub(crate) const fn new(state: OutlookState) -> Self {
        Self { state, update: UpdateState::None, covered: false, image_outdated: false }
    }

    /// Whether requests are served at once.
    pub fn serves(&self) -> bool {
        self.covered || self.state == OutlookState::Ready
    }

    /// Whether all is as it should be.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, OutlookState::Ready | OutlookState::Idle)
    }
}
