//! The book of statuses: what is told of each record, with the memory that conditions and events need.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plugward_api::status::{EventType, RecordedEvent};
use plugward_api::{Condition, InstanceStatus, Kind, Name, Phase, RestartReason, RuntimeStatus, SlotStatus};
use tokio::sync::{Notify, broadcast};

use super::verdict::Verdict;
use crate::clock::Clock;
use crate::metrics::{Metrics, Standing};
use crate::state::{State, StateError, Statuses};

/// Recent events kept of an instance.
const EVENTS_KEPT: usize = 32;

/// Names of changed records that are kept for those who watch. Who misses some looks at all.
const NEWS_KEPT: usize = 256;

/// How long changes are gathered before they are written.
const WRITE_DELAY: Duration = Duration::from_millis(250);

/// Statuses written together: enough to share a flush of the disk, few enough to be copied.
const WRITTEN_AT_ONCE: usize = 512;

/// How long to wait after a failed write.
const WRITE_RETRY: Duration = Duration::from_secs(5);

/// The statuses of all records. Clones share them.
#[derive(Clone)]
pub struct Book {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    metrics: Metrics,
    pages: Mutex<Pages>,
    changed: Notify,
    news: broadcast::Sender<(Kind, Name)>,
}

struct Pages {
    statuses: Statuses,
    dirty: BTreeSet<(Kind, Name)>,
}

/// Pages that are to be written.
#[derive(Default)]
struct Changes {
    dirty: BTreeSet<(Kind, Name)>,
    instances: Vec<(Name, InstanceStatus)>,
    runtimes: Vec<(Name, RuntimeStatus)>,
    gone: Vec<(Kind, Name)>,
}

// === impl Book ===

impl Book {
    /// A book that goes on from what an earlier controller left.
    pub fn new(clock: Clock, metrics: Metrics, statuses: Statuses) -> Self {
        let pages = Mutex::new(Pages { statuses, dirty: BTreeSet::new() });
        let news = broadcast::Sender::new(NEWS_KEPT);
        Self { shared: Arc::new(Shared { clock, metrics, pages, changed: Notify::new(), news }) }
    }

    /// The names of the records of which something is told anew, from now on.
    pub fn news(&self) -> broadcast::Receiver<(Kind, Name)> {
        self.shared.news.subscribe()
    }

    /// Tells those who watch to look at a record.
    pub fn tell(&self, kind: Kind, name: &Name) {
        // That nobody watches is no failure.
        let _ = self.shared.news.send((kind, name.clone()));
    }

    /// Notes something that happened to an instance. The same thing again is counted.
    pub fn event(
        &self,
        instance: &Name,
        event_type: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let now = self.shared.clock.now();
        let message = message.into();
        self.change(instance, |status| {
            let same = |event: &&mut RecordedEvent| {
                event.event_type == event_type && event.reason == reason && event.message == message
            };
            if let Some(event) = status.events.iter_mut().find(same) {
                event.count += 1;
                event.last_seen = now;
            } else {
                status.events.push(RecordedEvent {
                    event_type,
                    reason: reason.into(),
                    message: message.clone(),
                    count: 1,
                    first_seen: now,
                    last_seen: now,
                });
            }
            status.events.sort_by_key(|event| event.last_seen);
            let surplus = status.events.len().saturating_sub(EVENTS_KEPT);
            status.events.drain(..surplus);
        });
    }

    /// Counts a restart.
    pub fn restarted(&self, instance: &Name, reason: RestartReason) {
        self.shared.metrics.restarted(instance, reason);
    }

    /// Writes down how an instance stands.
    pub fn conclude(&self, instance: &Name, generation: u64, verdict: Verdict, slots: Vec<SlotStatus>) {
        let now = self.shared.clock.now();
        self.change(instance, |status| {
            status.phase = verdict.phase;
            status.observed_generation = generation;
            status.slots = slots;
            let told: Vec<_> = verdict.conditions.iter().map(|finding| finding.condition).collect();
            status.conditions.keep(&told);
            for finding in verdict.conditions {
                status.conditions.set(Condition {
                    condition_type: finding.condition,
                    status: finding.status,
                    reason: finding.reason.into(),
                    message: finding.message,
                    last_transition_time: now,
                    observed_generation: generation,
                });
            }
        });
    }

    /// Changes the status of a runtime.
    pub fn conclude_runtime(&self, runtime: &Name, change: impl FnOnce(&mut RuntimeStatus)) {
        let mut pages = self.lock();
        let status = pages.statuses.runtimes.entry(runtime.clone()).or_default();
        let before = status.clone();
        change(status);
        if *status != before {
            pages.dirty.insert((Kind::PluginRuntime, runtime.clone()));
            drop(pages);
            self.tell(Kind::PluginRuntime, runtime);
            self.shared.changed.notify_one();
        }
    }

    /// Tears out the page of a record that is gone, and its series.
    pub fn forget(&self, kind: Kind, name: &Name) {
        let mut pages = self.lock();
        let known = match kind {
            Kind::PluginInstance => pages.statuses.instances.remove(name).is_some(),
            Kind::PluginRuntime => pages.statuses.runtimes.remove(name).is_some(),
        };
        if known {
            pages.dirty.insert((kind, name.clone()));
        }
        drop(pages);
        if kind == Kind::PluginInstance {
            self.shared.metrics.forget_instance(name);
        }
        self.tell(kind, name);
        self.shared.changed.notify_one();
    }

    /// The status of an instance.
    pub fn instance(&self, name: &Name) -> Option<InstanceStatus> {
        self.lock().statuses.instances.get(name).cloned()
    }

