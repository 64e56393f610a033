//! Why an instance is looked at. For logs and counters only: a reconcile never learns it.

use std::fmt;

use crate::engines::WakeReason;

/// Why an instance is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The controller starts.
    Start,
    /// Its record changed.
    Record,
    /// Its runtime's record changed.
    Runtime,
    /// A file that either names changed.
    File,
    /// Its engine has news.
    Engine(WakeReason),
    /// The conversation with its plugin changed.
    Session,
    /// Somebody asked for new containers.
    Renewal,
    /// Another instance handed on its turn to be replaced.
    Turn,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Record => "record",
            Self::Runtime => "runtime",
            Self::File => "file",
            Self::Engine(WakeReason::Container) => "container",
            Self::Engine(WakeReason::Image) => "image",
            Self::Engine(WakeReason::EngineUp) => "engine_up",
            Self::Engine(WakeReason::EngineDown) => "engine_down",
            Self::Engine(WakeReason::Resync) => "resync",
            Self::Session => "session",
            Self::Renewal => "renewal",
            Self::Turn => "turn",
        })
    }
}
