//! The containers of a simulated engine, found by ID, name, label and age.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::output::Output;
use super::process::Handle;
use crate::container::{Container, ContainerId, ContainerSpec, ContainerState, Exit, Listed, Phase};
use crate::usage::Usage;

/// All containers. Order is age: an engine lists the newest first, and a simulation needs one order.
#[derive(Debug, Default)]
pub(super) struct Containers {
    by_age: BTreeMap<u64, Entry>,
    by_id: BTreeMap<String, u64>,
    by_name: HashMap<String, u64>,
    by_label: HashMap<(String, String), BTreeSet<u64>>,
    next: u64,
}

/// One container.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: ContainerId,
    pub(super) name: String,
    pub(super) spec: Arc<ContainerSpec>,
    pub(super) image_id: String,
    pub(super) created_at: Timestamp,
    pub(super) state: State,
    pub(super) removing: bool,
    /// How often it was started.
    pub(super) starts: u32,
    pub(super) output: Output,
    /// Held while it is started or removed: an engine does one of them at a time.
    pub(super) busy: Arc<Mutex<()>>,
}

/// What a container does.
#[derive(Debug)]
pub(super) enum State {
    Created,
    Running {
        started_at: Timestamp,
        pid: u32,
        paused: bool,
        process: Handle,
    },
    Exited(Exit),
    /// Its only starts failed: an engine goes on listing it as created.
    NeverStarted(Exit),
}

// === impl Containers ===

impl Containers {
    pub(super) fn insert(&mut self, entry: Entry) {
        let age = self.next;
        self.next += 1;
        self.by_id.insert(entry.id.as_str().to_owned(), age);
        self.by_name.insert(entry.name.clone(), age);
        for (key, value) in &entry.spec.labels {
            self.by_label.entry((key.clone(), value.clone())).or_default().insert(age);
        }
        self.by_age.insert(age, entry);
    }

    pub(super) fn remove(&mut self, id: &ContainerId) -> Option<Entry> {
        let age = self.by_id.remove(id.as_str())?;
        let entry = self.by_age.remove(&age)?;
        self.by_name.remove(&entry.name);
        for (key, value) in &entry.spec.labels {
            let pair = (key.clone(), value.clone());
            if let Some(ages) = self.by_label.get_mut(&pair) {
                ages.remove(&age);
                if ages.is_empty() {
                    self.by_label.remove(&pair);
                }
            }
        }
        Some(entry)
    }

    pub(super) fn holds_name(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn get(&self, id: &ContainerId) -> Option<&Entry> {
        self.by_age.get(self.by_id.get(id.as_str())?)
    }

    pub(super) fn get_mut(&mut self, id: &ContainerId) -> Option<&mut Entry> {
        self.by_age.get_mut(self.by_id.get(id.as_str())?)
    }

    /// By ID, name, or the beginning of exactly one ID, in this order, as an engine does.
    pub(super) fn find(&self, reference: &str) -> Option<&Entry> {
        let age = self.by_id.get(reference).or_else(|| self.by_name.get(reference)).or_else(|| {
            let mut beginning_so = self
                .by_id
                .range(reference.to_owned()..)
                .take_while(|(id, _)| !reference.is_empty() && id.starts_with(reference));
            let first = beginning_so.next();
            if beginning_so.next().is_some() { None } else { first.map(|(_, age)| age) }
        })?;
        self.by_age.get(age)
    }

    /// Those with all of these labels, the newest first. Costs what the rarest of the labels holds.
    pub(super) fn with_labels<'a>(
        &'a self,
        labels: &'a BTreeMap<String, String>,
    ) -> Box<dyn Iterator<Item = &'a Entry> + 'a> {
        let mut rarest: Option<&BTreeSet<u64>> = None;
        for (key, value) in labels {
            let Some(ages) = self.by_label.get(&(key.clone(), value.clone())) else {
                return Box::new(std::iter::empty());
            };
            if rarest.is_none_or(|other| ages.len() < other.len()) {
                rarest = Some(ages);
            }
        }
        let Some(rarest) = rarest else { return Box::new(self.by_age.values().rev()) };
        Box::new(
            rarest.iter().rev().filter_map(|age| self.by_age.get(age)).filter(move |entry| {
                labels.iter().all(|(key, value)| entry.spec.labels.get(key) == Some(value))
            }),
        )
    }

    /// The oldest first.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.by_age.values_mut()
    }

    /// The oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_age.values()
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn listed(&self) -> Listed {
        Listed {
            id: self.id.clone(),
            name: self.name.clone(),
            labels: self.spec.labels.clone(),
            phase: match &self.state {
                _ if self.removing => Phase::Removing,
                State::Created | State::NeverStarted(_) => Phase::Created,
                State::Running { paused: false, .. } => Phase::Running,
                State::Running { paused: true, .. } => Phase::Paused,
                State::Exited(_) => Phase::Exited,
            },
        }
    }

    pub(super) fn inspected(&self) -> Container {
        Container {
            id: self.id.clone(),
            name: self.name.clone(),
            labels: self.spec.labels.clone(),
            image_id: self.image_id.clone(),
            created_at: self.created_at,
            state: match &self.state {
                _ if self.removing => ContainerState::Removing,
                state => state.seen(),
            },
        }
    }

    /// What a plugin uses that has nothing to do.
    pub(super) fn usage(&self, now: Timestamp) -> Option<Usage> {
        let State::Running { started_at, .. } = &self.state else { return None };
        let age: Duration = now.duration_since(*started_at).try_into().unwrap_or_default();
        Some(Usage {
            cpu: Some(Duration::from_millis(20) + age / 1000),
            memory: Some(9 << 20),
            pids: Some(8),
        })
    }

    pub(super) fn process(&self) -> Option<&Handle> {
        match &self.state {
            State::Running { process, .. } => Some(process),
            _ => None,
        }
    }
}

// === impl State ===

impl State {
    pub(super) fn seen(&self) -> ContainerState {
        match self {
            Self::Created => ContainerState::Created,
            Self::Running { started_at, pid, paused, .. } => {
                ContainerState::Running { started_at: *started_at, pid: *pid, paused: *paused }
            }
            Self::Exited(exit) | Self::NeverStarted(exit) => ContainerState::Exited(exit.clone()),
        }
    }
}
