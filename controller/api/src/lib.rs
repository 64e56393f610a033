//! plugward's records: what operators declare, and what the controller says about it.
//!
//! # Tour
//!
//! An operator writes *manifests*, YAML or JSON files that hold *records* of two kinds: a [`PluginRuntime`] says how
//! containers are run, a [`PluginInstance`] which plugin runs and what it serves.
//!
//! - [`manifest::parse`] makes [`Record`]s of bytes, each with its [`Place`], or tells everything that is wrong, each
//!   [`Problem`] with its place, field and mend.
//! - [`validate()`] holds a record from elsewhere (a state directory) to the rules that concern several fields.
//! - [`schema`] makes JSON Schemas and Kubernetes' `CustomResourceDefinition`s of the same types.
//! - [`status`] and [`condition`] are what the controller says about records, [`session`] what it says of hosts.
//! - [`Quantity`], [`Duration`], [`Name`] and the types in [`field`], [`image`], [`instance`] and [`runtime`] are texts
//!   with rules: none holds a bad value.
//!
//! # Guarantees
//!
//! A field has one definition: its type. Its doc comment is what operators read in the schemas, its default what the
//! parser fills in, and the published schema is what manifests are compared with. A parsed record serializes to a
//! manifest of the same record. Secrets ([`Redacted`]) are in no `Debug` output and in no problem.
//!
//! # What it may touch
//!
//! Nothing: no files, no clock, no network, no tasks.
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
pub mod session;
pub mod status;
mod text;
mod validate;

pub use condition::{Condition, ConditionStatus, Conditions, InstanceCondition, RuntimeCondition};
pub use duration::Duration;
pub use instance::{DEFAULT_RUNTIME, PluginInstanceSpec, PluginType};
pub use meta::{LabelKey, LabelValue, Metadata, Name};
pub use problem::{Place, Placed, Problem, ProblemIn};
pub use quantity::Quantity;
pub use record::{API_VERSION, Kind, PluginInstance, PluginRuntime, Record, RecordKey, UnknownKind};
pub use runtime::PluginRuntimeSpec;
pub use secret::Redacted;
pub use session::{PluginSession, SessionKind, SessionPhase};
pub use status::{InstanceStatus, Phase, RestartReason, RuntimeStatus, SlotStatus};
pub use text::Invalid;
pub use validate::{MAX_SOCKET_PATH, validate};
