//! What commands that talk to a controller have in common.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use plugward_api::{Kind, Name};
use serde_json::Value;

use super::Failed;
use crate::control::client;
use crate::directories::{RunDirectory, Surroundings};
use crate::names::ClusterId;

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Where the controller makes its sockets [default: /run/plugward, or plugward in $XDG_RUNTIME_DIR for users]
    #[arg(long, value_name = "DIR", env = "PLUGWARD_RUN_DIR")]
    run_dir: Option<PathBuf>,

    /// Which controller is meant, where several run.
    #[arg(long, value_name = "ID", env = "PLUGWARD_CLUSTER_ID")]
    cluster_id: Option<ClusterId>,
}

/// A controller that is running.
pub(super) struct Controller {
    socket: PathBuf,
    mounts: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Which {
    /// Finds the controller.
    pub(super) fn controller(&self) -> Result<Controller, Failed> {
        let directory =
            self.run_dir.clone().map_or_else(|| Surroundings::of_process().run_directory(), Ok)?;
        let found = RunDirectory::find(&directory, self.cluster_id.as_ref())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // A host may be started elsewhere.
        let mounts = std::path::absolute(found.mounts())?;
        Ok(Controller { socket: found.control_socket(), mounts, runtime })
    }
}

impl Controller {
    /// The control socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What conversations with it are driven by.
    pub(super) fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// Where the sockets of mounts are.
    pub(super) fn mounts(&self) -> &Path {
        &self.mounts
    }

    /// All records of a kind.
    pub(super) fn list(&self, kind: Kind) -> Result<Vec<Value>, Failed> {
        Ok(items(self.ask(&format!("/v1/{}", plural(kind)))?))
    }

    /// All records of a kind, if the controller is quick to tell.
    pub(super) fn list_within(&self, kind: Kind, limit: Duration) -> Result<Vec<Value>, Failed> {
        let path = format!("/v1/{}", plural(kind));
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(limit, client::get(&self.socket, &path)).await });
        Ok(items(answer??))
    }

    /// One record.
    pub(super) fn get(&self, kind: Kind, name: &Name) -> Result<Value, Failed> {
        self.ask(&format!("/v1/{}/{name}", plural(kind)))
    }

    /// Hands on the lines of an answer until `each` breaks.
    pub(super) fn lines(&self, path: &str, each: impl FnMut(Value) -> ControlFlow<()>) -> Result<(), Failed> {
        Ok(self.runtime.block_on(client::lines(&self.socket, path, each))?)
    }

    /// The cluster id of the controller.
    pub(super) fn cluster(&self) -> String {
        let directory = self.socket.parent().and_then(Path::file_name);
        directory.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// How the controller and its engines stand.
    pub(super) fn itself(&self) -> Result<Value, Failed> {
        self.ask("/v1/controller")
    }

    /// How the manifests stand.
    pub(super) fn manifests(&self) -> Result<Value, Failed> {
        self.ask("/v1/manifests")
    }

    fn ask(&self, path: &str) -> Result<Value, Failed> {
        Ok(self.runtime.block_on(client::get(&self.socket, path))?)
    }
}

fn items(mut list: Value) -> Vec<Value> {
    list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default()
}

/// The path of what tells of the records of a kind, or of one of them, as they change.
pub(super) fn watch_path(kind: Kind, name: Option<&Name>) -> String {
    let name = name.map(|name| format!("/{name}")).unwrap_or_default();
    format!("/v1/{}{name}?watch=true", plural(kind))
}

const fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::PluginInstance => "instances",
        Kind::PluginRuntime => "runtimes",
    }
}
