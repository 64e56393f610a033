//! The port on a simulated engine.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;

use super::SimulatedEngine;
use super::containers::{Entry, State};
use super::files;
use super::output::Output;
use super::process::{self, Handle};
use super::registry;
use super::script::{Script, Signal, StartedContainer};
use super::world::{Shared, World, pass};
use crate::container::{Container, ContainerId, ContainerSpec, Exit, Listed};
use crate::error::{EngineError, ErrorKind, Operation};
use crate::event::Event;
use crate::file::File;
use crate::image::Image;
use crate::info::EngineInfo;
use crate::limits;
use crate::log::{LogChunk, LogQuery};
use crate::port::{Created, Engine, Removed, Started, Stopped};
use crate::pull::Progress;
use crate::usage::Usage;

/// The least memory that an engine accepts as a limit.
const LEAST_MEMORY: u64 = 6 * 1024 * 1024;

#[async_trait]
impl Engine for SimulatedEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.call(Operation::Info, "engine", Duration::ZERO, |shared| async move {
            let mut world = shared.world();
            let time = world.now();
            let mut oci_runtimes = world.settings.oci_runtimes.clone();
            oci_runtimes.sort();
            Ok(EngineInfo {
                id: world.engine_id.as_str().into(),
                version: "20.10.24-simulated".to_owned(),
                api_version: "1.41".to_owned(),
                time,
                oci_runtimes,
                cgroup_driver: if world.settings.rootless { "none" } else { "cgroupfs" }.to_owned(),
                rootless: world.settings.rootless,
                user: None,
                memlock_limit: None,
            })
        })
        .await
    }

    async fn inspect_image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        let name = reference.to_owned();
        self.call(Operation::InspectImage, reference, Duration::ZERO, |shared| async move {
            let world = shared.world();
            let image = |id: &str| Image {
                id: id.to_owned(),
                repo_digests: Vec::new(),
                user: String::new(),
                entrypoint: Vec::new(),
                command: Vec::new(),
            };
            Ok(world.images.find(&name).map(image))
        })
        .await
    }

    async fn pull(
        &self,
        reference: &str,
    ) -> Result<BoxStream<'static, Result<Progress, EngineError>>, EngineError> {
        let name = reference.to_owned();
        self.call(
            Operation::Pull,
            reference,
            Duration::ZERO,
            |shared| async move { registry::pull(shared, name) },
        )
        .await
    }

    async fn create(&self, name: &str, spec: &ContainerSpec) -> Result<Created, EngineError> {
        let (container, spec) = (name.to_owned(), Arc::new(spec.clone()));
        self.call(Operation::Create, name, Duration::ZERO, |shared| async move {
            create(&shared, container, spec)
        })
        .await
    }

    async fn start(&self, id: &ContainerId) -> Result<Started, EngineError> {
        let container = id.clone();
        let (_caller, caller_gone) = oneshot::channel();
        self.call(Operation::Start, id.as_str(), Duration::ZERO, |shared| {
            start(shared, container, caller_gone)
        })
        .await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<Stopped, EngineError> {
        let container = id.clone();
        let grace = Duration::from_secs(grace.as_secs() + u64::from(grace.subsec_nanos() > 0));
        self.call(Operation::Stop, id.as_str(), grace, |shared| async move {
            let ended = match signal(&shared, &container, Signal::Term) {
                Ok(ended) => ended,
                Err(outcome) => return Ok(outcome),
            };
            if tokio::time::timeout(grace, ended).await.is_err()
                && let Ok(ended) = signal(&shared, &container, Signal::Kill)
            {
                ended.await;
            }
            Ok(Stopped::Stopped)
        })
        .await
    }

    async fn kill(&self, id: &ContainerId) -> Result<Stopped, EngineError> {
        let container = id.clone();
        self.call(Operation::Kill, id.as_str(), Duration::ZERO, |shared| async move {
            match signal(&shared, &container, Signal::Kill) {
                Ok(ended) => {
                    ended.await;
                    Ok(Stopped::Stopped)
                }
                Err(outcome) => Ok(outcome),
            }
        })
        .await
    }

    async fn remove(&self, id: &ContainerId) -> Result<Removed, EngineError> {
        let container = id.clone();
        self.call(Operation::Remove, id.as_str(), Duration::ZERO, |shared| async move {
            Ok(remove(&shared, &container).await)
        })
        .await
    }

    async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Listed>, EngineError> {
        let labels = labels.clone();
        self.call(Operation::List, "engine", Duration::ZERO, |shared| async move {
            Ok(shared.world().containers.with_labels(&labels).map(Entry::listed).collect())
        })
        .await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let reference = id.to_owned();
        self.call(Operation::Inspect, id, Duration::ZERO, |shared| async move {
            Ok(shared.world().containers.find(&reference).map(Entry::inspected))
        })
        .await
    }

    async fn read(&self, id: &ContainerId, path: &Path, limit: usize) -> Result<Option<File>, EngineError> {
        let (container, path) = (id.clone(), path.to_owned());
        self.call(Operation::Read, id.as_str(), Duration::ZERO, move |shared| async move {
            let spec = shared.world().containers.get(&container).map(|entry| Arc::clone(&entry.spec));
            Ok(spec.and_then(|spec| files::read(&spec, &path, limit)))
        })
        .await
    }

    async fn stats(&self, id: &str) -> Result<Option<Usage>, EngineError> {
        let reference = id.to_owned();
        self.call(Operation::Stats, id, Duration::ZERO, move |shared| async move {
            let mut world = shared.world();
            let now = world.now();
            Ok(world.containers.find(&reference).and_then(|entry| entry.usage(now)))
        })
        .await
    }

    async fn logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError> {
        let container = id.clone();
        let reader = self
            .call(Operation::Logs, id.as_str(), Duration::ZERO, |shared| async move {
                let fail = |kind, message: &str| error(Operation::Logs, &container, kind, message);
                if !query.stdout && !query.stderr {
                    return Err(fail(ErrorKind::Refused, "you must choose at least one stream"));
                }
                let world = shared.world();
                let entry = world
                    .containers
                    .get(&container)
                    .ok_or_else(|| fail(ErrorKind::NotFound, "No such container"))?;
                let next = entry.output.first(query);
                drop(world);
                let ended = shared.end_of_run().boxed();
                Ok(Reader { shared, id: container, query, next, ended })
            })
            .await?;
        Ok(log_stream(reader))
    }

    async fn events(
        &self,
        labels: &BTreeMap<String, String>,
        since: jiff::Timestamp,
    ) -> Result<BoxStream<'static, Result<Event, EngineError>>, EngineError> {
        let labels = labels.clone();
        let receiver = self
            .call(Operation::Events, "engine", Duration::ZERO, |shared| async move {
                Ok(shared.world().events.listen(&labels, since))
            })
            .await?;
        Ok(ReceiverStream::new(receiver).map(Ok).boxed())
    }
}

