//! What a container is made from, and the hash by which an edit is told from no edit.
//!
//! A [`Recipe`] holds what the records say, resolved and complete: it is stored with each start, so that an
//! instance whose record can no longer be acted on (its runtime was deleted, an edit asks for something that
//! is not supported) goes on, and is healed, as it was last accepted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hmac::{Hmac, Mac};
use plugward_api::image::PullPolicy;
use plugward_api::instance::BrokerMultiplexing;
use plugward_api::{PluginInstanceSpec, PluginRuntimeSpec, Quantity};
use plugward_runtime::Backoff;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub use self::protocol::{BrokerMode, Protocol};
pub use self::security::{SeccompRecipe, SecurityRecipe};
use crate::files::Files;
use crate::names::label;

mod protocol;
mod security;

/// What is wanted of an instance's containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recipe {
    /// What replaces a container when it changes.
    pub container: ContainerRecipe,
    /// How long a start may take, to handshake and first health.
    pub start_timeout: Duration,
    /// How restarts back off.
    pub restart: RestartPolicy,
    /// Whether its image is pulled.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Whether the record leaves it open how the broker's connections are made: then each host that attaches says it for its own container.
    #[serde(default)]
    pub broker_is_open: bool,
    /// Labels that tell people what the container is. They replace nothing.
    pub labels: Vec<(String, String)>,
}

/// How restarts back off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartPolicy {
    /// The first delay.
    pub initial: Duration,
    /// The longest delay.
    pub max: Duration,
    /// After this long ready, earlier failures are forgotten.
    pub reset_after: Duration,
}

/// The part of a recipe that the spec hash covers.
///
/// A field is left out of the hash where it has its default, so that fields which later versions add, and
/// defaults which a user writes down, replace nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRecipe {
    /// The image as declared: `repository:tag`.
    pub image: String,
    /// The image ID that it must have (`sha256:…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Replaces the entrypoint, unless empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Replaces the arguments, unless empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The declared environment, that of files too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Whether the plugin is to lock its memory.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mlock: bool,
    /// How the plugin and its host recognise each other.
    pub protocol: Protocol,
    /// How the connections of the plugin's broker are made, unless each server has a socket.
    #[serde(default, skip_serializing_if = "BrokerMode::is_default")]
    pub broker: BrokerMode,
    /// The OCI runtime.
    pub oci_runtime: String,
    /// The network mode, unless `bridge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Where the directory shared with the plugin is, unless in our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_directory: Option<PathBuf>,
    /// Whether the user in the container of a rootless engine is not root.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rootless: bool,
    /// CPU in billionths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// The cgroup in which that of the container is made, unless the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// What it may do on the machine, unless it is the default.
    #[serde(default, skip_serializing_if = "SecurityRecipe::is_default")]
    pub security: SecurityRecipe,
    /// Log rotation, unless it is the default one.
    #[serde(default, skip_serializing_if = "LogRecipe::is_default")]
    pub log: LogRecipe,
}

/// The rotation of a container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRecipe {
    /// Bytes of one file.
    pub max_size_bytes: u64,
    /// Files kept.
    pub max_files: u32,
}

/// Tells whether a container was made from a recipe. A keyed hash: a label shows it to everybody, and must
/// not let anyone try out secrets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecHash(String);

/// The key of [`SpecHash`]es, from the state directory.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
pub struct HashKey([u8; 32]);

/// OCI runtimes whose containers are processes of this machine's kernel, by the names that engines give them.
const ON_THE_MACHINES_KERNEL: [&str; 3] = ["runc", "crun", "io.containerd.runc.v2"];

/// The way of hashing. A container with a hash of another version is never replaced for it.
const HASH_VERSION: &str = "v1";

// === impl Recipe ===

impl Recipe {
    /// What the records, and the files that they name, want.
    pub fn of(instance: &PluginInstanceSpec, runtime: &PluginRuntimeSpec, files: &Files) -> Self {
        Self {
            container: ContainerRecipe::of(instance, runtime, files),
            start_timeout: instance.start_timeout.get(),
            restart: RestartPolicy {
                initial: instance.restart.initial_backoff.get(),
                max: instance.restart.max_backoff.get(),
                reset_after: instance.restart.reset_after.get(),
            },
            pull_policy: instance.image.pull_policy,
            broker_is_open: instance.broker_multiplexing == BrokerMultiplexing::Auto,
            labels: plugin_labels(instance),
        }
    }

    /// The same for one session, with variables of its host besides, and as that has its broker's connections, unless the record says how the
    /// plugin has them. `None` where nothing is different. The variables win over declared ones: the record names them, and its host gives them.
    pub fn for_session(&self, variables: &BTreeMap<String, String>, multiplexed: bool) -> Option<Self> {
        let mut recipe = self.clone();
        recipe.container.env.extend(variables.clone());
        if multiplexed && self.broker_is_open {
            recipe.container.broker = BrokerMode::PreferShared;
        }
        (recipe != *self).then_some(recipe)
    }
}

// === impl RestartPolicy ===

