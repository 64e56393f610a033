//! Carrying out a plan: each step is one effect, or one change of what is remembered.
//!
//! A step that fails because of what was declared (the engine refuses the container) ends the start: that is
//! recorded, and the next start waits. Any other failure ends the execution: the world is looked at again.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use go_plugin::Identity;
use jiff::Timestamp;
use plugward_api::status::{EventType, StartTimes};
use plugward_api::{Name, RestartReason};
use plugward_engine::{
    ContainerId, ContainerState, Created, Engine, EngineError, ErrorKind, LogQuery, Removed, Started, Stopped,
};
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::container::container_spec;
use crate::engines::Engines;
use crate::errors::chain;
use crate::names::{ClusterId, SlotName, label};
use crate::plan::{self, Before, Ended, NewStart, Place, Plan, Situation, Step};
use crate::recipe::Recipe;
use crate::reconcile::ReconcileError;
use crate::session::{Opening, Sessions};
use crate::slot::{Edit, End, EngineRef, Slot, Start, StoredIdentity};
use crate::state::State;
use crate::status::Book;

/// How long a plugin may take to end after `Shutdown`, as go-plugin's hosts have it.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// How long a process may take to end after SIGTERM, as Docker's default is.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How often to look whether a plugin that was asked to end has ended.
const END_POLL: Duration = Duration::from_millis(50);

/// Lines kept of what a container wrote last.
const LAST_LINES: u32 = 20;

/// Bytes kept of each of these lines.
const LAST_LINE_BYTES: usize = 512;

/// How long it may take to read them.
const LAST_LINES_LIMIT: Duration = Duration::from_secs(2);

/// Carries out plans.
pub struct Executor {
    /// Whose containers these are.
    pub cluster: ClusterId,
    /// What is remembered.
    pub state: State,
    /// The engines.
    pub engines: Engines,
    /// The conversations.
    pub sessions: Sessions,
    /// Status, events and counters.
    pub book: Book,
    /// The time of day.
    pub clock: Clock,
    /// Where the directories shared with plugins are made.
    pub sockets: PathBuf,
    /// The group of the shared directories and of the plugins' sockets, unless root's.
    pub group: Option<u32>,
    /// How long the phases of starts took, by container, until they are recorded.
    pub timings: Timings,
}

/// How long the phases of starts took, by container name.
#[derive(Clone, Default)]
pub struct Timings(Arc<Mutex<HashMap<String, Timing>>>);

#[derive(Clone, Copy)]
struct Timing {
    create: Duration,
    start: Duration,
    started: Instant,
}

/// The execution of one plan.
struct Run<'a> {
    executor: &'a Executor,
    instance: &'a Name,
    situation: &'a Situation,
    /// The containers of current starts, as they become known.
    places: HashMap<SlotName, Place>,
    /// How long the create of this run took.
    create_took: Duration,
}

/// Whether the steps that follow make sense.
enum Flow {
    Continue,
    /// A start failed for good: its end is recorded, and the next may come then.
    StartFailed(Timestamp),
}

impl Executor {
    /// Carries out a plan. The answer is when to look again because a start failed.
    ///
    /// # Errors
    /// When an effect failed in a way that says nothing about the plugin.
    pub async fn execute(
        &self,
        instance: &Name,
        situation: &Situation,
        plan: &Plan,
    ) -> Result<Option<Timestamp>, ReconcileError> {
        let mut places = HashMap::new();
        for (slot, sight) in &situation.slots {
            let current = sight.stored.current.as_ref();
            let place = current
                .and_then(|start| sight.containers.iter().find(|container| container.name == start.container))
                .map(plan::Sighting::place);
            if let Some(place) = place {
                places.insert(slot.clone(), place);
            }
        }
        let mut run = Run { executor: self, instance, situation, places, create_took: Duration::ZERO };
        for step in &plan.steps {
            tracing::debug!(%step, "step");
            if let Flow::StartFailed(retry_at) = run.step(step).await? {
                return Ok(Some(retry_at));
            }
        }
        Ok(None)
    }

    fn engine(&self, engine: &EngineRef) -> Result<Arc<dyn Engine>, ReconcileError> {
        self.engines.engine(&engine.id).ok_or_else(|| ReconcileError::EngineLost(engine.id.clone()))
    }