impl SimulatedEngine {
    /// One call within its limit. The effect is a task of its own: as with a real engine, a caller that gives up
    /// or dies takes nothing back. (But what is not done yet of a start is given up: [`start`].)
    async fn call<T, F>(
        &self,
        operation: Operation,
        subject: &str,
        grace: Duration,
        effect: impl FnOnce(Arc<Shared>) -> F,
    ) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        let limit = limits::of(operation, grace);
        let shared = Arc::clone(&self.shared);
        let effect = effect(Arc::clone(&shared));
        let task = tokio::spawn(shared.perform(operation, subject.to_owned(), effect));
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(result)) => result,
            // A test's own script or matcher has panicked: that is the test's failure.
            Ok(Err(join)) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
            Ok(Err(_)) | Err(_) => Err(EngineError {
                operation,
                subject: subject.to_owned(),
                kind: ErrorKind::TimedOut,
                message: format!("no answer within {} s", limit.as_secs()),
            }),
        }
    }
}

fn create(shared: &Arc<Shared>, name: String, spec: Arc<ContainerSpec>) -> Result<Created, EngineError> {
    let fail = |kind, message: String| {
        Err(EngineError { operation: Operation::Create, subject: name.clone(), kind, message })
    };
    let mut world = shared.world();
    if !is_container_name(&name) {
        return fail(ErrorKind::Refused, format!("Invalid container name ({name})"));
    }
    let Some(image_id) = world.images.find(&spec.image).map(ToOwned::to_owned) else {
        return fail(ErrorKind::NoSuchImage, format!("No such image: {}", spec.image));
    };
    if !world.settings.oci_runtimes.contains(&spec.oci_runtime) {
        let message = format!("Unknown runtime specified {}", spec.oci_runtime);
        return fail(ErrorKind::UnknownRuntime, message);
    }
    if spec.resources.memory_bytes.is_some_and(|bytes| bytes < LEAST_MEMORY) {
        return fail(ErrorKind::Refused, "Minimum memory limit allowed is 6MB".to_owned());
    }
    let missing = spec.binds.iter().find(|bind| world.settings.check_binds && !bind.source.exists());
    if let Some(bind) = missing {
        let message = format!("bind source path does not exist: {}", bind.source.display());
        return fail(ErrorKind::NoSuchSource, message);
    }
    if world.containers.holds_name(&name) {
        return Ok(Created::AlreadyExists);
    }
    let id = ContainerId::new(world.new_id());
    let created_at = world.now();
    let output = Output::new(spec.log);
    world.containers.insert(Entry {
        id: id.clone(),
        name,
        spec,
        image_id,
        created_at,
        state: State::Created,
        removing: false,
        starts: 0,
        output,
        busy: Arc::default(),
    });
    shared.publish_container(&mut world, &id, "create");
    Ok(Created::Created { id, warnings: Vec::new() })
}

