//! What a simulated plugin is for: to say who answers, and with which priming.
//!
//! | method of `simulated.Plugin` | answer |
//! | --- | --- |
//! | `Initialize` | empty; the message is kept as the value of the request's `multiplex_id` |
//! | `Call` | the container's ID, a newline and the value; `FAILED_PRECONDITION` without one where it is needed |
//!
//! A request with the header `call-id` is noted in the [`Ledger`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use go_plugin::external::tonic::Code;
use plugward::plugin::{UnaryAnswer, UnaryCall};
use plugward_engine::ContainerId;
use plugward_engine::simulated::StartedContainer;

/// Primes the plugin.
pub const INITIALIZE: &str = "/simulated.Plugin/Initialize";

/// Asks who answers.
pub const CALL: &str = "/simulated.Plugin/Call";

/// The header that names a request for the [`Ledger`].
pub const CALL_ID: &str = "call-id";

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
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Vec<Served>>>>);

/// A process's mind.
pub(super) struct Application {
    kind: Kind,
    container: ContainerId,
    start: u32,
    /// Without `multiplex_id` where the plugin does not multiplex.
    values: BTreeMap<Option<String>, Vec<u8>>,
    ledger: Ledger,
}

// === impl Ledger ===

impl Ledger {
    /// What became of one request: nothing, if no plugin saw it.
    pub fn of(&self, call_id: &str) -> Vec<Served> {
        self.all().remove(call_id).unwrap_or_default()
    }

    /// What became of all.
    pub fn all(&self) -> BTreeMap<String, Vec<Served>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, call_id: String, served: Served) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(call_id).or_default().push(served);
    }
}

// === impl Application ===

impl Application {
    pub(super) fn new(kind: Kind, container: &StartedContainer, ledger: Ledger) -> Self {
        Self {
            kind,
            container: container.id.clone(),
            start: container.start,
            values: BTreeMap::new(),
            ledger,
        }
    }

    pub(super) fn answer(&mut self, call: &UnaryCall) -> UnaryAnswer {
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

fn metadata(call: &UnaryCall, key: &str) -> Vec<String> {
    let values = call.metadata.iter().filter(|(other, _)| other == key);
    values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn ok(message: Vec<u8>) -> UnaryAnswer {
    UnaryAnswer { code: Code::Ok.into(), status_message: String::new(), message: message.into() }
}

fn error(code: Code, status_message: &str) -> UnaryAnswer {
    UnaryAnswer {
        code: code.into(),
        status_message: status_message.to_owned(),
        message: Vec::new().into(),
    }
}
