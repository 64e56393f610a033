//! Conditions, as Kubernetes has them.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// One thing that is known about a record: `Ready` is `False` because of `HandshakeFailed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Condition<T> {
    /// What the condition is about.
    #[serde(rename = "type")]
    pub condition_type: T,

    /// Whether it holds.
    pub status: ConditionStatus,

    /// Why, in one word for programs: `HandshakeFailed`.
    pub reason: Cow<'static, str>,

    /// Why, in a sentence for people.
    pub message: Cow<'static, str>,

    /// When the status changed last.
    #[schemars(schema_with = "timestamp")]
    pub last_transition_time: Timestamp,

    /// The generation of the record that this was seen for.
    pub observed_generation: u64,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can say now.
    Unknown,
}

/// What is known about an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum InstanceCondition {
    /// The controller can act on the record: it asks for nothing that is not supported.
    Accepted,
    /// The runtime it names is there.
    RuntimeAvailable,
    /// The image is there, and has the ID that was asked for, if one was.
    ImageVerified,
    /// The tag names another image now than the one that runs.
    ImageOutdated,
    /// The last change is on its way or done; false: it is stuck.
    Progressing,
    /// The plugin answers its health probes.
    Healthy,
    /// The limits of the runtime are in force. Only there where it has some.
    LimitsEnforced,
    /// Processes can gain no privileges. Only there where they can.
    NoNewPrivileges,
    /// The instance can serve.
    Ready,
}

/// What is known about a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum RuntimeCondition {
    /// The engine answers.
    EngineReachable,
    /// The engine knows the OCI runtime.
    RuntimeAvailable,
    /// An instance uses the runtime.
    InUse,
}

/// The conditions of one record: at most one of each type, in the order of the types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Conditions<T>(Vec<Condition<T>>);

/// The schema of a point in time.
pub(crate) fn timestamp(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

// === impl Conditions ===

impl<T: Copy + Ord> Conditions<T> {
    /// No conditions.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets a condition; `last_transition_time` of `condition` is the time now.
    ///
    /// As in Kubernetes, the transition time is kept while the status stays the same. Says whether anything but that
    /// time changed.
    pub fn set(&mut self, mut condition: Condition<T>) -> bool {
        let Some(known) = self.0.iter_mut().find(|known| known.condition_type == condition.condition_type)
        else {
            self.0.push(condition);
            self.0.sort_by_key(|condition| condition.condition_type);
            return true;
        };
        if known.status == condition.status {
            condition.last_transition_time = known.last_transition_time;
        }
        let changed = *known != condition;
        *known = condition;
        changed
    }

    /// The condition of this type.
    pub fn get(&self, condition_type: T) -> Option<&Condition<T>> {
        self.0.iter().find(|condition| condition.condition_type == condition_type)
    }

    /// Whether the condition of this type is known to hold.
    pub fn is_true(&self, condition_type: T) -> bool {
        self.get(condition_type).is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    /// Forgets the condition of this type. Says whether there was one.
    pub fn remove(&mut self, condition_type: T) -> bool {
        let before = self.0.len();
        self.0.retain(|condition| condition.condition_type != condition_type);
        self.0.len() != before
    }

    /// Forgets those of other types than these.
    pub fn keep(&mut self, types: &[T]) {
        self.0.retain(|condition| types.contains(&condition.condition_type));
    }

    /// All of them, in the order of the types.
    pub fn iter(&self) -> std::slice::Iter<'_, Condition<T>> {
        self.0.iter()
    }
}

impl<T> Default for Conditions<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T: Copy + Ord> IntoIterator for &'a Conditions<T> {
    type Item = &'a Condition<T>;
    type IntoIter = std::slice::Iter<'a, Condition<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

// === impl ConditionStatus ===

impl ConditionStatus {
    /// As it is written in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

// === impl InstanceCondition ===

impl InstanceCondition {
    /// As it is written in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::RuntimeAvailable => "RuntimeAvailable",
            Self::ImageVerified => "ImageVerified",
            Self::ImageOutdated => "ImageOutdated",
            Self::Progressing => "Progressing",
            Self::Healthy => "Healthy",
            Self::LimitsEnforced => "LimitsEnforced",
            Self::NoNewPrivileges => "NoNewPrivileges",
            Self::Ready => "Ready",
        }
    }
}

// === impl RuntimeCondition ===

impl RuntimeCondition {
    /// As it is written in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EngineReachable => "EngineReachable",
            Self::RuntimeAvailable => "RuntimeAvailable",
            Self::InUse => "InUse",
        }
    }
}

#[cfg(test)]
mod tests;