/// Starts a container. Where the caller goes away while the OCI runtime is at work, an engine may give the start
/// up: the container is left with an error, as if the runtime had refused it.
async fn start(
    shared: Arc<Shared>,
    id: ContainerId,
    caller_gone: oneshot::Receiver<Infallible>,
) -> Result<Started, EngineError> {
    let fail = |kind, message: &str| Err(error(Operation::Start, &id, kind, message));
    let Some(busy) = shared.world().containers.get(&id).map(|entry| Arc::clone(&entry.busy)) else {
        return Ok(Started::NotFound);
    };
    let _busy = busy.lock().await;
    let script = {
        let mut world = shared.world();
        let Some(entry) = world.containers.get(&id) else { return Ok(Started::NotFound) };
        if entry.process().is_some() {
            return Ok(Started::AlreadyStarted);
        }
        if entry.removing {
            return fail(ErrorKind::Conflict, "container is marked for removal and cannot be started");
        }
        if !world.settings.networks.contains(&entry.spec.network) {
            let message = format!("network {} not found", entry.spec.network);
            return fail(ErrorKind::Refused, &message);
        }
        let started = entry.about_to_start();
        world.script(&started)
    };
    let (latency, gives_up_starts) = {
        let settings = &shared.world().settings;
        (settings.latency.start, settings.gives_up_starts)
    };
    let given_up = tokio::select! {
        biased;
        () = pass(script.latency.unwrap_or(latency)) => None,
        _ = caller_gone, if gives_up_starts => Some((128, "context canceled".to_owned())),
    };
    let mut world = shared.world();
    let now = world.now();
    world.next_pid += 1;
    let pid = world.next_pid;
    let Some(entry) = world.containers.get_mut(&id) else { return Ok(Started::NotFound) };
    if let Some((code, error)) = given_up.or(script.failure.map(|error| (127, error))) {
        let exit = Exit { code, oom_killed: false, error: error.clone(), finished_at: entry.created_at };
        entry.state = match entry.state {
            State::Exited(_) => State::Exited(exit),
            _ => State::NeverStarted(exit),
        };
        return fail(ErrorKind::Refused, &error);
    }
    entry.starts += 1;
    let (handle, process) = process::new();
    entry.state = State::Running { started_at: now, pid, paused: false, process: handle };
    let nth = entry.starts;
    shared.publish_container(&mut world, &id, "start");
    drop(world);
    let (shared, id) = (Arc::clone(&shared), id.clone());
    tokio::spawn(async move {
        let writer = Arc::clone(&shared);
        let container = id.clone();
        let write = move |channel, bytes: &[u8]| {
            let mut world = writer.world();
            let now = world.now();
            if let Some(entry) = world.containers.get_mut(&container) {
                entry.output.write(channel, bytes, now);
            }
        };
        let end = process.run(script.acts, write).await;
        shared.process_ended(&id, nth, end);
    });
    Ok(Started::Started)
}

