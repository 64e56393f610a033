//! What a decision rests on: what is wanted, what is remembered, and what is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plugward_api::instance::UpdateStrategy;
use plugward_api::{Name, RestartReason};
use plugward_engine::{ContainerId, ContainerState};

use super::pull::PullSight;
use super::step::Place;
use super::trial::TrialSight;
use crate::names::{ClusterId, MountName, SlotName};
use crate::recipe::{Recipe, SpecHash};
use crate::slot::{Edit, EngineRef, Slot, Start};

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
