//! What a session needs to outlive its controller.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A state that the controller alone can read, and for how long its successor is waited for.
#[derive(Debug)]
pub(super) struct Kept {
    state: OwnedFd,
    patience: Duration,
}

impl Kept {
    pub(super) fn new(state: OwnedFd, patience: Duration) -> Self {
        Self { state, patience }
    }

    pub(super) fn state(&self) -> BorrowedFd<'_> {
        self.state.as_fd()
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// When to give up. Never, where there is no such time.
    pub(super) fn deadline(&self, lost: Instant) -> Option<Instant> {
        lost.checked_add(self.patience)
    }
}
