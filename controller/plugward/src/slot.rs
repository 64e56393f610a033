//! What is remembered of a slot: which container is its, how it was made, and how it fared.
//!
//! A [`Slot`] is stored before the effect that it describes is tried, so that after a crash at any
//! instruction the next controller finds every container that it may own, by name, and has the key with
//! which to speak to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use go_plugin::Handshake;
use jiff::Timestamp;
use plugward_api::RestartReason;
use plugward_api::status::{LastExit, StartTimes};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::recipe::{Recipe, SpecHash};

/// What is remembered of a slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// The number of the latest start; the first is 1.
    pub starts: u64,
    /// The latest start.
    pub current: Option<Start>,
    /// The start before it while its container may still be there to be replaced by the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<Box<Start>>,
    /// The container of the start before it, by its name. One that a spare took over from, or that was a spare, has another slot's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Whether the current start is an update that has not become ready yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub updating: bool,
    /// Failures in a row: what the delay of the next start grows with.
    #[serde(default)]
    pub failures: u32,
    /// Restarts since the slot exists, by reason.
    #[serde(default)]
    pub restarts: BTreeMap<RestartReason, u64>,
    /// The application protocol version that the plugin chose last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<u32>,
    /// How the last container that ended, ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
}

/// One container of a slot, from the intention to make it to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// Its number: the first of a slot is 1.
    pub number: u64,
    /// The container's name.
    pub container: String,
    /// The engine it is on.
    pub engine: EngineRef,
    /// What it is made from.
    pub recipe: Arc<Recipe>,
    /// The hash of that.
    pub hash: SpecHash,
    /// The directory that it shares with us, on our side.
    pub directory: std::path::PathBuf,
    /// The group to which the shared directory and the plugin's socket belong, where it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// That group as the container numbers it, where it has another number there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_inside: Option<u32>,
    /// With what we prove to the plugin who we are.
    pub identity: StoredIdentity,
    /// When it was intended.
    pub at: Timestamp,
    /// Whether the engine is known to have made the container.
    #[serde(default, skip_serializing_if = "is_false")]
    pub created: bool,
    /// What is to be known of how it was made.
    #[serde(default, skip_serializing_if = "Making::is_nothing")]
    pub made: Making,
    /// The plugin's handshake line, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Arc<str>>,
    /// When it was first able to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// The last renewal that was asked for when it was intended: a later one replaces it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub renewal: u64,
    /// Whether it came back in the place of an update that failed: it is left alone until it serves.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fallback: bool,
    /// How it ended, and when the next start may come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// How long its phases took, once it was ready.
    #[serde(default)]
    pub times: StartTimes,
}

/// What is to be known of how a container was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Making {
    /// What the engine said that it ignores, in its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// Why its processes may gain privileges, if they may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gains_privileges: Option<GainsBecause>,
}

/// Why a container's processes may gain privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GainsBecause {
    /// The runtime says so.
    Declared,
    /// The program has to get the capability to lock memory from its file.
    Mlock,
}

/// An engine as it is remembered: what it is, and where it was reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineRef {
    /// Its ID.
    pub id: Arc<str>,
    /// The declared address; `None` is the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// The end of a container that is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Why it is replaced.
    pub reason: RestartReason,
    /// When it ended.
    pub at: Timestamp,
    /// When the next start may come.
    pub retry_at: Timestamp,
    /// The edit that was in force: a later one clears the delay.
    pub edit: Edit,
}

/// Tells one state of what is wanted from the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    /// The instance's generation.
    pub instance: u64,
    /// Its runtime's generation; 0 is the built-in runtime.
    pub runtime: u64,
    /// How often somebody asked for new containers (`plugward restart`), whatever the records say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub renewal: u64,
}

/// Our certificate and private key for one container, as PEM. Stored with mode 0600, never shown. Clones share it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredIdentity(Arc<Zeroizing<String>>);

// === impl Slot ===

impl Slot {
    /// Restarts since the slot exists.
    pub fn restart_count(&self) -> u64 {
        self.restarts.values().sum()
    }

    /// The start whose container is there, as far as is known: it was made, and has not ended.
    pub fn held(&self) -> Option<&Start> {
        self.current.as_ref().filter(|start| start.created && start.end.is_none())
    }
}

// === impl Start ===

impl Start {
    /// The group of the shared directory, and of the sockets in it, in the container.
    pub fn group_inside(&self) -> Option<u32> {
        self.group_inside.or(self.group)
    }

    /// Whether its plugin has one connection for all, and so ends with the controller that made that.
    pub fn shares_connection(&self) -> bool {
        let mode = self.recipe.container.broker;
        let handshake = self.handshake.as_ref().filter(|_| mode.asks());
        handshake
            .and_then(|line| Handshake::parse(line.as_bytes()).ok())
            .is_some_and(|handshake| mode.is_shared(&handshake))
    }
}

// === impl Making ===

impl Making {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

// === impl StoredIdentity ===

impl StoredIdentity {
    /// Wraps the PEM text of a certificate and its private key.
    pub fn new(pem: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(pem.into())))
    }

    /// The PEM text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredIdentity(hidden)")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}
