//! What a simulated plugin is for: to say who answers, and with which priming.
//!
//! | method of `simulated.Plugin` | answer |
//! | --- | --- |
//! | `Initialize` | empty; the message is kept as the value of the request's `multiplex_id` |
//! | `Call` | the container's ID, a newline and the value; `FAILED_PRECONDITION` without one where it is needed |
//!
//! A request with the header `call-id` is noted in the [`Ledger`]. With the header `work`, in milliseconds, its answer takes so long after it
//! was decided.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use go_plugin::external::tonic::Code;
use plugward::names::label;
use plugward::plugin::{UnaryAnswer, UnaryCall};
use plugward_engine::ContainerId;
use plugward_engine::simulated::StartedContainer;

/// Primes the plugin.
pub const INITIALIZE: &str = "/simulated.Plugin/Initialize";

/// Asks who answers.
pub const CALL: &str = "/simulated.Plugin/Call";

/// The header that names a request for the [`Ledger`].
pub const CALL_ID: &str = "call-id";

/// The header that says how long a request keeps the plugin busy, in milliseconds.
pub const WORK: &str = "work";

/// Whether a plugin multiplexes, as plugins made with Vault's SDK are asked.
pub(super) const MULTIPLEXING_SUPPORT: &str =
    "/pluginutil.multiplexing.PluginMultiplexing/MultiplexingSupport";

/// `MultiplexingSupportResponse { supported: true }`.
const SUPPORTED: &[u8] = &[0x08, 1];

/// What plugins of an instance can and need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kind {
    /// One process serves several mounts, each with its own `multiplex_id`, which then has to be there.
    pub multiplexes: bool,
    /// It answers no `Call` before an `Initialize`.
    pub needs_priming: bool,
}

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

#[derive(Debug, Default)]
struct Entries {
    served: BTreeMap<String, Vec<Served>>,
    moments: u64,
}

/// A process's mind.
pub(super) struct Application {
    kind: Kind,
    container: ContainerId,
    start: u32,
    slot: (String, String),
    process: u64,
    /// Without `multiplex_id` where the plugin does not multiplex.
    values: BTreeMap<Option<String>, Vec<u8>>,
    ledger: Ledger,
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

    fn note(&self, call_id: String, served: Served) {
        self.entries().served.entry(call_id).or_default().push(served);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Application ===

impl Application {
    pub(super) fn new(kind: Kind, container: &StartedContainer, ledger: Ledger) -> Self {
        let label = |key| container.label(key).unwrap_or_default().to_owned();
        Self {
            kind,
            container: container.id.clone(),
            start: container.start,
            slot: (label(label::INSTANCE), label(label::SLOT)),
            process: ledger.moment(),
            values: BTreeMap::new(),
            ledger,
        }
    }

    /// Answers a request that came over the connection of this number; none is the controller's own.
    pub(super) fn answer(&mut self, call: &UnaryCall, connection: Option<u64>) -> UnaryAnswer {
        let multiplex_id = if self.kind.multiplexes { metadata(call, "multiplex_id") } else { Vec::new() };
        let answer = self.decide(call, &multiplex_id);
        if let [call_id] = metadata(call, CALL_ID).as_slice() {
            let outcome = match answer.code {
                code if code == Code::Ok as i32 => Outcome::Answered,
                code if code == Code::FailedPrecondition as i32 => Outcome::Unprimed,
                _ => Outcome::Mistaken,
            };
            let served = Served {
                container: self.container.clone(),
                start: self.start,
                slot: self.slot.clone(),
                process: self.process,
                connection: connection.unwrap_or(self.process),
                at: self.ledger.moment(),
                path: call.path.clone(),
                multiplex_id: multiplex_id.into_iter().next(),
                outcome,
            };
            self.ledger.note(call_id.clone(), served);
        }
        answer
    }

    fn decide(&mut self, call: &UnaryCall, multiplex_id: &[String]) -> UnaryAnswer {
        match call.path.as_str() {
            MULTIPLEXING_SUPPORT if self.kind.multiplexes => return ok(SUPPORTED.to_vec()),
            INITIALIZE | CALL => {}
            _ => return error(Code::Unimplemented, "unknown method"),
        }
        let id = match multiplex_id {
            [] if !self.kind.multiplexes => None,
            [id] => Some(id.clone()),
            _ => return error(Code::InvalidArgument, "exactly one multiplex_id is needed"),
        };
        if call.path == INITIALIZE {
            self.values.insert(id, call.message.to_vec());
            return ok(Vec::new());
        }
        let value = self.values.get(&id);
        if value.is_none() && self.kind.needs_priming {
            return error(Code::FailedPrecondition, "not initialized");
        }
        let value = value.map_or(&[][..], Vec::as_slice);
        ok([self.container.as_str().as_bytes(), b"\n", value].concat())
    }
}

/// How long a request keeps the plugin busy.
pub(super) fn work(call: &UnaryCall) -> Duration {
    let milliseconds = metadata(call, WORK).first().and_then(|milliseconds| milliseconds.parse().ok());
    Duration::from_millis(milliseconds.unwrap_or_default())
}

fn metadata(call: &UnaryCall, key: &str) -> Vec<String> {
    let values = call.metadata.iter().filter(|(other, _)| other == key);
    values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn ok(message: Vec<u8>) -> UnaryAnswer {
    UnaryAnswer { code: Code::Ok.into(), status_message: String::new(), message: message.into() }
}

fn error(code: Code, status_message: &str) -> UnaryAnswer {
    UnaryAnswer { code: code.into(), status_message: status_message.to_owned(), message: Vec::new().into() }
}
