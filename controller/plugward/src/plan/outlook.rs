//! How slots stand once a plan is carried out.

use jiff::Timestamp;
use plugward_api::RestartReason;

use super::trial::TrialFault;
use crate::names::MountName;

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
