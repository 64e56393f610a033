//! The specification of a `PluginInstance`: one plugin with the mounts it serves.

use std::{collections::BTreeMap, num::NonZeroU32};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{Duration, Name, Quantity, Redacted, field::AbsolutePath, image::Image, meta::map_of};

mod names;

pub use crate::field::EnvName;
pub use names::{Account, MethodPath, PluginName, PluginVersion};

/// One plugin and the mounts it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct PluginInstanceSpec {
    /// The plugin.
    pub plugin: Plugin,

    /// The image that its containers are made from.
    pub image: Image,

    /// The name of the `PluginRuntime` that says how its containers are run. Without a record of that name, `default`
    /// is a built-in one: `runsc` on the default engine, without limits.
    #[serde(default = "default_runtime")]
    #[schemars(extend("examples" = ["gvisor"]))]
    pub runtime: Name,

    /// The command to run in the container, in place of the entrypoint of the image. Default: the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,

    /// The arguments of the command. Default: the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,

    /// Environment variables of the plugin. They win over those of `envFrom`. Values are shown by `get -o yaml`: put
    /// secrets into a file of `envFrom`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "environment")]
    pub env: BTreeMap<EnvName, Redacted>,

    /// Files with environment variables, one `NAME=value` per line, a later file winning over an earlier one. What
    /// is in them is never shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFrom>,

    /// Whether the plugin locks its memory, so that secrets are not swapped to disk. Adds the capability `IPC_LOCK`
    /// and tells the plugin. Where the image's user is not root, the program's file must have that capability
    /// (`setcap cap_ipc_lock=+ep`). A rootless engine with a limit on locked memory is refused, unless gVisor runs the
    /// plugin; gVisor keeps nothing from being swapped.
    #[serde(default)]
    pub mlock: bool,

    /// How the plugin and its host recognise each other. Required for type `custom`; the other types know theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,

    /// The time that a container has from its start to its first healthy answer.
    #[serde(default = "default_start_timeout")]
    pub start_timeout: Duration,

    /// The mounts that the plugin serves. Each has a socket of its own for its host. At least one, unless `attach` is
    /// enabled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,

    /// Whether one container serves all mounts.
    #[serde(default)]
    pub multiplexing: Multiplexing,

    /// When containers are started and stopped.
    #[serde(default)]
    pub activation: Activation,

    /// The number of warm spare containers: started and healthy, and serving nothing yet.
    #[serde(default)]
    pub standby: u32,

    /// How containers are replaced when the record changes.
    #[serde(default)]
    pub update: Update,

    /// How long to wait before a container that failed is started again.
    #[serde(default)]
    pub restart: Restart,

    /// How the health of the plugin is watched.
    #[serde(default)]
    pub probe: Probe,

    /// What is done with requests while no container is ready.
    #[serde(default)]
    pub hold: Hold,

    /// The calls by which a host makes the plugin usable. The last successful one of each is kept, and made again
    /// after a restart. Only for type `custom`; the other types know theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priming: Vec<Priming>,

    /// Whether the plugin's own connections to its host (go-plugin's broker) share one connection with its host's.
    #[serde(default)]
    pub broker_multiplexing: BrokerMultiplexing,

    /// Hosts that start their plugins themselves, through the launcher `plugward-attach`.
    #[serde(default)]
    pub attach: Attach,
}

/// Which plugin this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Plugin {
    /// The type of the plugin: the interface between it and its host.
    #[serde(rename = "type")]
    pub plugin_type: PluginType,

    /// The name of the plugin, as its host knows it.
    pub name: PluginName,

    /// The version of the plugin, as its host knows it: `v0.5.0`.
    pub version: PluginVersion,
}

/// The interface between a plugin and its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PluginType {
    /// An auth method of Vault or OpenBao.
    Auth,
    /// A secrets engine of Vault or OpenBao.
    Secret,
    /// A database plugin of Vault or OpenBao.
    Database,
    /// Any other go-plugin plugin that speaks gRPC.
    Custom,
}

/// A file with environment variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct EnvFrom {
    /// The absolute path of the file.
    pub file: AbsolutePath,
}

/// How a custom plugin and its host recognise each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Handshake {
    /// The environment variable by which the plugin knows that a host started it: `MagicCookieKey`.
    #[schemars(extend("examples" = ["BASIC_PLUGIN"]))]
    pub cookie_key: EnvName,

    /// The value it must have: `MagicCookieValue`.
    #[schemars(length(min = 1), extend("examples" = ["hello"]))]
    pub cookie_value: Redacted,

    /// The versions of the application protocol to offer; the plugin takes the greatest that it knows.
    #[schemars(length(min = 1), extend("uniqueItems" = true), extend("examples" = [[1]]))]
    pub protocol_versions: Vec<u32>,
}

/// A named use of the plugin by a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Mount {
    /// The name of the mount, unique among the mounts of the instance.
    #[schemars(extend("examples" = ["orders"]))]
    pub name: Name,
}

/// Whether one container serves all mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Multiplexing {
    /// It does when the plugin says that it can.
    #[default]
    Auto,
    /// Each mount and each session has a container of its own.
    Disabled,
}

/// When containers are started and stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Activation {
    /// What starts a container.
    pub mode: ActivationMode,

    /// With mode `OnDemand`: the time without requests after which a container is stopped.
    pub idle_timeout: Duration,
}

/// What starts a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ActivationMode {
    /// Containers always run.
    #[default]
    Eager,
    /// The first request starts a container; it is stopped when idle.
    OnDemand,
}

