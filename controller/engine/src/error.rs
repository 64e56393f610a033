//! What can go wrong in a call to an engine.

use std::fmt;

/// A call to an engine that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {subject}: {message}")]
pub struct EngineError {
    /// The call.
    pub operation: Operation,
    /// What it was about: a container's or image's name, or the engine's address.
    pub subject: String,
    /// Whose fault, and whether trying again helps.
    pub kind: ErrorKind,
    /// The engine's own words, or ours where it gave none. Holds no secret.
    pub message: String,
}

/// The calls, as they are named in messages and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the call of that name in the port")]
pub enum Operation {
    Connect,
    Info,
    InspectImage,
    Pull,
    Create,
    Start,
    Stop,
    Kill,
    Remove,
    List,
    Inspect,
    Read,
    Stats,
    Logs,
    Events,
}

/// The closed set of causes, each with one way to deal with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No connection, or it broke during the call: whether the call took effect is unknown.
    Unreachable,
    /// No answer within the call's time: whether it took effect is unknown.
    TimedOut,
    /// The image is not on the engine or, of a pull, not in its registry.
    NoSuchImage,
    /// The engine does not know the OCI runtime, or its program is not there.
    UnknownRuntime,
    /// What is to be bound into a container is not there for the engine, or it may not look at it.
    NoSuchSource,
    /// There is no such object.
    NotFound,
    /// The object's state forbids it, or it is busy.
    Conflict,
    /// The engine will not or cannot do this, with these settings: the same call will fail again.
    Refused,
    /// The engine failed in itself (500 without a cause that we know).
    Internal,
    /// The engine is not usable by us: too old, or speaks something else.
    Incompatible,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Info,
        Self::InspectImage,
        Self::Pull,
        Self::Create,
        Self::Start,
        Self::Stop,
        Self::Kill,
        Self::Remove,
        Self::List,
        Self::Inspect,
        Self::Read,
        Self::Stats,
        Self::Logs,
        Self::Events,
    ];

    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Info => "info",
            Self::InspectImage => "inspect_image",
            Self::Pull => "pull",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Inspect => "inspect",
            Self::Read => "read",
            Self::Stats => "stats",
            Self::Logs => "logs",
            Self::Events => "events",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ErrorKind {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::NoSuchImage => "no_such_image",
            Self::UnknownRuntime => "unknown_runtime",
            Self::NoSuchSource => "no_such_source",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Internal => "internal",
            Self::Incompatible => "incompatible",
        }
    }
}
