//! The specification of a `PluginRuntime`: how containers are run.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Quantity,
    field::AbsolutePath,
    text::{Invalid, Text, text_type},
};

text_type! {
    /// The address of an engine: `unix:///path/to/docker.sock` or `tcp://host:port`.
    EngineHost
}

text_type! {
    /// The name by which an engine knows an OCI runtime: `runsc`, `runc`, `crun`, `io.containerd.runsc.v1`.
    OciRuntime
}

text_type! {
    /// A network of the engine: `bridge`, `none`, `host`, or the name of one that was made there.
    Network
}

text_type! {
    /// What system calls a container may make: `default`, `unconfined`, or the absolute path of a profile.
    SeccompProfile
}

text_type! {
    /// The cgroup that the cgroups of containers are made in; empty: the engine's own.
    CgroupParent
}

// The `Default` of this type is the built-in runtime `default`.
/// How the containers of plugins are run: on which engine, by which OCI runtime, within which limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct PluginRuntimeSpec {
    /// What kind of runtime this is. `container` is the only one.
    #[serde(rename = "type")]
    pub runtime_type: RuntimeType,

    /// The OCI runtime, by the name that the engine knows it by. `docker info` lists them.
    pub oci_runtime: OciRuntime,

    /// The Docker Engine to use.
    pub engine: Engine,

    /// Whether the engine is rootless and the user in its containers is not root. Then containers get the capability
    /// `DAC_OVERRIDE`, and the directory of their sockets a default ACL for the user of plugward, for which its file
    /// system must have POSIX ACLs. Programs need no file capability for it: they share a group with plugward.
    pub rootless: bool,

    /// The cgroup that the cgroups of containers are made in. Empty: the engine's own. An engine with the systemd
    /// cgroup driver wants a slice, like `plugins.slice`; one with the cgroupfs driver a path.
    pub cgroup_parent: CgroupParent,

    /// The most that one container may use. What is not given has no limit.
    pub resources: Resources,

    /// The network of the containers: `bridge`, `none`, `host`, or the name of a network of the engine.
    pub network: Network,

    /// What a container may do on the machine.
    pub security: Security,

    /// The log that the engine keeps of each container.
    pub log: LogOptions,
}

/// The kind of a runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RuntimeType {
    /// Plugins run in containers of a Docker Engine.
    #[default]
    Container,
}

/// Which Docker Engine a runtime uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Engine {
    /// The address of the engine: `unix:///path/to/docker.sock` or `tcp://host:port`. Default: `DOCKER_HOST`, else
    /// the current docker context, else the default socket. Plugins and plugward meet on Unix sockets, so the engine
    /// must run on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<EngineHost>,

    /// The directory for the sockets of plugins, an absolute path that the engine sees too, short enough for the path
    /// of a socket. It must exist, and belong to the user of plugward or to root; of a rootless engine, to the engine's
    /// user, and lie under that user's runtime directory: such an engine sees nothing that is made in /run later.
    /// Default: in the run directory of plugward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_directory: Option<AbsolutePath>,
}

/// The most that one container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Resources {
    /// Processor time, in CPUs: `500m` is half of one. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["500m"]))]
    pub cpu: Option<Quantity>,

    /// Memory, in bytes: `256Mi`. A container that needs more is killed. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["256Mi"]))]
    pub memory: Option<Quantity>,

    /// The number of processes and threads. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [200]))]
    pub pids: Option<NonZeroU32>,
}

/// What a container may do on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Security {
    /// Whether the file system of the image is mounted read-only.
    pub read_only_root_filesystem: bool,

    /// Whether processes are kept from gaining privileges that their parent did not have, as by setuid programs. They
    /// are not, and the condition `NoNewPrivileges` says so, where a plugin is to lock its memory (`mlock`) and its
    /// image's user is not root: it can only gain that capability from its program's file.
    pub no_new_privileges: bool,

    /// The system calls that are allowed: `default` (the engine's own profile), `unconfined` (all), or the absolute
    /// path of a profile, a JSON file as Docker reads it.
    pub seccomp_profile: SeccompProfile,
}

/// The log that the engine keeps of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct LogOptions {
    /// The size, in bytes, at which a log file is rotated.
    #[schemars(extend("examples" = ["10Mi"]))]
    pub max_size: Quantity,

    /// How many files are kept, the current one included.
    pub max_files: NonZeroU32,
}

// === impl Security ===

impl Default for Security {
    fn default() -> Self {
        Self {
            read_only_root_filesystem: false,
            no_new_privileges: true,
            seccomp_profile: SeccompProfile::default(),
        }
    }
}

// === impl LogOptions ===

impl Default for LogOptions {
    fn default() -> Self {
        Self { max_size: Quantity::bytes(10 << 20), max_files: NonZeroU32::MIN.saturating_add(2) }
    }
}

// === impl EngineHost ===

