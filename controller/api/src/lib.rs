//! plugward's records: what operators declare, and what the controller says about it.
//!
//! # Tour
//!
//! An operator writes *manifests*: YAML or JSON files that hold *records* of two kinds. A [`PluginRuntime`] says how
//! containers are run, a [`PluginInstance`] which plugin runs and what it serves.
#![forbid(unsafe_code)]

pub mod condition;
mod duration;
pub mod field;
pub mod image;
pub mod instance;
pub mod manifest;
mod meta;
mod problem;
mod quantity;
mod record;
pub mod runtime;
pub mod schema;
mod secret;
pub mod status;
pub mod support;
mod text;
mod validate;

pub use condition::{Condition, ConditionStatus, Conditions, InstanceCondition, RuntimeCondition};
pub use duration::Duration;
pub use instance::{PluginInstanceSpec, PluginType};
pub use meta::{LabelKey, LabelValue, Metadata, Name};
pub use problem::{Place, Placed, Problem, ProblemIn};
pub use quantity::Quantity;
pub use record::{API_VERSION, Kind, PluginInstance, PluginRuntime, Record, RecordKey, UnknownKind};
pub use runtime::PluginRuntimeSpec;
pub use secret::Redacted;
pub use status::{InstanceStatus, Phase, RestartReason, RuntimeStatus, SlotStatus};
pub use text::Invalid;
pub use validate::{MAX_SOCKET_PATH, validate};
