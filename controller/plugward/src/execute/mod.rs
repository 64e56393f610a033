//! Carrying out a plan: each step is one effect, or one change of what is remembered.
//!
//! A step that fails because of what was declared (the engine refuses the container) ends the start: that is
//! recorded, and the next start waits. Any other failure ends the execution: the world is looked at again.

mod containers;
mod memory;
mod timings;
mod trial;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::join;
use jiff::Timestamp;
use plugward_api::Name;
use plugward_engine::{Engine, EngineInfo};

use self::containers::Made;
use self::memory::Prepared;
use crate::clock::Clock;
use crate::engines::Engines;
use crate::failure::ReconcileError;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::names::{ClusterId, SlotName};
use crate::plan::{self, Place, Situation, Step};
use crate::session::Sessions;
use crate::sharing::Sharing;
use crate::slot::{EngineRef, Making};
use crate::state::State;
use crate::status::Book;

pub use timings::Timings;

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
    /// What hands calls to containers.
    pub gateway: Gateway,
    /// Status, events and counters.
    pub book: Book,
    /// The time of day.
    pub clock: Clock,
    /// The directories shared with plugins.
    pub sharing: Sharing,
    /// How long the phases of starts took, by container, until they are recorded.
    pub timings: Timings,
    /// What is counted.
    pub metrics: Metrics,
}

/// The execution of one plan.
struct Run<'a> {
    executor: &'a Executor,
    instance: &'a Name,
    situation: &'a Situation,
    /// The containers of current starts, as they become known.
    places: HashMap<SlotName, Place>,
    /// A start that is being stored while its container is made.
    prepared: Option<Prepared>,
    /// How long the create of this run took.
    create_took: Duration,
    /// What is to be stored of how a container was made.
    made: Making,
    /// When to look again because something was found out.
    again: Option<Timestamp>,
}

impl Executor {
    /// Carries out steps of a plan. The answer is when to look again because a start failed, or something was found out.
    ///
    /// # Errors
    /// When an effect failed in a way that says nothing about the plugin.
    pub async fn execute(
        &self,
        instance: &Name,
        situation: &Situation,
        steps: &[Step],
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
        let mut run = Run {
            executor: self,
            instance,
            situation,
            places,
            prepared: None,
            create_took: Duration::ZERO,
            made: Making::default(),
            again: None,
        };
        let failed_until = run.steps(steps).await?;
        run.finish_prepare().await?;
        Ok(failed_until)
    }

    fn engine(&self, engine: &EngineRef) -> Result<Arc<dyn Engine>, ReconcileError> {
        self.engines.engine(&engine.id).ok_or_else(|| ReconcileError::EngineLost(engine.id.to_string()))
    }

    fn account(&self, engine: &EngineRef) -> Result<EngineInfo, ReconcileError> {
        self.engines.account(&engine.id).ok_or_else(|| ReconcileError::EngineLost(engine.id.to_string()))
    }
}

impl Run<'_> {
    async fn steps(&mut self, steps: &[Step]) -> Result<Option<Timestamp>, ReconcileError> {
        for step in steps {
            tracing::debug!(%step, "step");
            if let (Made::Refused(message), Some(slot)) = (self.step(step).await?, step.slot()) {
                return Ok(Some(self.start_failed(slot, message).await?));
            }
        }
        Ok(self.again)
    }

    async fn step(&mut self, step: &Step) -> Result<Made, ReconcileError> {
        if let Step::Create { slot, image } = step {
            // A container may be made before its start is safely stored, and nothing else be done: it does not run yet, and
            // one that nobody remembers is removed by the next plan.
            let storing = self.storing();
            let (stored, made) = join!(storing, self.create(slot, image));
            stored?;
            self.tell_prepared()?;
            return made;
        }
        self.finish_prepare().await?;
        match step {
            Step::Create { .. } => {}
            Step::RecordEnd { slot, end, retry_at, edit, container } => {
                self.record_end(slot, end, *retry_at, *edit, container.as_ref()).await?;
            }
            Step::Pull { engine, image } => self.pull(engine, image)?,
            Step::Try { engine, image, recipe } => {
                self.try_out(engine, image, recipe).await?;
                self.again = Some(self.executor.clock.now());
            }
            Step::Prepare { slot, start } => self.prepare(slot, start).await?,
            Step::Start { slot } => return self.start(slot).await,
            Step::Converse { slot, which } => self.converse(slot, *which)?,
            Step::RecordReady { slot, handshake, since } => {
                self.record_ready(slot, handshake, *since).await?;
            }
            Step::ForgetFailures { slot } => self.change(slot, |stored| stored.failures = 0).await?,
            Step::Withdraw { container } => self.executor.gateway.withdraw(container),
            Step::Halt { container } => self.halt(container).await?,
            Step::Remove { slot, container, keep_output } => {
                self.remove(slot, container, *keep_output).await?;
            }
            Step::Sleep { slot } => self.sleep(slot).await?,
            Step::Promote { slot, spare, container, number, before, retry_at, edit } => {
                let end = (before, *retry_at, *edit);
                self.promote(slot, spare, container, *number, end).await?;
            }
            Step::DropOutgoing { slot } => {
                let mut dropped = None;
                self.change(slot, |stored| dropped = stored.outgoing.take()).await?;
                self.forget_starts(dropped.as_deref())?;
            }
            Step::Forget { slot } => {
                let stored = self.executor.state.slot(self.instance, slot);
                self.executor.state.forget_slot(self.instance, slot).await?;
                self.forget_starts(stored.current.iter().chain(stored.outgoing.as_deref()))?;
            }
        }
        Ok(Made::Done)
    }
}
