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

/// Why a session does not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotBegun {
    /// The host is not let in.
    Refused(Refusal),
    /// It does not want one any more.
    Left,
}

impl From<Refusal> for NotBegun {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Refusal {
    pub(super) fn new(reason: AttachRefusal, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
