//! What a simulated plugin is for: to say who answers, with which priming, and whose server it can reach.
//!
//! | method of `simulated.Plugin` | answer |
//! | --- | --- |
//! | `Initialize` | empty; the message is kept as the value of the request's `multiplex_id` |
//! | `Call` | lines: the container's ID, the value, and the name of a host's server if there is one to ask; `FAILED_PRECONDITION` without a value where it is needed |
//!
//! A backend is primed by `Setup` and `Initialize` of `pb.Backend` until `Cleanup`. At `Setup` it connects to the server that the host offers,
//! and keeps that connection for its calls. Any other plugin is told of a server by the header `server` of a call, for that alone.
//!
//! A request with the header `call-id` is noted in the [`Ledger`]. With the header `work`, in milliseconds, its answer takes so long after it
//! was decided.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use go_plugin::external::prost::Message;
use go_plugin::external::tonic::Code;
use plugward::names::label;
use plugward::plugin::{UnaryAnswer, UnaryCall};
use plugward_engine::ContainerId;
use plugward_engine::simulated::StartedContainer;

use super::broker::Connection;
use super::ledger::{Ledger, Outcome, Served};

/// Primes the plugin.
pub const INITIALIZE: &str = "/simulated.Plugin/Initialize";

/// Asks who answers.
pub const CALL: &str = "/simulated.Plugin/Call";

/// Gives a backend its host's server.
pub const SETUP: &str = "/pb.Backend/Setup";

/// Primes a backend.
pub const INITIALIZE_BACKEND: &str = "/pb.Backend/Initialize";

/// Undoes both.
pub const CLEANUP: &str = "/pb.Backend/Cleanup";

/// The header that says the number of a server for one call.
pub const SERVER: &str = "server";

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
    /// What for it uses its broker.
    pub callbacks: Callbacks,
}

/// When a plugin calls its host back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Callbacks {
    /// Never.
    #[default]
    None,
    /// At each call, over the connection that it made when it was set up: it is a backend.
    Kept,
    /// At each call that says a number, over a connection of its own.
    Each,
}

/// `pb.SetupArgs`, as far as it is understood here.
#[derive(Clone, PartialEq, Message)]
pub struct SetupArgs {
    /// The number of the host's server.
    #[prost(uint32, tag = "1")]
    pub broker_id: u32,
}

/// A process's mind.
pub(super) struct Application {
    kind: Kind,
    container: ContainerId,
    start: u32,
    slot: (String, String),
    process: u64,
    /// Without `multiplex_id` where the plugin does not multiplex.
    users: BTreeMap<Option<String>, User>,
    ledger: Ledger,
}

/// What one user has told the plugin.
#[derive(Default)]
struct User {
    value: Option<Vec<u8>>,
    storage: Option<Storage>,
    /// When that was last undone.
    ended: u64,
}

/// A connection to its host's server, and when the call was decided that gave it.
struct Storage {
    connection: Arc<Connection>,
    at: u64,
}

/// What is to be done about a request.
pub(super) enum Decision {
    /// It is answered.
    Answer(UnaryAnswer),
    /// This server is to be connected to, and kept for this user.
    SetUp { user: Option<String>, number: u32, at: u64 },
    /// The host's server is to be asked; what it says goes to the end of this answer.
    Ask { whom: Whom, answer: Vec<u8> },
}

/// Which of a host's servers is to be asked.
pub(super) enum Whom {
    Kept(Arc<Connection>),
    Number(u32),
}

