//! Containers as the port sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

/// The engine's ID of a container: 64 hexadecimal digits. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(Arc<str>);

/// How a container is made. Everything not named here is the engine's default.
///
/// `Debug` shows the names of environment variables, never their values.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// An image reference, or an image ID (`sha256:…`).
    pub image: String,
    /// Replaces the image's entrypoint; empty keeps it.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command; empty keeps it.
    pub args: Vec<String>,
    /// Environment variables. Names are unique.
    pub env: Vec<(String, String)>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The OCI runtime by the name that the engine knows.
    pub oci_runtime: String,
    /// `none`, `bridge`, `host` or a network's name.
    pub network: String,
    /// Limits.
    pub resources: Resources,
    /// Directories of the engine's machine to bind read-write.
    pub binds: Vec<Bind>,
    /// The rotation of the `json-file` log that every container gets, whatever the engine's default driver.
    pub log: LogRotation,
    /// Supplementary groups of the process, by number.
    pub groups: Vec<u32>,
    /// Linux capabilities to have. All others are dropped.
    pub capabilities: Vec<String>,
    /// What it may do on the machine.
    pub security: Security,
    /// Absolute paths in the container at which there is an empty file system in memory, writable for everybody as `/tmp` is.
    pub tmpfs: Vec<PathBuf>,
    /// The cgroup in which that of the container is made; `None` is the engine's own.
    pub cgroup_parent: Option<String>,
}

/// What a container may do on the machine. The default is what most should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// Whether the process and its children can gain no privileges (file capabilities, set-uid).
    pub no_new_privileges: bool,
    /// Whether the root file system is read-only.
    pub read_only_root: bool,
    /// What system calls it may make.
    pub seccomp: Seccomp,
}

/// What system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// What the engine's own profile allows.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// What this profile allows, JSON as Docker reads it.
    Profile(String),
}

/// Limits of a container; `None` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in billionths of a core.
    pub nano_cpus: Option<u64>,
    /// Memory in bytes, swap not included (there is none beside it).
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// A directory of the engine's machine in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the engine's machine. It must exist.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: PathBuf,
}

/// Bounds of a container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRotation {
    /// Bytes after which a new file begins.
    pub max_size_bytes: u64,
    /// Files kept, the current one included. At least 1.
    pub max_files: u32,
}

/// A container as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its ID.
    pub id: ContainerId,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it does.
    pub phase: Phase,
}

/// What a container does, without details. The names are the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the engine's own words")]
pub enum Phase {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

/// A container in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its ID.
    pub id: ContainerId,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The ID of the image it was made from.
    pub image_id: String,
    /// When it was created, by the engine's clock.
    pub created_at: Timestamp,
    /// What it does.
    pub state: ContainerState,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process lives (running, paused or about to be restarted).
    Running {
        /// When it started, by the engine's clock.
        started_at: Timestamp,
        /// The process, in the engine's machine's numbering.
        pid: u32,
        /// Whether it is frozen.
        paused: bool,
    },
    /// Being removed, by somebody.
    Removing,
    /// Its process ended, or never began (then `exit.error` says why).
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + n for a process that ended by signal n.
    pub code: i64,
    /// Whether the kernel killed it for its memory limit.
    pub oom_killed: bool,
    /// The engine's words for a start that failed, else empty.
    pub error: String,
    /// When it ended, by the engine's clock; for a first start that failed, when the container was created: engines
    /// note no other time.
    pub finished_at: Timestamp,
}

// === impl ContainerId ===

impl ContainerId {
    /// Takes the engine's word for it.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve characters, as `docker ps` shows them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

// === impl Security ===

impl Default for Security {
    fn default() -> Self {
        Self { no_new_privileges: true, read_only_root: false, seccomp: Seccomp::default() }
    }
}

// === impl ContainerSpec ===

impl fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ContainerSpec")
            .field("image", &self.image)
            .field("entrypoint", &self.entrypoint)
            .field("args", &self.args)
            .field("env", &names)
            .field("labels", &self.labels)
            .field("oci_runtime", &self.oci_runtime)
            .field("network", &self.network)
            .field("resources", &self.resources)
            .field("binds", &self.binds)
            .finish_non_exhaustive()
    }
}

// === impl Container ===

impl Container {
    /// The state without its details. As in a list, but for a container whose first start failed: a list shows it as
    /// created.
    pub const fn phase(&self) -> Phase {
        match &self.state {
            ContainerState::Created => Phase::Created,
            ContainerState::Running { paused: false, .. } => Phase::Running,
            ContainerState::Running { paused: true, .. } => Phase::Paused,
            ContainerState::Removing => Phase::Removing,
            ContainerState::Exited(_) => Phase::Exited,
        }
    }
}
