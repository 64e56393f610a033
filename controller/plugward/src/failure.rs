//! Why a reconcile failed.

use std::path::PathBuf;

use plugward_engine::{EngineError, ErrorKind};
use plugward_runtime::{Failure, Verdict};

use crate::state::StateError;

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// An engine did not do what it was asked.
    #[error("the engine failed")]
    Engine(#[from] EngineError),
    /// State could not be stored: nothing was done that depends on it.
    #[error("state cannot be stored")]
    State(#[from] StateError),
    /// An engine went away between looking and acting.
    #[error("engine {0} went away")]
    EngineLost(String),
    /// A container went away between two steps.
    #[error("container {0} vanished while it was being started")]
    Vanished(String),
    /// The slot holds no start, or its container is not known: a plan out of order.
    #[error("the plan does not fit what is remembered")]
    NoStart,
    /// A directory shared with a plugin could not be made or removed.
    #[error("cannot make or remove the plugin's directory {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key could not be made or read.
    #[error("cannot make or use the key of a plugin's connection")]
    Identity(#[source] go_plugin::IdentityError),
}

// === impl ReconcileError ===

impl Failure for ReconcileError {
    fn category(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.kind.as_str(),
            Self::State(error) => error.category(),
            Self::EngineLost(_) => ErrorKind::Unreachable.as_str(),
            Self::Vanished(_) => "vanished",
            Self::NoStart => "no_start",
            Self::Directory { .. } => "directory",
            Self::Identity(_) => "identity",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Retry
    }
}
