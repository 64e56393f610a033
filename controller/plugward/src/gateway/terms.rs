//! What the controller tells the gateway, and what it may ask of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use litemap::LiteMap;
use plugward_api::{self as api, Name, PluginInstanceSpec};
use plugward_relay::Violation;
use plugward_relay::grpc::Status;
use tokio::time::timeout;

use super::priming::PrimingRules;
use crate::names::{MountName, SlotName};
use crate::plan::Place;
pub use crate::plan::ServiceSight;
use crate::plugin::Conversation;

/// How long it may take to find out how a plugin ended.
const DEATH_LIMIT: Duration = Duration::from_secs(1);

/// How an instance is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Which slot serves which mount. A mount that moves to another slot takes its hosts along at once.
    pub mounts: LiteMap<MountName, SlotName>,
    /// Whether hosts may start the plugin themselves.
    pub attach: bool,
    /// By which calls hosts make the plugin usable.
    pub priming: PrimingRules,
    /// What requests may cost that wait.
    pub hold: Hold,
    /// The time that calls have to end when their container is to go. Zero: none.
    pub drain_timeout: Duration,
}

/// What requests may cost that wait for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The longest that one waits. Zero: it fails at once.
    pub timeout: Duration,
    /// How many may wait.
    pub max_requests: usize,
    /// The bytes that are kept of the requests of one connection while they wait.
    pub max_bytes: usize,
}

/// What requests may expect of a slot that has no container which could serve them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prospect {
    /// A container is on its way.
    Coming,
    /// The next start comes later.
    Later {
        /// Why not now.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// None comes before something changes that nobody can foresee.
    Blocked {
        /// What is in the way.
        reason: String,
    },
    /// None runs, because none was needed: a request starts one.
    Asleep,
}

/// A container that a conversation stands with.
#[derive(Clone)]
pub struct Backend {
    /// Whose it is.
    pub instance: Name,
    /// Its slot.
    pub slot: SlotName,
    /// The number of its start: a higher one of the same slot supersedes it.
    pub start: u64,
    /// The container.
    pub place: Place,
    /// Our own connection to the plugin, and the way to others.
    pub conversation: Arc<dyn Conversation>,
    /// Whether the plugin tells mounts apart.
    pub multiplexes: bool,
    /// The version of its application protocol that it chose.
    pub protocol_version: u32,
    /// How the container ended, or why it is ended, in words, asked when a host's connection to it did. It may take a moment; after a second it is not waited for.
    pub died: Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>,
    /// To be told what is broken of the plugin: such a container is of no use to anyone.
    pub broke: Arc<dyn Fn(Broken) + Send + Sync>,
    /// Whether its broker has ended: it lives for one stream, and that was opened over an earlier conversation.
    pub broker_spent: bool,
}

/// Why a session is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotJoined {
    /// It is not known yet how the instance is served.
    Unserved,
    /// The instance goes away.
    Refused,
    /// There is such a session.
    Known,
}

/// Where a session's calls go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The slot.
    pub slot: SlotName,
    /// The version of its application protocol that the plugin chose.
    pub protocol_version: u32,
}

/// What is broken of a plugin that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It broke this rule of HTTP/2 on a host's connection.
    Rules(Violation),
    /// Its broker has ended, and is needed.
    Broker,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(violation) => write!(f, "it broke the rules of HTTP/2 towards a host: {violation}"),
            Self::Broker => f.write_str("its broker ended with an earlier connection to it, and is needed"),
        }
    }
}

/// What hosts want of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Calls that wait for the plugin.
    pub waiting: usize,
    /// Calls that it has. Streams that the gateway serves itself do not count.
    pub in_flight: usize,
    /// When the last call ended, or its mounts were first served. Says something where there are no calls.
    pub idle_since: Timestamp,
}

/// What must be remembered over a restart of the controller: on which start's container a mount was last primed, never with what, and
/// which plugins' brokers have lived. Calls return at once.
///
/// # When it is told
///
/// Of a call after it succeeded: before, a controller that comes then would take a container for primed that may not be. But of a mount's
/// first call of all before that goes to the plugin: a controller that ends between must not take the mount for one that needs nothing. (One
/// whose first call then fails has a host that knows.)
pub trait Memory: Send + Sync {
    /// The mount was primed, or is about to be.
    fn primed(&self, instance: &Name, mount: &MountName, start: u64);
    /// Nothing is to be told to the mount's next container.
    fn unprimed(&self, instance: &Name, mount: &MountName);
    /// The start that [`primed`](Self::primed) was last told of, unless [`unprimed`](Self::unprimed) came after it.
    fn last_primed(&self, instance: &Name, mount: &MountName) -> Option<u64>;
    /// The broker of a container's plugin was opened.
    fn broker_opened(&self, place: &Place);
    /// Something is about to be said over it, or was.
    fn broker_used(&self, place: &Place);
}

// === impl Terms ===

impl Terms {
    /// The terms of a record whose mounts are served by these slots.
    pub fn of(spec: &PluginInstanceSpec, mounts: BTreeMap<MountName, SlotName>) -> Self {
        Self {
            mounts: mounts.into_iter().collect(),
            attach: spec.attach.enabled,
            priming: PrimingRules::of(spec.plugin.plugin_type, &spec.priming),
            hold: Hold::of(&spec.hold),
            drain_timeout: spec.update.drain_timeout.get(),
        }
    }
}

// === impl Hold ===

impl Hold {
    /// As it is declared.
    pub fn of(hold: &api::instance::Hold) -> Self {
        Self {
            timeout: hold.timeout.get(),
            max_requests: usize::try_from(hold.max_requests.get()).unwrap_or(usize::MAX),
            // Validation has refused a negative one.
            max_bytes: usize::try_from(hold.max_bytes.value()).unwrap_or_default(),
        }
    }
}

// === impl Backend ===

impl Backend {
    /// What a call ends with that the plugin had when it died. `otherwise` says how it did where that is not known soon.
    pub(super) async fn death(&self, otherwise: &str) -> Status {
        let how = timeout(DEATH_LIMIT, (self.died)()).await;
        death(how.as_deref().unwrap_or(otherwise))
    }
}

/// What a call ends with that a plugin had when it died in this way.
pub(super) fn death(how: &str) -> Status {
    Status::unavailable(format!("the plugin died during this call: {how}"))
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("instance", &self.instance)
            .field("slot", &self.slot)
            .field("start", &self.start)
            .field("place", &self.place)
            .field("multiplexes", &self.multiplexes)
            .finish_non_exhaustive()
    }
}