/// How containers are replaced when the record changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Update {
    /// In which order the old container goes and the new one comes.
    pub strategy: UpdateStrategy,

    /// The time that running requests have to end before the old container is stopped. Zero: none.
    pub drain_timeout: Duration,
}

/// In which order the old container goes and the new one comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum UpdateStrategy {
    /// The new container is ready before the old one is stopped.
    #[default]
    Surge,
    /// The old container is stopped, then the new one is started.
    Recreate,
}

/// How long to wait before a container that failed is started again: exponentially longer, with jitter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Restart {
    /// The wait after the first failure.
    pub initial_backoff: Duration,

    /// The longest wait.
    pub max_backoff: Duration,

    /// The time that a container must stay ready for its failures to be forgotten.
    pub reset_after: Duration,
}

/// How the health of a plugin is watched, by gRPC's health service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Probe {
    /// The time between two probes.
    pub period: Duration,

    /// The time that an answer may take.
    pub timeout: Duration,

    /// How many probes in a row must fail for the container to be replaced.
    pub failure_threshold: NonZeroU32,
}

/// What is done with requests while no container is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Hold {
    /// The longest that a request waits. Zero: it fails at once.
    pub timeout: Duration,

    /// How many requests may wait.
    pub max_requests: NonZeroU32,

    /// How many bytes of a request are kept while it waits.
    pub max_bytes: Quantity,
}

/// A call by which a host makes a plugin usable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Priming {
    /// The method: `/package.Service/Method`.
    pub method: MethodPath,

    /// The method by which a host undoes it. After that nothing is told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<MethodPath>,
}

/// Whether the connections of go-plugin's broker share the plugin's one connection, instead of each having a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum BrokerMultiplexing {
    /// For plugins of type `secret` and `auth` that can (go-plugin 1.6) on the OCI runtime `runsc`, which then needs just
    /// `--host-uds=create`; not for others.
    #[default]
    Auto,
    /// Always: a plugin that cannot is refused. Hosts cannot dial what such a plugin offers them, and no controller can adopt it:
    /// it ends with its one connection.
    Enabled,
    /// Never: on gVisor, a plugin that uses its broker needs `--host-uds=all`.
    Disabled,
}

/// Hosts that start their plugins themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Attach {
    /// Whether hosts may attach.
    pub enabled: bool,

    /// The users who may, by name or number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub users: Vec<Account>,

    /// The groups whose members may, by name or number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub groups: Vec<Account>,

    /// How many sessions there may be at a time.
    pub max_sessions: NonZeroU32,

    /// Environment variables that are passed from the host to the plugin. Only with a container per session:
    /// `multiplexing: Disabled` and `standby: 0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub pass_env: Vec<EnvName>,
}

/// The runtime of instances that name no other.
pub const DEFAULT_RUNTIME: &str = "default";

#[expect(clippy::expect_used, reason = "a constant that a test parses")]
pub(crate) fn default_runtime() -> Name {
    DEFAULT_RUNTIME.parse().expect("a valid name")
}

fn default_start_timeout() -> Duration {
    Duration::from_secs(60)
}

fn environment(generator: &mut SchemaGenerator) -> Schema {
    map_of::<EnvName>(&Redacted::json_schema(generator))
}

/// A small number that is not zero.
const fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number - 1)
}

// === impl PluginInstanceSpec ===

impl PluginInstanceSpec {
    /// A specification with nothing but what is required; everything else has its default.
    pub fn new(plugin: Plugin, image: Image) -> Self {
        Self {
            plugin,
            image,
            runtime: default_runtime(),
            command: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            env_from: Vec::new(),
            mlock: false,
            handshake: None,
            start_timeout: default_start_timeout(),
            mounts: Vec::new(),
            multiplexing: Multiplexing::default(),
            activation: Activation::default(),
            standby: 0,
            update: Update::default(),
            restart: Restart::default(),
            probe: Probe::default(),
            hold: Hold::default(),
            priming: Vec::new(),
            broker_multiplexing: BrokerMultiplexing::default(),
            attach: Attach::default(),
        }
    }

    /// The name that the image has on the engine: `REPOSITORY:TAG`.
    pub fn image_reference(&self) -> String {
        format!("{}:{}", self.image.repository, self.image.tag_for(&self.plugin.version))
    }
}

// === impl PluginType ===

impl PluginType {
    /// As it is written in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Secret => "secret",
            Self::Database => "database",
            Self::Custom => "custom",
        }
    }
}

impl std::fmt::Display for PluginType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl Activation ===

impl Default for Activation {
    fn default() -> Self {
        Self { mode: ActivationMode::Eager, idle_timeout: Duration::from_secs(15 * 60) }
    }
}

// === impl Update ===

impl Default for Update {
    fn default() -> Self {
        Self { strategy: UpdateStrategy::Surge, drain_timeout: Duration::from_secs(30) }
    }
}

// === impl Restart ===

impl Default for Restart {
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5 * 60),
            reset_after: Duration::from_secs(10 * 60),
        }
    }
}

// === impl Probe ===

impl Default for Probe {
    fn default() -> Self {
        Self { period: Duration::from_secs(10), timeout: Duration::from_secs(1), failure_threshold: count(3) }
    }
}

// === impl Hold ===

impl Default for Hold {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            max_requests: count(1024),
            max_bytes: Quantity::bytes(1 << 20),
        }
    }
}

// === impl Attach ===

impl Default for Attach {
    fn default() -> Self {
        Self {
            enabled: false,
            users: Vec::new(),
            groups: Vec::new(),
            max_sessions: count(64),
            pass_env: Vec::new(),
        }
    }
}
