//! What the controller says about records.
//!
//! Status never goes into a manifest: it is served by the control socket, and kept in the state directory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{Conditions, InstanceCondition, RuntimeCondition, timestamp};

/// What is known about an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct InstanceStatus {
    /// Where the instance is in its life, in one word.
    pub phase: Phase,

    /// The generation of the record that this status is about.
    pub observed_generation: u64,

    /// What is known, one thing at a time.
    pub conditions: Conditions<InstanceCondition>,

    /// The pull of the image, while it is under way or waits to be tried again. It is told when it is asked for, and not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PullStatus")]
    pub pull: Option<PullStatus>,
    /// The places for containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotStatus>,

    /// What happened lately, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<RecordedEvent>,
}

/// How the pull of an image stands. All instances on one engine that want the image share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct PullStatus {
    /// The image: `REPOSITORY:TAG`.
    pub image: String,
    /// When it began; of one that failed, when the last try began.
    #[schemars(schema_with = "timestamp")]
    pub started_at: Timestamp,
    /// The layers of the image, as far as they are known.
    pub layers: u32,
    /// Those of them that the engine has.
    pub layers_done: u32,
    /// Bytes that were downloaded.
    pub bytes: u64,
    /// Bytes that are to be downloaded. It grows until all layers are begun.
    pub total_bytes: u64,
    /// Failures in a row before it.
    pub failures: u32,
    /// Why it failed, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it may be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub retry_at: Option<Timestamp>,
}

/// Where an instance is in its life.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum Phase {
    /// It waits for something: its runtime, its engine, its image.
    #[default]
    Pending,
    /// Its container is being made, or has yet to answer.
    Starting,
    /// It serves.
    Ready,
    /// It serves, but not as it should.
    Degraded,
    /// Its containers are being replaced after a change.
    Updating,
    /// It failed, and waits before the next try.
    BackingOff,
    /// It runs nothing, and the first request starts it.
    Idle,
    /// It was deleted, and is being cleaned up.
    Terminating,
}

/// What is known about one place for a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct SlotStatus {
    /// The name of the slot: `shared`, `mount-NAME`, `session-ID` or `spare-N`.
    pub name: String,

    /// The ID of its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,

    /// The name of its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,

    /// The ID of the image that its container was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,

    /// How often a container was replaced because it ended or was judged dead.
    pub restarts: u64,

    /// The same, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, u64>")]
    pub restarts_by_reason: BTreeMap<RestartReason, u64>,

    /// The version of the application's protocol that the plugin speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    pub protocol_version: Option<u32>,

    /// The mounts that it serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<String>,

    /// When its container was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub started_at: Option<Timestamp>,

    /// When its container became ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub ready_at: Option<Timestamp>,

    /// When the next try will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub backoff_until: Option<Timestamp>,

    /// How many failures in a row the wait before the next try grew by.
    pub failures: u32,

    /// How the last container ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LastExit")]
    pub last_exit: Option<LastExit>,

    /// How long the start of the container took.
    pub start_times: StartTimes,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct LastExit {
    /// Why it is counted as ended.
    pub reason: RestartReason,

    /// The exit code, when the container had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub code: Option<i64>,

    /// Whether the kernel killed it for its memory.
    #[serde(default)]
    pub oom_killed: bool,

    /// What happened, in a sentence.
    pub message: String,

    /// When it was seen to have ended.
    #[schemars(schema_with = "timestamp")]
    pub finished_at: Timestamp,

    /// The last lines it wrote to its standard error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// How long the phases of a start took, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct StartTimes {
    /// From the order to create the container to its being there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64")]
    pub create: Option<f64>,

    /// From the order to start it to its running.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64")]
    pub start: Option<f64>,

    /// From its running to its first healthy answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64")]
    pub handshake: Option<f64>,
}

/// Something that happened to a record, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RecordedEvent {
    /// Whether someone should look.
    #[serde(rename = "type")]
    pub event_type: EventType,

    /// What happened, in one word for programs.
    pub reason: Cow<'static, str>,

    /// What happened, in a sentence for people.
    pub message: String,

    /// How often.
    pub count: u64,

    /// When it happened first.
    #[schemars(schema_with = "timestamp")]
    pub first_seen: Timestamp,

    /// When it happened last.
    #[schemars(schema_with = "timestamp")]
    pub last_seen: Timestamp,
}

/// Whether someone should look at an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum EventType {
    /// All is as it should be.
    Normal,
    /// Something is not.
    Warning,
}

/// What is known about a runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct RuntimeStatus {
    /// The generation of the record that this status is about.
    pub observed_generation: u64,

    /// What is known, one thing at a time.
    pub conditions: Conditions<RuntimeCondition>,

    /// The engine, once it was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EngineStatus")]
    pub engine: Option<EngineStatus>,

    /// How many instances use the runtime.
    pub instances: u32,
}

/// What an engine says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct EngineStatus {
    /// Its ID: two addresses with one ID are one engine.
    pub id: String,

    /// Its version.
    pub version: String,

    /// The version of its API that is spoken with it.
    pub api_version: String,

    /// The OCI runtimes that it knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub oci_runtimes: Vec<String>,
}

/// Why a container was replaced: the closed set of the label `reason` of `plugward_plugin_restarts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RestartReason {
    /// It ended by itself.
    Exited,
    /// A signal ended it.
    Killed,
    /// The kernel killed it for its memory.
    OomKilled,
    /// The engine could not start it.
    StartFailed,
    /// It did not introduce itself as a plugin does.
    HandshakeFailed,
    /// What a host had told it could not be told again.
    PrimingFailed,
    /// It failed its health probes.
    Unhealthy,
    /// It broke the protocol.
    ProtocolError,
    /// Someone removed it.
    Removed,
    /// It went with its engine.
    EngineLost,
    /// A new controller could not take it over.
    NotAdoptable,
}

// === impl Phase ===

impl Phase {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Starting,
        Self::Ready,
        Self::Degraded,
        Self::Updating,
        Self::BackingOff,
        Self::Idle,
        Self::Terminating,
    ];

    /// As it is written in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::Updating => "Updating",
            Self::BackingOff => "BackingOff",
            Self::Idle => "Idle",
            Self::Terminating => "Terminating",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl EventType ===

impl EventType {
    /// As it is written in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

// === impl LastExit ===

impl LastExit {
    /// The end of a container whose process gave no exit code: it was removed, never ran, or was judged dead.
    pub const fn without_code(reason: RestartReason, message: String, finished_at: Timestamp) -> Self {
        Self { reason, code: None, oom_killed: false, message, finished_at, output: Vec::new() }
    }
}

// === impl RestartReason ===

impl RestartReason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Exited,
        Self::Killed,
        Self::OomKilled,
        Self::StartFailed,
        Self::HandshakeFailed,
        Self::PrimingFailed,
        Self::Unhealthy,
        Self::ProtocolError,
        Self::Removed,
        Self::EngineLost,
        Self::NotAdoptable,
    ];

    /// As it is written in a status and in a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Killed => "killed",
            Self::OomKilled => "oom_killed",
            Self::StartFailed => "start_failed",
            Self::HandshakeFailed => "handshake_failed",
            Self::PrimingFailed => "priming_failed",
            Self::Unhealthy => "unhealthy",
            Self::ProtocolError => "protocol_error",
            Self::Removed => "removed",
            Self::EngineLost => "engine_lost",
            Self::NotAdoptable => "not_adoptable",
        }
    }
}

impl std::fmt::Display for RestartReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests;
