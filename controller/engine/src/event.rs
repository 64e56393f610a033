//! What an engine tells of itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::container::ContainerId;

/// The actions that are told of: those after which a list, an inspect or an image's inspect shows something else.
/// Others (health checks, attachments, executed commands) can come many times a second and change nothing here.
pub const ACTIONS: [&str; 16] = [
    // of containers
    "create", "start", "die", "oom", "pause", "unpause", "rename", "update", "destroy",
    // of images
    "pull", "load", "import", "tag", "untag", "delete", "prune",
];

/// Something that happened, by the engine's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A container changed. The action is the engine's word (`start`, `die`, `destroy`, `oom`, …).
    Container {
        /// Which.
        id: ContainerId,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// The engine's word for what happened.
        action: String,
    },
    /// An image came, went or got a name. The action is the engine's word (`pull`, `tag`, `load`, `delete`, …).
    Image {
        /// Its ID or a name of it, as the engine gives it.
        reference: String,
        /// The engine's word for what happened.
        action: String,
    },
}
