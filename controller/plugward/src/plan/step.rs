//! What a plan consists of: one effect each, decided on to the last detail.

use std::sync::Arc;

use jiff::Timestamp;
use plugward_api::RestartReason;
use plugward_api::status::LastExit;
use plugward_engine::ContainerId;

use crate::names::SlotName;
use crate::recipe::{Recipe, SpecHash};
use crate::slot::{Edit, EngineRef};

/// One effect.
#[derive(Debug, Clone)]
pub enum Step {
    /// Stores that the container of the last start ended, and when the next may come.
    RecordEnd {
        /// The slot.
        slot: SlotName,
        /// How it ended, and what that means.
        end: Ended,
        /// When the next start may come.
        retry_at: Timestamp,
        /// The edit in force.
        edit: Edit,
        /// The container, if it is still there: its last lines are kept.
        container: Option<Place>,
    },
    /// Stores a new start, before anything of it runs: its number, name, key and directory.
    Prepare {
        /// The slot.
        slot: SlotName,
        /// The start.
        start: NewStart,
    },
    /// Begins to pull an image, unless that is under way.
    Pull {
        /// Where to.
        engine: EngineRef,
        /// By what registries know it: `repository:tag`.
        image: String,
    },
    /// Finds out with a container that is never started whether one made so can run.
    Try {
        /// Where.
        engine: EngineRef,
        /// The image by which it is made.
        image: String,
        /// What it is made from.
        recipe: Arc<Recipe>,
    },
    /// Makes the container of the current start, unless it is there.
    Create {
        /// The slot.
        slot: SlotName,
        /// The image by which it is made: an ID where one was declared, else the reference.
        image: String,
    },
    /// Starts the container of the current start.
    Start {
        /// The slot.
        slot: SlotName,
    },
    /// Begins the conversation with the plugin in a container of the slot.
    Converse {
        /// The slot.
        slot: SlotName,
        /// In which.
        which: Which,
    },
    /// Stores that a spare's start is the slot's, and that the slot's ended start is the spare's to restart.
    Promote {
        /// The slot.
        slot: SlotName,
        /// The spare's.
        spare: SlotName,
        /// The spare's container.
        container: Place,
        /// The number of the start, in the slot.
        number: u64,
        /// What becomes of the slot's start.
        before: Before,
        /// When that may be started again, as the spare's.
        retry_at: Timestamp,
        /// The edit in force.
        edit: Edit,
    },
    /// Lets no new call reach a container. Those under way end, within the instance's drain timeout.
    Withdraw {
        /// The container.
        container: Place,
    },
    /// Stores that the slot runs nothing until it is needed.
    Sleep {
        /// The slot.
        slot: SlotName,
    },
    /// Stores that the current start is able to serve.
    RecordReady {
        /// The slot.
        slot: SlotName,
        /// The plugin's handshake line.
        handshake: Arc<str>,
        /// Since when.
        since: Timestamp,
    },
    /// Forgets earlier failures after a stable time.
    ForgetFailures {
        /// The slot.
        slot: SlotName,
    },
    /// Ends a container that runs: asks the plugin, then its process, then kills.
    Halt {
        /// The container.
        container: Place,
    },
    /// Removes a container, killing it if it runs, and its directory.
    Remove {
        /// The slot.
        slot: SlotName,
        /// The container.
        container: Place,
        /// Whether its last lines are kept as those of the slot's last exit.
        keep_output: bool,
    },
    /// Stores that nothing of the outgoing start is left.
    DropOutgoing {
        /// The slot.
        slot: SlotName,
    },
    /// Forgets the slot.
    Forget {
        /// The slot.
        slot: SlotName,
    },
}

/// Which of a slot's starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The latest.
    Current,
    /// The one before it, which serves until the latest does.
    Outgoing,
}

/// A start that a plan decided on.
#[derive(Debug, Clone)]
pub struct NewStart {
    /// Its number.
    pub number: u64,
    /// Its container's name.
    pub container: String,
    /// Its engine.
    pub engine: EngineRef,
    /// What the container is made from.
    pub recipe: Arc<Recipe>,
    /// The hash of that.
    pub hash: SpecHash,
    /// What becomes of the start before it.
    pub before: Before,
    /// Failures in a row up to now.
    pub failures: u32,
    /// The last renewal that was asked for.
    pub renewal: u64,
}

/// What a new start means for the one before it.
#[derive(Debug, Clone)]
pub enum Before {
    /// There was none, or nothing of it counts.
    Nothing,
    /// It ended or was judged dead: a restart.
    Ended(Ended),
    /// Its end is stored already: a restart.
    EndedEarlier(RestartReason),
    /// An edit replaces it: no restart. It is kept as the outgoing one.
    Replaced,
    /// It is an update that serves nobody, and the outgoing one, which did, ended: that is restarted in its place.
    FellBack(Ended),
}

/// How a container ended, and what that means.
#[derive(Debug, Clone)]
pub struct Ended {
    /// As what it counts.
    pub reason: RestartReason,
    /// How it ended, for people.
    pub exit: LastExit,
    /// Failures in a row, this one included if it is one.
    pub failures: u32,
}

/// A container on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The engine.
    pub engine: EngineRef,
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
}

// === impl Before ===

impl Before {
    /// As what restart the new start counts, if it is one.
    pub const fn restart(&self) -> Option<RestartReason> {
        match self {
            Self::Nothing | Self::Replaced => None,
            Self::Ended(ended) | Self::FellBack(ended) => Some(ended.reason),
            Self::EndedEarlier(reason) => Some(*reason),
        }
    }
}

// === impl Step ===

impl Step {
    /// The slot that the step is about; some are about a container alone.
    pub const fn slot(&self) -> Option<&SlotName> {
        match self {
            Self::RecordEnd { slot, .. }
            | Self::Prepare { slot, .. }
            | Self::Create { slot, .. }
            | Self::Start { slot }
            | Self::Converse { slot, .. }
            | Self::Sleep { slot }
            | Self::Promote { slot, .. }
            | Self::RecordReady { slot, .. }
            | Self::ForgetFailures { slot }
            | Self::Remove { slot, .. }
            | Self::DropOutgoing { slot }
            | Self::Forget { slot } => Some(slot),
            Self::Pull { .. } | Self::Try { .. } | Self::Halt { .. } | Self::Withdraw { .. } => None,
        }
    }

    /// Whether it only clears away what is over.
    pub(super) const fn is_chore(&self) -> bool {
        match self {
            Self::ForgetFailures { .. } | Self::Remove { .. } | Self::DropOutgoing { .. } => true,
            // Nobody is told that a container is ready before that is stored: its end would count as a failed start.
            Self::RecordReady { .. }
            | Self::RecordEnd { .. }
            | Self::Prepare { .. }
            | Self::Pull { .. }
            | Self::Try { .. }
            | Self::Create { .. }
            | Self::Start { .. }
            | Self::Converse { .. }
            | Self::Withdraw { .. }
            | Self::Sleep { .. }
            | Self::Promote { .. }
            | Self::Halt { .. }
            | Self::Forget { .. } => false,
        }
    }
}
