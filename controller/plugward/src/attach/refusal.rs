//! Why a host is not let in.

use crate::metrics::AttachRefusal;

/// Why a host is not let in, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// As what it is counted.
    pub(super) reason: AttachRefusal,
    /// What went wrong and what to do, in a line.
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(reason: AttachRefusal, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
