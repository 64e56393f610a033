//! The state of a simulated engine, and how a call goes through it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::containers::{Containers, Entry, State};
use super::events::Events;
use super::fault::{Disturbance, Fault, Faults};
use super::images::Images;
use super::process::End;
use super::registry::Published;
use super::script::{Script, StartedContainer};
use super::settings::Settings;
use crate::container::{ContainerId, Exit};
use crate::error::{EngineError, ErrorKind, Operation};
use crate::event::{Event, EventKind};

/// What all handles of one engine share.
pub(super) struct Shared {
    world: Mutex<World>,
    life: watch::Sender<Life>,
}

/// Everything that the engine knows.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) random: StdRng,
    pub(super) engine_id: String,
    pub(super) images: Images,
    pub(super) published: Published,
    pub(super) containers: Containers,
    pub(super) events: Events,
    pub(super) faults: Faults,
    pub(super) calls: BTreeMap<Operation, u64>,
    pub(super) next_starts: Vec<(Matcher, Script)>,
    pub(super) next_pid: u32,
    epoch: Instant,
    last_time: Timestamp,
}

/// Chooses the start that a script was meant for.
pub(super) type Matcher = Box<dyn Fn(&StartedContainer) -> bool + Send>;

/// One run of the engine's daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// Counts the daemon's starts.
    pub(super) run: u64,
    pub(super) condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Up,
    /// Accepts calls and answers none.
    Frozen,
    Down,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        let mut random = StdRng::seed_from_u64(settings.seed);
        let engine_id = settings.engine_id.clone().unwrap_or_else(|| hexadecimal(&mut random, 40));
        let (life, _) = watch::channel(Life { run: 0, condition: Condition::Up });
        Self {
            world: Mutex::new(World {
                last_time: settings.started_at,
                epoch: Instant::now(),
                settings,
                random,
                engine_id,
                images: Images::default(),
                published: Published::default(),
                containers: Containers::default(),
                events: Events::default(),
                faults: Faults::default(),
                calls: BTreeMap::new(),
                next_starts: Vec::new(),
                next_pid: 1000,
            }),
            life,
        }
    }

    /// Never held over an await.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_life(&self, change: impl FnOnce(&mut Life)) {
        self.life.send_modify(change);
    }

    pub(super) fn condition(&self) -> Condition {
        self.life.borrow().condition
    }

    /// Ends when the daemon that runs now has ended.
    pub(super) fn end_of_run(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut life = self.life.subscribe();
        let run = life.borrow().run;
        async move {
            // The sender lives as long as anybody can ask.
            let _ = life.wait_for(|life| life.run != run || life.condition == Condition::Down).await;
        }
    }

    async fn thawed(&self) {
        let _ = self.life.subscribe().wait_for(|life| life.condition != Condition::Frozen).await;
    }

    /// One call: its faults, its time, its effect. `limit` is the caller's business.
    pub(super) async fn perform<T>(
        self: Arc<Self>,
        operation: Operation,
        subject: String,
        effect: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        let fail = |kind: ErrorKind, message: &str| {
            Err(EngineError { operation, subject: subject.clone(), kind, message: message.to_owned() })
        };
        let (fault, latency) = {
            let mut world = self.world();
            *world.calls.entry(operation).or_default() += 1;
            let World { faults, random, .. } = &mut *world;
            (faults.of_call(operation, random), world.latency(operation))
        };
        if self.condition() == Condition::Down {
            return fail(ErrorKind::Unreachable, "the simulated engine is down");
        }
        let ended = self.end_of_run();
        let course = async {
            self.thawed().await;
            match fault {
                Some(Fault::FailBefore(kind)) => return fail(kind, "a fault before the effect"),
                Some(Fault::HangBefore) => std::future::pending().await,
                Some(Fault::Slow { before, .. }) => pass(before).await,
                _ => {}
            }
            pass(latency).await;
            let result = effect.await;
            match fault {
                Some(Fault::FailAfter(kind)) => return fail(kind, "a fault after the effect"),
                Some(Fault::HangAfter) => std::future::pending().await,
                Some(Fault::Slow { after, .. }) => pass(after).await,
                _ => {}
            }
            result
        };
        tokio::select! {
            biased;
            () = ended => fail(ErrorKind::Unreachable, "the simulated engine went down during the call"),
            result = course => result,
        }
    }

    /// Tells of something, with what chance and the test have in mind for it.
    pub(super) fn publish(self: &Arc<Self>, world: &mut World, kind: EventKind) {
        if self.condition() == Condition::Down {
            return;
        }
        let event = Event { at: world.now(), kind };
        world.events.remember(event.clone());
        let World { faults, random, events, .. } = world;
        let disturbance = faults.of_event(random);
        if disturbance == Some(Disturbance::Lose) {
            return;
        }
        let delay = match disturbance {
            Some(Disturbance::Delay(time)) => time,
            _ => Duration::ZERO,
        };
        if delay.is_zero() && self.condition() == Condition::Up {
            events.tell(&event);
            if disturbance == Some(Disturbance::Duplicate) {
                events.tell(&event);
            }
            return;
        }
        let shared = Arc::clone(self);
        let ended = self.end_of_run();
        tokio::spawn(async move {
            let told = async {
                pass(delay).await;
                shared.thawed().await;
                shared.world().events.tell(&event);
            };
            tokio::select! {
                biased;
                () = ended => {}
                () = told => {}
            }
        });
    }

    pub(super) fn publish_container(self: &Arc<Self>, world: &mut World, id: &ContainerId, action: &str) {
        let Some(labels) = world.containers.get(id).map(|entry| entry.spec.labels.clone()) else { return };
        self.publish(world, EventKind::Container { id: id.clone(), labels, action: action.to_owned() });
    }

    /// The process of a container's nth start has ended.
    pub(super) fn process_ended(self: &Arc<Self>, id: &ContainerId, start: u32, end: End) {
        let mut world = self.world();
        let finished_at = world.now();
        let Some(entry) = world.containers.get_mut(id) else { return };
        if entry.starts != start || !entry.end(end, finished_at) {
            return;
        }
        if end.oom_killed {
            self.publish_container(&mut world, id, "oom");
        }
        self.publish_container(&mut world, id, "die");
    }
}