    fn directory(&self, container: &str) -> PathBuf {
        self.sockets.join(container)
    }
}

impl Run<'_> {
    async fn step(&mut self, step: &Step) -> Result<Flow, ReconcileError> {
        match step {
            Step::RecordEnd { slot, end, retry_at, edit, container } => {
                self.record_end(slot, end, *retry_at, *edit, container.as_ref()).await?;
            }
            Step::Prepare { slot, start } => self.prepare(slot, start).await?,
            Step::Create { slot, image } => return self.create(slot, image).await,
            Step::Start { slot } => return self.start(slot).await,
            Step::Converse { slot } => self.converse(slot)?,
            Step::RecordReady { slot, handshake, since } => {
                self.record_ready(slot, handshake, *since).await?;
            }
            Step::ForgetFailures { slot } => self.change(slot, |stored| stored.failures = 0).await?,
            Step::Halt { container } => self.halt(container).await?,
            Step::Remove { slot, container, keep_output } => {
                self.remove(slot, container, *keep_output).await?;
            }
            Step::DropOutgoing { slot } => {
                let mut dropped = None;
                self.change(slot, |stored| dropped = stored.outgoing.take()).await?;
                remove_directories_of(dropped)?;
            }
            Step::Forget { slot } => {
                let stored = self.executor.state.slot(self.instance, slot);
                self.executor.state.forget_slot(self.instance, slot).await?;
                remove_directories_of(stored.current.into_iter().chain(stored.outgoing))?;
            }
        }
        Ok(Flow::Continue)
    }

    // --- what is remembered ---

    async fn change(&self, slot: &SlotName, change: impl FnOnce(&mut Slot)) -> Result<(), ReconcileError> {
        let mut stored = self.executor.state.slot(self.instance, slot);
        change(&mut stored);
        Ok(self.executor.state.save_slot(self.instance, slot, stored).await?)
    }

    async fn prepare(&mut self, slot: &SlotName, new: &NewStart) -> Result<(), ReconcileError> {
        self.executor.engines.remember(&new.engine).await?;
        let identity = Identity::generate().map_err(ReconcileError::Identity)?;
        let now = self.executor.clock.now();
        let start = Start {
            container: new.container.clone(),
            engine: new.engine.clone(),
            recipe: Recipe::clone(&new.recipe),
            hash: new.hash.clone(),
            directory: self.executor.directory(&new.container),
            group: self.executor.group,
            identity: StoredIdentity::new(identity.to_pem().as_str()),
            at: now,
            created: false,
            handshake: None,
            ready_at: None,
            end: None,
            times: StartTimes::default(),
        };
        self.places.remove(slot);
        let reason = match &new.before {
            Before::Nothing | Before::Replaced => None,
            Before::Ended(ended) => Some(ended.reason),
            Before::EndedEarlier(reason) => Some(*reason),
        };
        let mut dropped = None;
        self.change(slot, |stored| {
            stored.starts = new.number;
            dropped = stored.current.replace(start);
            stored.failures = new.failures;
            if let Some(reason) = reason {
                *stored.restarts.entry(reason).or_default() += 1;
            }
            match &new.before {
                Before::Ended(ended) => stored.last_exit = Some(ended.exit.clone()),
                Before::Replaced => {
                    stored.updating = true;
                    // Of several updates in a row, the start that last served is the one to keep.
                    if stored.outgoing.is_none() {
                        stored.outgoing = dropped.take();
                    }
                }
                Before::Nothing | Before::EndedEarlier(_) => {}
            }
        })
        .await?;
        remove_directories_of(dropped)?;
        let book = &self.executor.book;
        match (&new.before, reason) {
            (Before::Ended(ended), _) => {
                self.tell_end(ended);
                book.restarted(self.instance, ended.reason);
            }
            (_, Some(reason)) => book.restarted(self.instance, reason),
            (Before::Replaced, None) => {
                book.event(
                    self.instance,
                    EventType::Normal,
                    "Updating",
                    format!("replacing the container by {}", new.container),
                );
            }
            (_, None) => {}
        }
        Ok(())
    }

    async fn record_end(
        &self,
        slot: &SlotName,
        end: &Ended,
        retry_at: Timestamp,
        edit: Edit,
        container: Option<&Place>,
    ) -> Result<(), ReconcileError> {
        let mut exit = end.exit.clone();
        if let Some(place) = container {
            exit.output = self.last_lines(place).await;
        }
        let at = exit.finished_at;
        let reason = end.reason;
        self.change(slot, |stored| {
            stored.failures = end.failures;
            stored.last_exit = Some(exit);
            if let Some(start) = &mut stored.current {
                start.end = Some(End { reason, at, retry_at, edit });
            }
        })
        .await?;
        self.tell_end(end);
        let wait = self.executor.clock.until(retry_at);
        if !wait.is_zero() {
            self.executor.book.event(
                self.instance,
                EventType::Warning,
                "BackOff",
                format!("{} failures in a row: the next start waits", end.failures),
            );
            tracing::info!(%slot, failures = end.failures, wait = ?wait, "backing off");
        }
        Ok(())
    }

    fn tell_end(&self, ended: &Ended) {
        let exit = &ended.exit;
        let code = exit.code.map(|code| format!(" with code {code}")).unwrap_or_default();
        let message = match (ended.reason, exit.message.as_str()) {
            (RestartReason::Exited | RestartReason::Killed, "") => format!("the container ended{code}"),
            (RestartReason::OomKilled, _) => "the container was killed for its memory limit".to_owned(),
            (RestartReason::EngineLost, _) => "the container ended with its engine".to_owned(),
            (_, message) => message.to_owned(),
        };
        tracing::warn!(reason = ended.reason.as_str(), message, "container is over");
        self.executor.book.event(self.instance, EventType::Warning, "ContainerEnded", message);
    }

    async fn record_ready(
        &self,
        slot: &SlotName,
        handshake: &str,
        since: Timestamp,
    ) -> Result<(), ReconcileError> {
        let stored = self.executor.state.slot(self.instance, slot);
        let container = stored.current.as_ref().map(|start| start.container.clone()).unwrap_or_default();
        let times = self.executor.timings.take(&container, self.executor.clock.now(), since);
        self.change(slot, |stored| {
            stored.updating = false;
            if let Some(start) = &mut stored.current {
                start.created = true;
                start.handshake = Some(handshake.to_owned());
                start.ready_at = Some(since);
                start.times = times;
            }
        })
        .await?;
        tracing::info!(%slot, container, "ready");
        self.executor.book.event(self.instance, EventType::Normal, "Ready", "the plugin is ready");
        Ok(())
    }

    // --- containers ---

    fn current(&self, slot: &SlotName) -> Result<Start, ReconcileError> {
        let stored = self.executor.state.slot(self.instance, slot);
        stored.current.ok_or(ReconcileError::NoStart)
    }

    async fn create(&mut self, slot: &SlotName, image: &str) -> Result<Flow, ReconcileError> {
        let start = self.current(slot)?;
        if self.places.get(slot).is_some_and(|place| place.name == start.container) {
            return Ok(Flow::Continue);
        }
        let engine = self.executor.engine(&start.engine)?;
        make_shared_directory(&start.directory, start.group)
            .map_err(|source| ReconcileError::Directory { path: start.directory.clone(), source })?;
        let identity = Identity::from_pem(start.identity.reveal()).map_err(ReconcileError::Identity)?;
        let spec = container_spec(
            &self.executor.cluster,
            self.instance,
            slot,
            &start,
            image,
            identity.certificate_pem(),
        );
        let spec = match spec {
            Ok(spec) => spec,
            Err(error) => return self.start_failed(slot, &start, chain(&error)).await,
        };
        let began = Instant::now();
        let id = match engine.create(&start.container, &spec).await {
            Ok(Created::Created { id, warnings }) => {
                for warning in warnings {
                    tracing::warn!(container = start.container, warning, "the engine warns");
                    self.executor.book.event(self.instance, EventType::Warning, "EngineWarning", warning);
                }
                id
            }
            Ok(Created::AlreadyExists) => {
                let Some(id) = self.ours(&*engine, slot, &start).await? else {
                    let name = &start.container;
                    let message = format!("the name {name} is taken by a container that is not ours");
                    return self.start_failed(slot, &start, message).await;
                };
                id
            }
            Err(error) => return self.refused(slot, &start, error).await,
        };
        self.create_took = began.elapsed();
        let place = Place { engine: start.engine, id, name: start.container };
        self.places.insert(slot.clone(), place);
        Ok(Flow::Continue)
    }

    /// The container of that name, if it was made for this slot: a create that took effect unseen.
    async fn ours(
        &self,
        engine: &dyn Engine,
        slot: &SlotName,
        start: &Start,
    ) -> Result<Option<ContainerId>, ReconcileError> {
        let Some(container) = engine.inspect(&start.container).await? else {
            return Err(ReconcileError::Vanished(start.container.clone()));
        };
        let expected = [
            (label::CLUSTER, self.executor.cluster.to_string()),
            (label::INSTANCE, self.instance.to_string()),
            (label::SLOT, slot.to_string()),
            (label::SPEC_HASH, start.hash.to_string()),
        ];
        let ours = expected.iter().all(|(key, value)| container.labels.get(*key) == Some(value));
        Ok(ours.then_some(container.id))
    }

    async fn start(&mut self, slot: &SlotName) -> Result<Flow, ReconcileError> {
        let start = self.current(slot)?;
        let place = self.place(slot)?;
        let engine = self.executor.engine(&start.engine)?;
        let began = Instant::now();
        // That the container exists is noted while it starts: it is of use only after a crash.
        let (started, noted) = tokio::join!(engine.start(&place.id), async {
            if start.created {
                return Ok(());
            }
            self.change(slot, |stored| {
                if let Some(start) = &mut stored.current {
                    start.created = true;
                }
            })
            .await
        });
        noted?;
        match started {
            Ok(Started::Started | Started::AlreadyStarted) => {
                let timing =
                    Timing { create: self.create_took, start: began.elapsed(), started: Instant::now() };
                self.executor.timings.put(start.container.clone(), timing);
                tracing::info!(%slot, container = start.container, "started");
                let message = format!("started container {}", start.container);
                self.executor.book.event(self.instance, EventType::Normal, "Started", message);
                Ok(Flow::Continue)
            }
            Ok(Started::NotFound) => Err(ReconcileError::Vanished(start.container)),
            Err(error) => self.refused(slot, &start, error).await,
        }
    }

    /// An engine's error about a start: its own trouble, or the start's end.
    async fn refused(
        &self,
        slot: &SlotName,
        start: &Start,
        error: EngineError,
    ) -> Result<Flow, ReconcileError> {
        match error.kind {
            ErrorKind::Refused | ErrorKind::Internal | ErrorKind::Conflict => {
                self.start_failed(slot, start, chain(&error)).await
            }
            // Neither says anything about the plugin: the next look finds out what is missing.
            ErrorKind::NoSuchImage
            | ErrorKind::UnknownRuntime
            | ErrorKind::Unreachable
            | ErrorKind::TimedOut
            | ErrorKind::NotFound
            | ErrorKind::Incompatible => Err(error.into()),
        }
    }

    async fn start_failed(
        &self,
        slot: &SlotName,
        start: &Start,
        message: String,
    ) -> Result<Flow, ReconcileError> {
        let now = self.executor.clock.now();
        let failures = self.executor.state.slot(self.instance, slot).failures;
        let (end, retry_at) = plan::start_failed(start, message, failures, now, self.situation.random);
        let edit = self.situation.targets.get(slot).map(|target| target.edit).unwrap_or_default();
        self.record_end(slot, &end, retry_at, edit, None).await?;
        Ok(Flow::StartFailed(retry_at))
    }

    fn place(&self, slot: &SlotName) -> Result<Place, ReconcileError> {
        self.places.get(slot).cloned().ok_or(ReconcileError::NoStart)
    }

    fn converse(&self, slot: &SlotName) -> Result<(), ReconcileError> {
        let start = self.current(slot)?;
        let place = self.place(slot)?;
        let engine = self.executor.engine(&place.engine)?;
        self.executor.sessions.begin(Opening { instance: self.instance.clone(), place, engine, start });
        Ok(())
    }

    /// Ends a container: `Shutdown`, SIGTERM, SIGKILL, each with its time.
    async fn halt(&self, place: &Place) -> Result<(), ReconcileError> {
        let engine = self.executor.engine(&place.engine)?;
        if let Some(conversation) = self.executor.sessions.conversation(place) {
            let asked = timeout(SHUTDOWN_LIMIT, conversation.shutdown()).await;
            if let Ok(Ok(())) = asked {
                let _ = timeout(SHUTDOWN_LIMIT, ended(&*engine, &place.id)).await;
            }
        }
        match engine.stop(&place.id, STOP_GRACE).await? {
            Stopped::Stopped | Stopped::AlreadyStopped | Stopped::NotFound => {}
        }
        tracing::info!(container = place.name, "stopped");
        Ok(())
    }

    async fn remove(&self, slot: &SlotName, place: &Place, keep_output: bool) -> Result<(), ReconcileError> {
        let engine = self.executor.engine(&place.engine)?;
        if keep_output {
            let output = self.last_lines(place).await;
            self.change(slot, |stored| {
                if let Some(exit) = &mut stored.last_exit {
                    exit.output = output;
                }
            })
            .await?;
        }
        self.executor.sessions.end(place);
        match engine.remove(&place.id).await? {
            Removed::Removed | Removed::NotFound | Removed::InProgress => {}
        }
        remove_directory(&self.executor.directory(&place.name))?;
        tracing::info!(container = place.name, "removed");
        Ok(())
    }

    /// The last lines that a container wrote to standard error. Without them, nothing is lost but words.
    async fn last_lines(&self, place: &Place) -> Vec<String> {
        let Ok(engine) = self.executor.engine(&place.engine) else { return Vec::new() };
        let query = LogQuery { follow: false, tail: Some(LAST_LINES), stdout: false, stderr: true };
        let read = async {
            let mut bytes = Vec::new();
            let Ok(mut log) = engine.logs(&place.id, query).await else { return bytes };
            while let Some(Ok(chunk)) = log.next().await {
                bytes.extend(chunk.bytes);
            }
            bytes
        };
        let bytes = timeout(LAST_LINES_LIMIT, read).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(|line| line.chars().take(LAST_LINE_BYTES).collect::<String>());
        let lines: Vec<String> = lines.collect();
        let keep = lines.len().saturating_sub(LAST_LINES as usize);
        lines.into_iter().skip(keep).collect()
    }
}