/// Sends a signal; what comes back ends with the process. The error is what else the call came to.
fn signal(
    shared: &Shared,
    id: &ContainerId,
    signal: Signal,
) -> Result<impl Future<Output = ()> + Send + use<>, Stopped> {
    let world = shared.world();
    let entry = world.containers.get(id).ok_or(Stopped::NotFound)?;
    let process = entry.process().ok_or(Stopped::AlreadyStopped)?;
    Ok(process.signal(signal))
}

async fn remove(shared: &Arc<Shared>, id: &ContainerId) -> Removed {
    let busy = {
        let mut world = shared.world();
        let Some(entry) = world.containers.get_mut(id) else { return Removed::NotFound };
        if std::mem::replace(&mut entry.removing, true) {
            return Removed::InProgress;
        }
        Arc::clone(&entry.busy)
    };
    // A removal that breaks off (the engine goes down) leaves the container as it was.
    let mut undo = Unmark { shared, id, armed: true };
    let _busy = busy.lock().await;
    if let Ok(ended) = signal(shared, id, Signal::Kill) {
        ended.await;
    }
    let mut world = shared.world();
    shared.publish_container(&mut world, id, "destroy");
    world.containers.remove(id);
    undo.armed = false;
    Removed::Removed
}

/// Takes the mark of a removal away again.
struct Unmark<'a> {
    shared: &'a Shared,
    id: &'a ContainerId,
    armed: bool,
}

impl Drop for Unmark<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let Some(entry) = self.shared.world().containers.get_mut(self.id) {
            entry.removing = false;
        }
    }
}

/// A log being read.
struct Reader {
    shared: Arc<Shared>,
    id: ContainerId,
    query: LogQuery,
    next: usize,
    /// The end of the daemon that granted the stream.
    ended: BoxFuture<'static, ()>,
}

/// The log from the reader's position on; when following, up to the end of the container.
fn log_stream(reader: Reader) -> BoxStream<'static, Result<LogChunk, EngineError>> {
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        loop {
            let grown = {
                let world = reader.shared.world();
                // Removed meanwhile: the log is over.
                let entry = world.containers.get(&reader.id)?;
                let (lines, next) = entry.output.read(reader.next, reader.query);
                reader.next = next;
                let over = !reader.query.follow || entry.process().is_none();
                if over || !lines.is_empty() {
                    drop(world);
                    let lines: Vec<_> = lines.into_iter().map(Ok).collect();
                    return Some((stream::iter(lines), (!over).then_some(reader)));
                }
                // Made under the lock: from here on no growth is missed.
                Arc::clone(&entry.output.grown).notified_owned()
            };
            tokio::select! {
                biased;
                () = &mut reader.ended => {
                    let broken = error(Operation::Logs, &reader.id, ErrorKind::Unreachable, "the log broke off");
                    return Some((stream::iter(vec![Err(broken)]), None));
                }
                () = grown => {}
            }
        }
    })
    .flatten()
    .boxed()
}

impl World {
    fn script(&mut self, started: &StartedContainer) -> Script {
        if let Some(place) = self.next_starts.iter().position(|(matches, _)| matches(started)) {
            return self.next_starts.remove(place).1;
        }
        match self.images.behaviour(&started.image_id) {
            Some(behaviour) => behaviour(started),
            // The image has been deleted under the container. A real one keeps its layers; what it would do is
            // unknown here.
            None => Script::new().hang(),
        }
    }
}

impl Entry {
    fn about_to_start(&self) -> StartedContainer {
        StartedContainer {
            id: self.id.clone(),
            name: self.name.clone(),
            spec: Arc::clone(&self.spec),
            image_id: self.image_id.clone(),
            start: self.starts + 1,
        }
    }
}

impl Handle {
    /// Sends a signal; what comes back ends with the process.
    pub(super) fn signal(&self, signal: Signal) -> impl Future<Output = ()> + Send + use<> {
        // Nobody listens any more when it has just ended by itself.
        let _ = self.signals.send(signal);
        let mut ended = self.ended.subscribe();
        async move { while ended.changed().await.is_ok() {} }
    }
}

fn error(operation: Operation, id: &ContainerId, kind: ErrorKind, message: &str) -> EngineError {
    EngineError { operation, subject: id.as_str().to_owned(), kind, message: message.to_owned() }
}

/// An engine's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
fn is_container_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.len() >= 2
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}
