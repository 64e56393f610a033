//! What commands that talk to a controller have in common.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use plugward_api::{Kind, Name, RecordKey};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failed;
use super::resource::Resource;
use crate::control::client::{self, ClientError};
use crate::control::renewal::Answer;
use crate::control::review::{Review, Whereabouts};
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
    run: PathBuf,
    socket: PathBuf,
    mounts: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Which {
    /// The cluster that was named, as it has to be where several are.
    pub(super) fn cluster(&self) -> Option<&str> {
        self.cluster_id.as_ref().map(ClusterId::as_str)
    }

    /// Finds the controller.
    pub(super) fn controller(&self) -> Result<Controller, Failed> {
        let directory =
            self.run_dir.clone().map_or_else(|| Surroundings::of_process().run_directory(), Ok)?;
        let found = RunDirectory::find(&directory, self.cluster_id.as_ref())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // A host may be started elsewhere.
        let mounts = std::path::absolute(found.mounts())?;
        Ok(Controller {
            run: std::path::absolute(directory)?,
            socket: found.control_socket(),
            mounts,
            runtime,
        })
    }
}

impl Controller {
    /// The run directory, in which that of the cluster is.
    pub(super) fn run_directory(&self) -> &Path {
        &self.run
    }

    /// The control socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where the sockets of mounts are.
    pub(super) fn mounts(&self) -> &Path {
        &self.mounts
    }

    /// All of a resource: the records of a kind, or sessions.
    pub(super) fn list(&self, resource: impl Into<Resource>) -> Result<Vec<Value>, Failed> {
        Ok(items(self.ask(&format!("/v1/{}", resource.into().path()))?))
    }

    /// The same, if the controller is quick to tell.
    pub(super) fn list_within(
        &self,
        resource: impl Into<Resource>,
        limit: Duration,
    ) -> Result<Vec<Value>, Failed> {
        let path = format!("/v1/{}", resource.into().path());
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(limit, client::get(&self.socket, &path)).await });
        Ok(items(answer??))
    }

    /// One of a resource.
    pub(super) fn get(&self, resource: impl Into<Resource>, name: &Name) -> Result<Value, Failed> {
        self.ask(&format!("/v1/{}/{name}", resource.into().path()))
    }

    /// Hands on the lines of an answer until `each` breaks.
    pub(super) fn lines(&self, path: &str, each: impl FnMut(Value) -> ControlFlow<()>) -> Result<(), Failed> {
        Ok(self.run(client::lines(&self.socket, path, each))?)
    }

    /// One record as the controller tells it within a moment; nothing where there is none.
    pub(super) async fn look(&self, kind: Kind, name: &Name) -> Result<Option<Value>, ClientError> {
        match client::get(&self.socket, &format!("/v1/{}/{name}", Resource::from(kind).path())).await {
            Ok(object) => Ok(Some(object)),
            Err(ClientError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the controller makes of a manifest that is to be put.
    pub(super) fn review(&self, text: &str) -> Result<Review, Failed> {
        self.post("/v1/manifests", text)
    }

    /// Where a record is declared.
    ///
    /// # Errors
    /// When it is not, in the controller's words.
    pub(super) fn whereabouts(&self, key: &RecordKey) -> Result<Whereabouts, Failed> {
        let found = self.ask(&format!("/v1/manifests/{}/{}", Resource::from(key.kind).path(), key.name))?;
        Ok(serde_json::from_value(found).map_err(ClientError::Json)?)
    }

    /// Asks for new containers of an instance; `proof` is the name of the file that was made for that.
    pub(super) fn renew(&self, instance: &Name, proof: Option<&str>) -> Result<Answer, Failed> {
        let proof = proof.map(|proof| format!("?proof={proof}")).unwrap_or_default();
        self.post(&format!("/v1/instances/{instance}/restart{proof}"), "")
    }

    /// Runs what talks to the controller.
    pub(super) fn run<F: Future>(&self, talk: F) -> F::Output {
        self.runtime.block_on(talk)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &str) -> Result<T, Failed> {
        let answer = self.run(client::post(&self.socket, path, body.as_bytes().to_vec()))?;
        Ok(serde_json::from_value(answer).map_err(ClientError::Json)?)
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
        Ok(self.run(client::get(&self.socket, path))?)
    }
}

fn items(mut list: Value) -> Vec<Value> {
    list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default()
}

/// The path of what tells of a resource, or of one of it, as it changes.
pub(super) fn watch_path(resource: impl Into<Resource>, name: Option<&Name>) -> String {
    let name = name.map(|name| format!("/{name}")).unwrap_or_default();
    format!("/v1/{}{name}?watch=true", resource.into().path())
}
