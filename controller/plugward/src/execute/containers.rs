//! Steps that change containers.

use std::path::PathBuf;
use std::time::Duration;

use go_plugin::Identity;
use jiff::Timestamp;
use plugward_api::status::EventType;
use plugward_engine::{
    ContainerId, ContainerState, Created, Engine, EngineError, ErrorKind, Removed, Started, Stopped,
};
use tokio::time::{Instant, sleep, timeout};

use super::Run;
use super::timings::Timing;
use crate::container::container_spec;
use crate::engines::Begun;
use crate::errors::chain;
use crate::failure::ReconcileError;
use crate::names::{SlotName, label};
use crate::plan::{self, ImageSight, Place, Which};
use crate::session::Opening;
use crate::sharing::{MakeError, remove_directory};
use crate::slot::{EngineRef, GainsBecause, Making, Start};
use crate::trial;

/// How long a plugin may take to end after `Shutdown`, as go-plugin's hosts have it.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// How long a process may take to end after SIGTERM, as Docker's default is.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How often to look whether a plugin that was asked to end has ended.
const END_POLL: Duration = Duration::from_millis(50);

/// What came of making or starting a container.
pub(super) enum Made {
    Done,
    /// The start is over, for this reason.
    Refused(String),
}

impl Run<'_> {
    /// The slot's start: the one that is being stored, or the stored one.
    fn current(&self, slot: &SlotName) -> Result<Start, ReconcileError> {
        if let Some(prepared) = self.prepared.as_ref().filter(|prepared| prepared.slot == *slot) {
            return Ok(prepared.start.clone());
        }
        let stored = self.executor.state.slot(self.instance, slot);
        stored.current.clone().ok_or(ReconcileError::NoStart)
    }

    /// Begins a pull. That it ended wakes all instances that want it.
    pub(super) fn pull(&self, engine: &EngineRef, image: &str) -> Result<(), ReconcileError> {
        let live = self.executor.engines.answering(&engine.id);
        let live = live.ok_or_else(|| ReconcileError::EngineLost(engine.id.to_string()))?;
        match live.begin_pull(image, self.situation.random) {
            Begun::Begun => {
                let message = format!("pulling image {image}");
                self.executor.book.event(self.instance, EventType::Normal, "Pulling", message);
            }
            Begun::UnderWay => {}
        }
        Ok(())
    }

    pub(super) async fn create(&mut self, slot: &SlotName, image: &str) -> Result<Made, ReconcileError> {
        let start = self.current(slot)?;
        if self.places.get(slot).is_some_and(|place| place.name == start.container) {
            return Ok(Made::Done);
        }
        let engine = self.executor.engine(&start.engine)?;
        match self.executor.sharing.make(&start, &self.executor.account(&start.engine)?) {
            Ok(()) => {}
            Err(MakeError::Directory { path, source }) => {
                return Err(ReconcileError::Directory { path, source });
            }
            // No other try fares better, until somebody mends what is declared or what is there.
            Err(error @ (MakeError::Foreign { .. } | MakeError::NoLists { .. })) => {
                return Ok(Made::Refused(chain(&error)));
            }
        }
        let identity = Identity::from_pem(start.identity.reveal()).map_err(ReconcileError::Identity)?;
        let spec = container_spec(
            &self.executor.cluster,
            self.instance,
            slot,
            &start,
            image,
            identity.certificate_pem(),
        );
        let mut spec = match spec {
            Ok(spec) => spec,
            Err(error) => return Ok(Made::Refused(chain(&error))),
        };
        self.made = Making::default();
        if start.recipe.container.mlock && spec.security.no_new_privileges {
            let user = engine.inspect_image(image).await?.map(|image| image.user).unwrap_or_default();
            if !trial::is_root(&user) {
                spec.security.no_new_privileges = false;
                self.made.gains_privileges = Some(GainsBecause::Mlock);
            }
        } else if !spec.security.no_new_privileges {
            self.made.gains_privileges = Some(GainsBecause::Declared);
        }
        let began = Instant::now();
        let id = match engine.create(&start.container, &spec).await {
            Ok(Created::Created { id, warnings }) => {
                for warning in warnings {
                    tracing::warn!(container = start.container, warning, "the engine warns");
                    self.executor.book.event(
                        self.instance,
                        EventType::Warning,
                        "EngineWarning",
                        warning.clone(),
                    );
                    self.made.ignored.push(warning);
                }
                id
            }
            Ok(Created::AlreadyExists) => {
                let Some(id) = self.ours(&*engine, slot, &start).await? else {
                    let name = &start.container;
                    let message = format!("the name {name} is taken by a container that is not ours");
                    return Ok(Made::Refused(message));
                };
                id
            }
            Err(error) => {
                if error.kind == ErrorKind::NoSuchImage {
                    self.executor.engines.doubt_images(&start.engine.id);
                }
                return refused(error);
            }
        };
        self.create_took = began.elapsed();
        let place = Place { engine: start.engine, id, name: start.container };
        self.places.insert(slot.clone(), place);
        Ok(Made::Done)
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

    pub(super) async fn start(&mut self, slot: &SlotName) -> Result<Made, ReconcileError> {
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
                    start.made = self.made.clone();
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
                Ok(Made::Done)
            }
            Ok(Started::NotFound) => Err(ReconcileError::Vanished(start.container)),
            Err(error) => refused(error),
        }
    }

    /// Stores that the current start failed. The answer is when the next may come.
    pub(super) async fn start_failed(
        &self,
        slot: &SlotName,
        message: String,
    ) -> Result<Timestamp, ReconcileError> {
        let start = self.current(slot)?;
        let now = self.executor.clock.now();
        let failures = self.executor.state.slot(self.instance, slot).failures;
        let (end, retry_at) = plan::start_failed(&start, message, failures, now, self.situation.random);
        let edit = self.situation.targets.get(slot).map(|target| target.edit).unwrap_or_default();
        self.record_end(slot, &end, retry_at, edit, None).await?;
        Ok(retry_at)
    }

    /// The outgoing start of a slot, and its container.
    fn outgoing(&self, slot: &SlotName) -> Result<(Start, Place), ReconcileError> {
        let sight = self.situation.slots.get(slot).ok_or(ReconcileError::NoStart)?;
        let start = sight.stored.outgoing.as_deref().cloned().ok_or(ReconcileError::NoStart)?;
        let container = sight.containers.iter().find(|found| found.name == start.container);
        let place = container.ok_or(ReconcileError::NoStart)?.place();
        Ok((start, place))
    }

    fn place(&self, slot: &SlotName) -> Result<Place, ReconcileError> {
        self.places.get(slot).cloned().ok_or(ReconcileError::NoStart)
    }

    pub(super) fn converse(&self, slot: &SlotName, which: Which) -> Result<(), ReconcileError> {
        let (start, place) = match which {
            Which::Current => (self.current(slot)?, self.place(slot)?),
            Which::Outgoing => self.outgoing(slot)?,
        };
        let engine = self.executor.engine(&place.engine)?;
        let sight = self.situation.slots.get(slot);
        let seen = sight.and_then(|sight| sight.containers.iter().find(|found| found.name == place.name));
        let image = match (seen, self.situation.targets.get(slot).map(|target| &target.image)) {
            (Some(container), _) => container.image_id.clone(),
            // One that was made just now is of the wanted image.
            (None, Some(ImageSight::Found { id })) => id.clone(),
            (None, _) => return Err(ReconcileError::NoStart),
        };
        let (instance, slot) = (self.instance.clone(), slot.clone());
        let Start { number, recipe, directory, group, identity, handshake, ready_at, .. } = start;
        let start = number;
        self.executor.sessions.begin(Opening {
            instance,
            slot,
            place,
            engine,
            image,
            start,
            recipe,
            directory,
            group,
            identity,
            handshake,
            ready_at,
        });
        Ok(())
    }

    /// Ends a container: `Shutdown`, SIGTERM, SIGKILL, each with its time.
    pub(super) async fn halt(&self, place: &Place) -> Result<(), ReconcileError> {
        let engine = self.executor.engine(&place.engine)?;
        let conversation = self.executor.sessions.conversation(place);
        if conversation.is_none() {
            // One that stood in a moment would lead hosts there.
            self.executor.sessions.end(place);
        }
        // It was idle when it was looked at. If hosts were led to it since, those who are being served are served first.
        self.executor.gateway.withdraw(place);
        self.executor.gateway.drained(place).await;
        if let Some(conversation) = conversation {
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

    pub(super) async fn remove(
        &self,
        slot: &SlotName,
        place: &Place,
        keep_output: bool,
    ) -> Result<(), ReconcileError> {
        let engine = self.executor.engine(&place.engine)?;
        self.keep_words(slot, place, keep_output).await?;
        self.executor.sessions.end(place);
        match engine.remove(&place.id).await? {
            Removed::Removed | Removed::NotFound | Removed::InProgress => {}
        }
        self.executor.state.forget_broker(&place.id);
        remove_directory(&self.directory(slot, place))?;
        tracing::info!(container = place.name, "removed");
        Ok(())
    }

    /// The directory of a container. Of one that nobody remembers it is our own: another is swept when the controller starts.
    fn directory(&self, slot: &SlotName, place: &Place) -> PathBuf {
        let stored = self.executor.state.slot(self.instance, slot);
        let mut starts = stored.current.iter().chain(stored.outgoing.as_deref());
        let start = starts.find(|start| start.container == place.name);
        start.map_or_else(
            || self.executor.sharing.directory.join(&place.name),
            |start| start.directory.clone(),
        )
    }
}

/// An engine's error about a start: its own trouble, or the start's end.
fn refused(error: EngineError) -> Result<Made, ReconcileError> {
    match error.kind {
        ErrorKind::Refused | ErrorKind::NoSuchSource | ErrorKind::Internal | ErrorKind::Conflict => {
            Ok(Made::Refused(chain(&error)))
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

/// Resolves when a container has ended, or cannot be asked.
async fn ended(engine: &dyn Engine, id: &ContainerId) {
    while let Ok(Some(container)) = engine.inspect(id.as_str()).await {
        if !matches!(container.state, ContainerState::Running { .. }) {
            return;
        }
        sleep(END_POLL).await;
    }
}
