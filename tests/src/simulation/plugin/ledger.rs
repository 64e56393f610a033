//! What plugins saw, and when their brokers were used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugward_engine::ContainerId;

/// A request as a plugin saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The container whose process saw it.
    pub container: ContainerId,
    /// Which start of that container it was, from 1.
    pub start: u32,
    /// The instance and the slot that the container is of.
    pub slot: (String, String),
    /// When the process began, among all that the ledger counts.
    pub process: u64,
    /// When the host's connection was made; the process's own number where it came over the controller's.
    pub connection: u64,
    /// When the request was made, as far as is known: at the earliest with its connection.
    pub asked: u64,
    /// When the request was decided.
    pub at: u64,
    /// The method's path.
    pub path: String,
    /// The `multiplex_id` that it came with, where the plugin multiplexes.
    pub multiplex_id: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a plugin made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was refused, since nobody had primed the plugin.
    Unprimed,
    /// It was refused as a mistake.
    Mistaken,
}

/// The requests that plugins saw, by their `call-id`, in order. Clones share it.
///
/// It counts what happens, one number for each process, connection and request: so it is known what came before what, which the
/// clock does not say while time stands still.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

/// What became of a process's broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerLife {
    /// The container of the process.
    pub container: ContainerId,
    /// When a controller opened it.
    pub opened: u64,
    /// When it was first told of a server.
    pub used: Option<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    served: BTreeMap<String, Vec<Served>>,
    /// By process.
    brokers: BTreeMap<u64, BrokerLife>,
    moments: u64,
}

// === impl Ledger ===

impl Ledger {
    /// What became of one request: nothing, if no plugin saw it.
    pub fn of(&self, call_id: &str) -> Vec<Served> {
        self.entries().served.get(call_id).cloned().unwrap_or_default()
    }

    /// What became of all.
    pub fn all(&self) -> BTreeMap<String, Vec<Served>> {
        self.entries().served.clone()
    }

    /// The number of what happens now.
    pub fn moment(&self) -> u64 {
        let mut entries = self.entries();
        entries.moments += 1;
        entries.moments
    }

    /// The brokers that were ever opened, by their processes.
    pub fn brokers(&self) -> BTreeMap<u64, BrokerLife> {
        self.entries().brokers.clone()
    }

    /// A controller opens the broker of a process.
    pub(super) fn broker_opened(&self, process: u64, container: &ContainerId) {
        let opened = self.moment();
        let life = BrokerLife { container: container.clone(), opened, used: None };
        self.entries().brokers.entry(process).or_insert(life);
    }

    /// A process is told of a server.
    pub(super) fn broker_used(&self, process: u64) {
        let used = self.moment();
        if let Some(life) = self.entries().brokers.get_mut(&process) {
            life.used.get_or_insert(used);
        }
    }

    pub(super) fn note(&self, call_id: String, served: Served) {
        self.entries().served.entry(call_id).or_default().push(served);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