/// Resolves when a container has ended, or cannot be asked.
async fn ended(engine: &dyn Engine, id: &ContainerId) {
    while let Ok(Some(container)) = engine.inspect(id.as_str()).await {
        if !matches!(container.state, ContainerState::Running { .. }) {
            return;
        }
        sleep(END_POLL).await;
    }
}

/// The directory that a plugin puts its sockets into: only for us, and for `group` if there is one.
fn make_shared_directory(path: &Path, group: Option<u32>) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if let Some(group) = group {
        chown(path, None, Some(group))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2770))?;
    }
    Ok(())
}

fn remove_directory(path: &Path) -> Result<(), ReconcileError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ReconcileError::Directory { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Nobody uses the directories of starts that are no longer remembered.
fn remove_directories_of(starts: impl IntoIterator<Item = Start>) -> Result<(), ReconcileError> {
    starts.into_iter().try_for_each(|start| remove_directory(&start.directory))
}

/// Removes directories that a crash left: those of no remembered start.
///
/// # Errors
/// When one cannot be removed.
pub fn sweep_directories(sockets: &Path, state: &State) -> Result<(), ReconcileError> {
    let used: HashSet<PathBuf> = state
        .instances()
        .iter()
        .flat_map(|instance| state.slots(instance).into_values())
        .flat_map(|slot| slot.current.into_iter().chain(slot.outgoing))
        .map(|start| start.directory)
        .collect();
    let Ok(entries) = std::fs::read_dir(sockets) else { return Ok(()) };
    let found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    found.filter(|path| !used.contains(path)).try_for_each(|path| remove_directory(&path))
}

// === impl Timings ===

impl Timings {
    fn put(&self, container: String, timing: Timing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(container, timing);
    }

    /// The times of a start that became ready at `since`; none if this controller did not start it.
    fn take(&self, container: &str, now: Timestamp, since: Timestamp) -> StartTimes {
        let timing = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
        let Some(timing) = timing else { return StartTimes::default() };
        let since_ready: Duration = now.duration_since(since).try_into().unwrap_or_default();
        let handshake = timing.started.elapsed().saturating_sub(since_ready);
        StartTimes {
            create: Some(timing.create.as_secs_f64()),
            start: Some(timing.start.as_secs_f64()),
            handshake: Some(handshake.as_secs_f64()),
        }
    }
}