/// How a request came to the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// The number of the host's connection, if it is not the controller's own.
    pub(super) connection: Option<u64>,
    /// When it was made, or its connection was.
    pub(super) asked: u64,
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
            users: BTreeMap::new(),
            ledger,
        }
    }

    /// Its process, by the ledger's number.
    pub(super) const fn process(&self) -> u64 {
        self.process
    }

    /// Its container.
    pub(super) const fn container(&self) -> &ContainerId {
        &self.container
    }

    /// Decides about a request.
    pub(super) fn decide(&mut self, call: &UnaryCall, arrival: Arrival) -> Decision {
        let multiplex_id = if self.kind.multiplexes { metadata(call, "multiplex_id") } else { Vec::new() };
        let at = self.ledger.moment();
        let decision = self.decision(call, &multiplex_id, at);
        if let [call_id] = metadata(call, CALL_ID).as_slice() {
            let outcome = match &decision {
                Decision::Answer(answer) if answer.code == Code::FailedPrecondition as i32 => {
                    Outcome::Unprimed
                }
                Decision::Answer(answer) if !answer.is_ok() => Outcome::Mistaken,
                _ => Outcome::Answered,
            };
            let served = Served {
                container: self.container.clone(),
                start: self.start,
                slot: self.slot.clone(),
                process: self.process,
                connection: arrival.connection.unwrap_or(self.process),
                asked: arrival.asked,
                at,
                path: call.path.clone(),
                multiplex_id: multiplex_id.into_iter().next(),
                outcome,
            };
            self.ledger.note(call_id.clone(), served);
        }
        decision
    }

    fn decision(&mut self, call: &UnaryCall, multiplex_id: &[String], at: u64) -> Decision {
        let is_backend = self.kind.callbacks == Callbacks::Kept;
        match call.path.as_str() {
            MULTIPLEXING_SUPPORT if self.kind.multiplexes => return ok(SUPPORTED.to_vec()),
            SETUP | INITIALIZE_BACKEND | CLEANUP if is_backend => {}
            INITIALIZE if !is_backend => {}
            CALL => {}
            _ => return error(Code::Unimplemented, "unknown method"),
        }
        let id = match multiplex_id {
            [] if !self.kind.multiplexes => None,
            [id] => Some(id.clone()),
            _ => return error(Code::InvalidArgument, "exactly one multiplex_id is needed"),
        };
        match call.path.as_str() {
            SETUP => match SetupArgs::decode(call.message.as_slice()) {
                Ok(SetupArgs { broker_id: number }) => Decision::SetUp { user: id, number, at },
                Err(_) => error(Code::Internal, "no SetupArgs"),
            },
            CLEANUP => {
                self.users.insert(id, User { ended: at, ..User::default() });
                ok(Vec::new())
            }
            CALL => self.called(call, id.as_ref()),
            _ => {
                let user = self.users.entry(id).or_default();
                if is_backend && user.storage.is_none() {
                    return error(Code::FailedPrecondition, "not set up");
                }
                user.value = Some(call.message.to_vec());
                ok(Vec::new())
            }
        }
    }

    fn called(&self, call: &UnaryCall, id: Option<&String>) -> Decision {
        let user = self.users.get(&id.cloned());
        let value = user.and_then(|user| user.value.as_deref());
        if value.is_none() && self.kind.needs_priming {
            return error(Code::FailedPrecondition, "not initialized");
        }
        let answer = [self.container.as_str().as_bytes(), b"\n", value.unwrap_or_default()].concat();
        let kept = user.and_then(|user| user.storage.as_ref());
        let kept = kept.map(|storage| Whom::Kept(storage.connection.clone()));
        let number = metadata(call, SERVER).first().and_then(|number| number.parse().ok());
        let number = number.filter(|_| self.kind.callbacks == Callbacks::Each);
        match kept.or(number.map(Whom::Number)) {
            Some(whom) => Decision::Ask { whom, answer: [answer, b"\n".to_vec()].concat() },
            None => ok(answer),
        }
    }

    /// A user's host gave its server, by the call that was decided then.
    pub(super) fn set_up(&mut self, user: Option<String>, connection: Connection, at: u64) {
        let user = self.users.entry(user).or_default();
        // Connecting takes its time, and a later call may have been faster.
        if user.storage.as_ref().map_or(user.ended, |storage| storage.at) < at {
            user.storage = Some(Storage { connection: Arc::new(connection), at });
        }
    }
}

/// How long a request keeps the plugin busy.
pub(super) fn work(call: &UnaryCall) -> Duration {
    let milliseconds = metadata(call, WORK).first().and_then(|milliseconds| milliseconds.parse().ok());
    Duration::from_millis(milliseconds.unwrap_or_default())
}

/// The name of a request in the ledger.
pub(super) fn call_id(call: &UnaryCall) -> String {
    metadata(call, CALL_ID).into_iter().next().unwrap_or_default()
}

fn metadata(call: &UnaryCall, key: &str) -> Vec<String> {
    let values = call.metadata.iter().filter(|(other, _)| other == key);
    values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn ok(message: Vec<u8>) -> Decision {
    Decision::Answer(answer(message))
}

fn error(code: Code, status_message: &str) -> Decision {
    Decision::Answer(failed(code, status_message))
}

/// An answer.
pub(super) fn answer(message: Vec<u8>) -> UnaryAnswer {
    UnaryAnswer { code: Code::Ok.into(), status_message: String::new(), message: message.into() }
}

/// An answer that is an error.
pub(super) fn failed(code: Code, status_message: &str) -> UnaryAnswer {
    UnaryAnswer { code: code.into(), status_message: status_message.to_owned(), message: Vec::new().into() }
}