// === impl World ===

impl World {
    /// The engine's time. No two readings are the same, as with a clock of nanoseconds.
    pub(super) fn now(&mut self) -> Timestamp {
        let elapsed = Instant::now().saturating_duration_since(self.epoch);
        let time = self.settings.started_at.saturating_add(elapsed).unwrap_or(self.last_time);
        let next = self.last_time.saturating_add(Duration::from_nanos(1)).unwrap_or(self.last_time);
        self.last_time = time.max(next);
        self.last_time
    }

    /// How long a call takes: what is usual, a fifth more or less.
    pub(super) fn latency(&mut self, operation: Operation) -> Duration {
        let usual = self.settings.latency.of(operation);
        if usual.is_zero() {
            return usual;
        }
        usual.mul_f64(self.random.random_range(0.8..1.2))
    }

    pub(super) fn new_id(&mut self) -> String {
        hexadecimal(&mut self.random, 64)
    }
}

impl Entry {
    /// Notes that the process has ended; false when none runs.
    pub(super) fn end(&mut self, end: End, finished_at: Timestamp) -> bool {
        if !matches!(self.state, State::Running { .. }) {
            return false;
        }
        let End { code, oom_killed } = end;
        self.output.finish(finished_at);
        // Drops the handle: whoever waits for the end sees the new state.
        self.state = State::Exited(Exit { code, oom_killed, error: String::new(), finished_at });
        true
    }
}

/// Lets time pass. None takes none: on a clock that runs, even the shortest sleep is a millisecond.
pub(super) async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn hexadecimal(random: &mut StdRng, digits: usize) -> String {
    (0..digits).map(|_| char::from_digit(random.random_range(0..16), 16).unwrap_or('0')).collect()
}
