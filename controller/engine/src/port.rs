//! The port: every effect that plugward may have on a Docker Engine, and nothing else.
//!
//! Each call is one attempt. It never retries (that is the queue's work) and it never hangs: an
//! implementation bounds every call but the streams. What idempotent callers want to know comes
//! back as a value ([`Created`], [`Started`], …); an [`EngineError`] means that the wish was not
//! fulfilled, or that nobody knows whether it was ([`TimedOut`](crate::ErrorKind::TimedOut),
//! [`Unreachable`](crate::ErrorKind::Unreachable)).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::container::{Container, ContainerId, ContainerSpec, Listed};
use crate::error::EngineError;
use crate::event::Event;
use crate::file::File;
use crate::image::Image;
use crate::pull::Progress;
use crate::usage::Usage;

pub use crate::info::EngineInfo;
use crate::log::{LogChunk, LogQuery};

/// A connection to one Docker Engine.
///
/// Implementations are [`crate::docker::DockerEngine`] and [`crate::simulated::SimulatedEngine`]; both pass
/// the suite in [`crate::contract`].
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Who the engine is, what it can run, and what time it has.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// The image that a reference (`name:tag`, `name@sha256:…`, `sha256:…`) names, `None` when the engine
    /// does not hold it.
    async fn inspect_image(&self, reference: &str) -> Result<Option<Image>, EngineError>;

    /// Brings what a reference (`name:tag`) names in its registry, with the credentials that the implementation has for
    /// that. An image of that name which the engine holds is replaced, if the registry's is another one by now.
    ///
    /// The stream tells how far it is, whenever that changes, and ends when the engine has the image. An error in it is the
    /// end of the pull. Dropping it gives the pull up, unless somebody else waits for the same layers.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`](crate::ErrorKind::NoSuchImage) when the registry does not have it, or says so to those whom
    /// it does not know; [`ErrorKind::Refused`](crate::ErrorKind::Refused) when it wants other credentials;
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when it cannot be reached, breaks off, or is none.
    async fn pull(
        &self,
        reference: &str,
    ) -> Result<BoxStream<'static, Result<Progress, EngineError>>, EngineError>;

    /// Creates a container. It is not started.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`](crate::ErrorKind::NoSuchImage),
    /// [`ErrorKind::UnknownRuntime`](crate::ErrorKind::UnknownRuntime),
    /// [`ErrorKind::NoSuchSource`](crate::ErrorKind::NoSuchSource) and
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) are the specification's fault.
    async fn create(&self, name: &str, spec: &ContainerSpec) -> Result<Created, EngineError>;

    /// Starts a created or ended container. A start that fails leaves its reason behind: the container is
    /// [`Exited`](crate::ContainerState::Exited) with [`Exit::error`](crate::Exit::error), and can be started again.
    async fn start(&self, id: &ContainerId) -> Result<Started, EngineError>;

    /// Asks the container's process to end (SIGTERM) and kills it after `grace` (rounded up to whole
    /// seconds). Returns once it has ended.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<Stopped, EngineError>;

    /// Kills the container's process (SIGKILL).
    async fn kill(&self, id: &ContainerId) -> Result<Stopped, EngineError>;

    /// Removes a container with its anonymous volumes, killing it first if it runs.
    async fn remove(&self, id: &ContainerId) -> Result<Removed, EngineError>;

    /// All containers, in whatever state, that carry all of these labels. One call, whatever their number.
    async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Listed>, EngineError>;

    /// One container in full, `None` when there is none. `id` may be a name.
    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError>;

    /// What lies at an absolute path in a container, of a file's content the first `limit` bytes. The container need not run, nor ever
    /// have run: what is bound into it is seen all the same. `None` when there is nothing, or no such container.
    async fn read(&self, id: &ContainerId, path: &Path, limit: usize) -> Result<Option<File>, EngineError>;

    /// What a container uses. `None` when it does not run, or there is none. `id` may be a name.
    async fn stats(&self, id: &str) -> Result<Option<Usage>, EngineError>;

    /// What a container wrote to its standard output and error, oldest first. With
    /// [`LogQuery::follow`] the stream goes on until the container ends. An engine shows a line once it has ended (or
    /// the process has, or 16 KiB of it are written).
    async fn logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError>;

    /// Events of containers that carry all of these labels, and of images whatever theirs, from the engine's time
    /// `since` on. Told of are the actions in [`ACTIONS`](crate::event::ACTIONS).
    ///
    /// The stream is lossy (an engine keeps few old events and skips slow readers), so an event is a reason
    /// to look, never the truth. It ends with the engine. Creating it has subscribed: events from `since` on
    /// are in it even if they come before the first poll.
    async fn events(
        &self,
        labels: &BTreeMap<String, String>,
        since: jiff::Timestamp,
    ) -> Result<BoxStream<'static, Result<Event, EngineError>>, EngineError>;
}

/// What [`Engine::create`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// A new container, and what the engine warned of (limits that it ignores, for example).
    Created {
        /// The new container.
        id: ContainerId,
        /// The engine's warnings, in its words.
        warnings: Vec<String>,
    },
    /// The name is taken. By whom must be looked up: [`Engine::inspect`] takes a name.
    AlreadyExists,
}

/// What [`Engine::start`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It runs now.
    Started,
    /// It ran before.
    AlreadyStarted,
    /// There is no such container.
    NotFound,
}

/// What [`Engine::stop`] or [`Engine::kill`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It has ended (stop) or was sent the signal (kill).
    Stopped,
    /// It did not run before.
    AlreadyStopped,
    /// There is no such container.
    NotFound,
}

/// What [`Engine::remove`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Removed,
    /// There was no such container.
    NotFound,
    /// Somebody else's removal is under way.
    InProgress,
}
