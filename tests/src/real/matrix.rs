//! The matrix: what becomes of a plugin for each user of its container, each OCI runtime, and with its memory locked or not.

use std::fmt;
use std::fs;

use serde_json::json;

use super::engine::TestEngine;
use super::golang::target;
use super::manifest::{GO_COUNTER, GO_COUNTER_MLOCK, GO_COUNTER_NONROOT, Manifest, go_counter_of, runtime};
use super::rootless::UserDirectory;

/// As whom a plugin runs in its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerUser {
    /// As its root.
    Root,
    /// As somebody else.
    NonRoot,
}

/// One case on one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixRow {
    /// What it and its records are called. Short, as the paths of sockets have to be.
    pub name: String,
    /// The OCI runtime.
    pub oci_runtime: &'static str,
    /// As whom the plugin runs.
    pub user: ContainerUser,
    /// Whether the plugin locks its memory.
    pub mlock: bool,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatrixOutcome {
    /// The plugin was called, called back, was killed and came back.
    Works {
        /// By what means.
        how: Vec<&'static str>,
    },
    /// The controller started no container.
    Refused {
        /// The condition's reason.
        reason: String,
        /// Its message.
        message: String,
    },
    /// What happened instead.
    Failed(String),
}

/// The OCI runtimes of the matrix. Not all engines have all.
const OCI_RUNTIMES: [&str; 3] = ["runc", "crun", "runsc"];

// === impl MatrixRow ===

impl MatrixRow {
    /// The images of all of them.
    pub const IMAGES: [&str; 3] = [GO_COUNTER, GO_COUNTER_NONROOT, GO_COUNTER_MLOCK];

    /// The cases that an engine can be tried with.
    pub async fn all(engine: &TestEngine) -> Vec<Self> {
        let known = engine.oci_runtimes().await;
        let mut rows = Vec::new();
        for oci_runtime in OCI_RUNTIMES.into_iter().filter(|name| known.iter().any(|known| known == name)) {
            for (user, letter) in [(ContainerUser::Root, "r"), (ContainerUser::NonRoot, "n")] {
                for mlock in [false, true] {
                    let name = format!("{oci_runtime}-{letter}{}", if mlock { "m" } else { "" });
                    rows.push(Self { name, oci_runtime, user, mlock });
                }
            }
        }
        rows
    }

    /// Whether it is one that runs on this machine's kernel.
    pub fn is_on_the_machines_kernel(&self) -> bool {
        self.oci_runtime != "runsc"
    }

    /// The image of the plugin for it.
    pub fn image(&self) -> &'static str {
        match (self.user, self.mlock) {
            (ContainerUser::Root, _) => GO_COUNTER,
            (ContainerUser::NonRoot, false) => GO_COUNTER_NONROOT,
            (ContainerUser::NonRoot, true) => GO_COUNTER_MLOCK,
        }
    }

    /// The records of it. Those of a rootless engine have their sockets in the directory.
    pub fn records(&self, engine: &TestEngine, sockets: Option<&UserDirectory>) -> [Manifest; 2] {
        let mut runtime = runtime(&engine.host).on(self.oci_runtime).with("/metadata/name", json!(self.name));
        if let Some(sockets) = sockets {
            runtime = runtime
                .with("/spec/engine/socketDirectory", json!(sockets.path()))
                .with("/spec/rootless", json!(self.user == ContainerUser::NonRoot));
        }
        let mut plugin = go_counter_of(&self.name, self.image()).with("/spec/runtime", json!(self.name));
        if self.mlock {
            plugin = plugin.with("/spec/mlock", json!(true)).with("/spec/env/MLOCK", json!("true"));
        }
        if !self.is_on_the_machines_kernel() {
            // In such a sandbox the plugin can make sockets, and cannot connect to ours.
            plugin = plugin.with("/spec/brokerMultiplexing", json!("Enabled"));
        }
        [runtime, plugin]
    }
}

impl fmt::Display for MatrixRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = match self.user {
            ContainerUser::Root => "root",
            ContainerUser::NonRoot => "non-root",
        };
        write!(f, "{}\t{user}\t{}", self.oci_runtime, if self.mlock { "on" } else { "off" })
    }
}

impl fmt::Display for MatrixOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works { how } => write!(f, "works\t{}", how.join(", ")),
            Self::Refused { reason, message } => write!(f, "refused\t{reason}: {message}"),
            Self::Failed(what) => write!(f, "failed\t{}", what.replace(['\t', '\n'], " ")),
        }
    }
}

/// Writes what became of the cases on an engine to `matrix/ENGINE.tsv` in cargo's target directory, a line for each: OCI runtime, user,
/// whether memory is locked, outcome, and how or why. `hack/matrix` makes a table of these files.
///
/// # Panics
/// When it cannot be written.
pub fn write_matrix(engine: &TestEngine, outcomes: &[(MatrixRow, MatrixOutcome)]) {
    let directory = target().join("matrix");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(format!("{}.tsv", engine.name));
    let lines: Vec<String> = outcomes.iter().map(|(row, outcome)| format!("{row}\t{outcome}")).collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
}
