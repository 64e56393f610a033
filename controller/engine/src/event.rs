//! What an engine tells of itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::container::ContainerId;

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