    /// How all instances stand, for those who count.
    pub fn standings(&self) -> Vec<Standing> {
        let now = self.shared.clock.now();
        self.lock().statuses.instances.iter().map(|(name, status)| Standing::of(name, status, now)).collect()
    }

    /// The phase of an instance.
    pub fn phase(&self, name: &Name) -> Option<Phase> {
        self.lock().statuses.instances.get(name).map(|status| status.phase)
    }

    /// The status of a runtime.
    pub fn runtime(&self, name: &Name) -> Option<RuntimeStatus> {
        self.lock().statuses.runtimes.get(name).cloned()
    }

    /// The instances that have a status.
    pub fn instances(&self) -> Vec<Name> {
        self.lock().statuses.instances.keys().cloned().collect()
    }

    /// The runtimes that have a status.
    pub fn runtimes(&self) -> Vec<Name> {
        self.lock().statuses.runtimes.keys().cloned().collect()
    }

    /// Writes changes to the state directory until it is dropped.
    pub async fn keep(self, state: State) {
        loop {
            self.shared.changed.notified().await;
            tokio::time::sleep(WRITE_DELAY).await;
            let book = self.clone();
            let to = state.clone();
            let written = tokio::task::spawn_blocking(move || book.write(&to)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(error = crate::errors::chain(&error), "statuses cannot be stored");
                tokio::time::sleep(WRITE_RETRY).await;
                self.shared.changed.notify_one();
            }
        }
    }

    /// Writes what has changed. What cannot be written is tried again by the next call.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        loop {
            let changes = self.take_changes();
            if changes.dirty.is_empty() {
                return Ok(());
            }
            if let Err(error) = changes.write(state) {
                self.lock().dirty.extend(changes.dirty);
                return Err(error);
            }
        }
    }

    fn take_changes(&self) -> Changes {
        let mut pages = self.lock();
        let rest = pages.dirty.iter().nth(WRITTEN_AT_ONCE).cloned();
        let later = rest.map(|first| pages.dirty.split_off(&first)).unwrap_or_default();
        let mut changes = Changes { dirty: std::mem::replace(&mut pages.dirty, later), ..Changes::default() };
        for (kind, name) in &changes.dirty {
            match kind {
                Kind::PluginInstance => match pages.statuses.instances.get(name) {
                    Some(status) => changes.instances.push((name.clone(), status.clone())),
                    None => changes.gone.push((*kind, name.clone())),
                },
                Kind::PluginRuntime => match pages.statuses.runtimes.get(name) {
                    Some(status) => changes.runtimes.push((name.clone(), status.clone())),
                    None => changes.gone.push((*kind, name.clone())),
                },
            }
        }
        changes
    }

    fn change(&self, instance: &Name, change: impl FnOnce(&mut InstanceStatus)) {
        let mut pages = self.lock();
        let status = pages.statuses.instances.entry(instance.clone()).or_default();
        let before = status.clone();
        change(status);
        if *status != before {
            pages.dirty.insert((Kind::PluginInstance, instance.clone()));
            drop(pages);
            self.tell(Kind::PluginInstance, instance);
            self.shared.changed.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pages> {
        // Statuses are for looking at: one that a panic left half changed is corrected by the next reconcile.
        self.shared.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Changes ===

impl Changes {
    fn write(&self, state: &State) -> Result<(), StateError> {
        state.save_statuses(Kind::PluginInstance, &self.instances)?;
        state.save_statuses(Kind::PluginRuntime, &self.runtimes)?;
        self.gone.iter().try_for_each(|(kind, name)| state.forget_status(*kind, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> (Book, Name) {
        (Book::new(Clock::System, Metrics::new().unwrap(), Statuses::default()), "orders".parse().unwrap())
    }

    #[test]
    fn the_same_event_again_is_counted() {
        let (book, orders) = book();
        for _ in 0..3 {
            book.event(&orders, EventType::Warning, "BackOff", "waits");
        }
        book.event(&orders, EventType::Normal, "Ready", "ready");
        let events = book.instance(&orders).unwrap().events;
        let counts: Vec<_> = events.iter().map(|event| (&*event.reason, event.count)).collect();
        assert_eq!(counts, [("BackOff", 3), ("Ready", 1)]);
    }

    #[test]
    fn old_events_make_room_for_new_ones() {
        let (book, orders) = book();
        for number in 0..100 {
            book.event(&orders, EventType::Normal, "Started", format!("start {number}"));
        }
        let events = book.instance(&orders).unwrap().events;
        assert_eq!(events.len(), EVENTS_KEPT);
        assert_eq!(events.last().unwrap().message, "start 99");
    }

    #[test]
    fn however_many_have_changed_all_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let (book, _) = book();
        let many = 2 * WRITTEN_AT_ONCE + 1;
        for number in 0..many {
            let name: Name = format!("number-{number}").parse().unwrap();
            book.event(&name, EventType::Normal, "Ready", "ready");
        }
        book.write(&state).unwrap();
        assert_eq!(state.statuses().unwrap().instances.len(), many);
    }

    #[test]
    fn statuses_outlive_the_controller_and_go_with_their_record() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let (book, orders) = book();
        book.event(&orders, EventType::Normal, "Ready", "ready");
        book.write(&state).unwrap();
        assert_eq!(state.statuses().unwrap().instances.get(&orders), book.instance(&orders).as_ref());

        book.forget(Kind::PluginInstance, &orders);
        book.write(&state).unwrap();
        assert!(state.statuses().unwrap().instances.is_empty());
    }
}