impl Text for EngineHost {
    const FORMAT: &'static str = "engine-host";
    const PATTERN: &'static str = r"^(unix:///[^\x00]+|tcp://[^/\x00]+:[0-9]{1,5}/?)$";
    const MAX_LENGTH: usize = 1024;
    const EXAMPLE: &'static str = "unix:///run/user/1000/docker.sock";

    fn check(text: &str) -> Result<(), Invalid> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let invalid = Invalid::new(format!("{text:?} is not the address of an engine"));
            return Err(if text.starts_with('/') {
                invalid.help(format!("a socket is written unix://{text}"))
            } else {
                invalid.help("write unix:///path/to/docker.sock or tcp://host:port")
            });
        };
        match scheme {
            "unix" if rest.starts_with('/') && rest.len() > 1 && !rest.contains('\0') => Ok(()),
            "unix" => Err(Invalid::new(format!("{text:?} does not name a socket by its absolute path"))
                .help("three slashes: unix:///path/to/docker.sock")),
            "tcp" => {
                let authority = rest.strip_suffix('/').unwrap_or(rest);
                let port = authority.rsplit_once(':').filter(|(host, _)| !host.is_empty());
                let numeric =
                    |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
                if !authority.contains(['/', '\0']) && port.is_some_and(|(_, port)| numeric(port)) {
                    return Ok(());
                }
                Err(Invalid::new(format!("{text:?} does not name a host and a port"))
                    .help("write tcp://host:port; plain TCP is port 2375, TLS is port 2376"))
            }
            "ssh" => Err(Invalid::new("an engine cannot be reached through ssh")
                .help("plugins are reached through Unix sockets: run plugward on the machine of the engine")),
            "http" | "https" => Err(Invalid::new(format!("the scheme {scheme:?} is not one of an engine"))
                .help(format!("write tcp://{rest}"))),
            _ => Err(Invalid::new(format!("the scheme {scheme:?} is not one of an engine"))
                .help("write unix:///path/to/docker.sock or tcp://host:port")),
        }
    }
}

// === impl OciRuntime ===

impl Default for OciRuntime {
    fn default() -> Self {
        Self("runsc".into())
    }
}

impl Text for OciRuntime {
    const FORMAT: &'static str = "oci-runtime";
    const PATTERN: &'static str = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$";
    const MAX_LENGTH: usize = 128;
    const EXAMPLE: &'static str = "runsc";

    fn check(text: &str) -> Result<(), Invalid> {
        if is_engine_name(text) {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not the name of an OCI runtime"))
            .help("docker info lists the names that the engine knows"))
    }
}

// === impl Network ===

impl Default for Network {
    fn default() -> Self {
        Self("bridge".into())
    }
}

impl Text for Network {
    const FORMAT: &'static str = "network";
    const PATTERN: &'static str = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$";
    const MAX_LENGTH: usize = 128;
    const EXAMPLE: &'static str = "bridge";

    fn check(text: &str) -> Result<(), Invalid> {
        if is_engine_name(text) {
            return Ok(());
        }
        let invalid = Invalid::new(format!("{text:?} is not the name of a network"));
        Err(if text.starts_with("container:") {
            invalid.help("a plugin cannot share the network of another container; use bridge, none, host or a network's name")
        } else {
            invalid.help("use bridge, none, host or a network's name; docker network ls lists them")
        })
    }
}

/// The names that an engine gives: networks, OCI runtimes.
fn is_engine_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

// === impl SeccompProfile ===

impl Default for SeccompProfile {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Text for SeccompProfile {
    const FORMAT: &'static str = "seccomp-profile";
    const PATTERN: &'static str = r"^(default|unconfined|/[^\x00]*)$";
    const MAX_LENGTH: usize = 4095;
    const EXAMPLE: &'static str = "default";

    fn check(text: &str) -> Result<(), Invalid> {
        if matches!(text, "default" | "unconfined") || AbsolutePath::check(text).is_ok() {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not a seccomp profile"))
            .help("write default, unconfined or the absolute path of a profile"))
    }
}

// === impl CgroupParent ===

impl Default for CgroupParent {
    fn default() -> Self {
        Self("".into())
    }
}

impl Text for CgroupParent {
    const FORMAT: &'static str = "cgroup-parent";
    const PATTERN: &'static str = r"^/?([A-Za-z0-9_.:@-]+(/[A-Za-z0-9_.:@-]+)*)?$";
    const MAX_LENGTH: usize = 1024;
    const EXAMPLE: &'static str = "plugins.slice";

    fn check(text: &str) -> Result<(), Invalid> {
        let path = text.strip_prefix('/').unwrap_or(text);
        let valid = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.:@-".contains(c))
        };
        if path.split('/').any(|part| part == "..") {
            return Err(
                Invalid::new(format!("{text:?} leaves its parent")).help("name the cgroup without '..'")
            );
        }
        if path.is_empty() || path.split('/').all(valid) {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not the name of a cgroup"))
            .help("write a slice like plugins.slice, or a path like /plugins"))
    }
}