impl RestartPolicy {
    /// The delay before the start that follows `failures` failures in a row (at least 1), with the jitter
    /// that `random` gives.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        // Validation has refused what is no backoff; a stored recipe of another version may still hold it.
        Backoff::new(self.initial, self.max)
            .map_or(self.max, |backoff| backoff.delay(failures.saturating_sub(1), random))
    }
}

// === impl ContainerRecipe ===

impl ContainerRecipe {
    fn of(instance: &PluginInstanceSpec, runtime: &PluginRuntimeSpec, files: &Files) -> Self {
        let resources = &runtime.resources;
        let declared = instance.env.iter().map(|(name, value)| (name.to_string(), value.as_str().to_owned()));
        Self {
            image: instance.image_reference(),
            image_id: instance.image.sha256.as_ref().map(ToString::to_string),
            command: instance.command.clone(),
            args: instance.args.clone(),
            // What the record says wins over what files say.
            env: files.environment.clone().into_iter().chain(declared).collect(),
            mlock: instance.mlock,
            protocol: Protocol::of(instance),
            broker: BrokerMode::of(instance, runtime),
            oci_runtime: runtime.oci_runtime.to_string(),
            network: Some(runtime.network.to_string()).filter(|network| network != "bridge"),
            socket_directory: runtime
                .engine
                .socket_directory
                .as_ref()
                .map(|directory| directory.as_path().to_owned()),
            rootless: runtime.rootless,
            nano_cpus: resources.cpu.and_then(Quantity::nanos).and_then(whole),
            memory_bytes: resources.memory.map(Quantity::value).and_then(whole),
            pids: resources.pids.map(|pids| u64::from(pids.get())),
            cgroup_parent: Some(runtime.cgroup_parent.to_string()).filter(|parent| !parent.is_empty()),
            security: SecurityRecipe::of(&runtime.security, files),
            log: LogRecipe {
                max_size_bytes: whole(runtime.log.max_size.value()).unwrap_or_default(),
                max_files: runtime.log.max_files.get(),
            },
        }
    }

    /// Whether an instance's own record says the same in both, whatever its runtime's says.
    pub fn is_of_same_instance(&self, other: &Self) -> bool {
        let Self {
            image,
            image_id,
            command,
            args,
            env,
            mlock,
            protocol,
            broker,
            oci_runtime,
            network: _,
            socket_directory: _,
            rootless: _,
            nano_cpus: _,
            memory_bytes: _,
            pids: _,
            cgroup_parent: _,
            security: _,
            log: _,
        } = self;
        let same_image = *image == other.image && *image_id == other.image_id;
        let same_process = *command == other.command && *args == other.args && *env == other.env;
        // What is chosen by the OCI runtime changes with that.
        let same_broker = *broker == other.broker || *oci_runtime != other.oci_runtime;
        let same_plugin = *protocol == other.protocol && *mlock == other.mlock;
        same_image && same_process && same_plugin && same_broker
    }

    /// Whether the plugin is to lock memory of this machine's kernel, for certain. Sandboxes with a kernel of their own grant that
    /// themselves.
    pub fn locks_memory_of_the_machine(&self) -> bool {
        self.mlock && ON_THE_MACHINES_KERNEL.contains(&self.oci_runtime.as_str())
    }

    /// The hash of this recipe.
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "both say why they cannot fail")]
    pub fn hash(&self, key: &HashKey) -> SpecHash {
        let text =
            serde_json::to_vec(self).expect("strings, numbers and maps with string keys are always JSON");
        let digest = key.authenticate(&text);
        let hex = u128::from_be_bytes(std::array::from_fn(|index| digest[index]));
        SpecHash(format!("{HASH_VERSION}-{hex:032x}"))
    }
}

impl fmt::Debug for ContainerRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerRecipe")
            .field("image", &self.image)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

// === impl LogRecipe ===

impl Default for LogRecipe {
    fn default() -> Self {
        Self { max_size_bytes: 10 << 20, max_files: 3 }
    }
}

impl LogRecipe {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

// === impl SpecHash ===

impl SpecHash {
    /// Takes a label's word for it.
    pub fn from_label(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, as it stands in the label.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a container with this hash is what `wanted` asks for. One that another version of the program
    /// hashed in a way that this one does not know counts as wanted: an upgrade alone replaces nothing.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let version = |hash: &Self| hash.0.split_once('-').map(|(version, _)| version.to_owned());
        self == wanted || version(self) != version(wanted)
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl HashKey ===

impl HashKey {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key for another purpose, from which this one does not follow.
    pub fn derive(&self, purpose: &str) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.authenticate(purpose.as_bytes()))
    }

    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    fn authenticate(&self, text: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

fn plugin_labels(spec: &PluginInstanceSpec) -> Vec<(String, String)> {
    vec![
        (label::PLUGIN_NAME.to_owned(), spec.plugin.name.to_string()),
        (label::PLUGIN_TYPE.to_owned(), spec.plugin.plugin_type.as_str().to_owned()),
        (label::PLUGIN_VERSION.to_owned(), spec.plugin.version.to_string()),
    ]
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Validation has refused negative amounts: they count as none here.
fn whole(amount: i64) -> Option<u64> {
    amount.try_into().ok()
}

#[cfg(test)]
mod tests;
