//! Calls as hosts saw them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use go_plugin::external::tonic::Code;
use tokio::time::Instant;

use super::channel::End;

/// A call as its host saw it.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its name in the ledger.
    pub id: String,
    /// Whose plugin was called.
    pub instance: &'static str,
    /// Through which mount.
    pub mount: &'static str,
    /// The method's path.
    pub path: &'static str,
    /// Whether it was to prime the plugin, and with what.
    pub primes: Option<String>,
    /// What became of the server that it says, if it says one.
    pub server: Option<Said>,
    /// When it was begun.
    pub began: Instant,
    /// The time that it had.
    pub time: Duration,
    /// When it ended.
    pub ended: Instant,
    /// How.
    pub end: End,
    /// When it was sent.
    pub sent: Vec<Instant>,
}

/// What became of a server that a call says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It was offered.
    Offered,
    /// Its host's broker ended meanwhile.
    Lost,
    /// Its host's broker was refused before, and it was not offered at all.
    Refused {
        /// When that was known.
        since: Instant,
    },
}

/// The calls that ended. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    calls: Vec<Made>,
    departures: Vec<Departure>,
}

/// A host ended its client, and with that what it had offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// Whose plugin it used.
    pub instance: &'static str,
    /// Through which mount.
    pub mount: &'static str,
    /// When.
    pub at: Instant,
}

// === impl Calls ===

impl Calls {
    /// Those that ended so far, in the order of that.
    pub fn all(&self) -> Vec<Made> {
        self.lock().calls.clone()
    }

    /// When hosts ended their clients.
    pub fn departures(&self) -> Vec<Departure> {
        self.lock().departures.clone()
    }

    /// Calls ended.
    pub(super) fn note(&self, made: &[Made]) {
        self.lock().calls.extend_from_slice(made);
    }

    /// A host ends its client.
    pub(super) fn departs(&self, instance: &'static str, mount: &'static str) {
        self.lock().departures.push(Departure { instance, mount, at: Instant::now() });
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Made ===

impl Made {
    /// The status it ended with, if it did with one.
    pub fn code(&self) -> Option<i32> {
        match &self.end {
            End::Status { code, .. } => Some(*code),
            End::Broken(_) | End::Silent | End::Unreachable => None,
        }
    }

    /// Whether it was refused since the plugin was not primed, as far as hosts can tell.
    pub fn is_unprimed(&self) -> bool {
        self.code() == Some(Code::FailedPrecondition as i32) && !self.is_barred()
    }

    /// Whether it was refused since nobody could tell its host's servers from another's.
    pub fn is_barred(&self) -> bool {
        matches!(&self.end, End::Status { text, .. } if text.contains("their servers could not be told apart"))
    }

    /// Whether it was done.
    pub fn is_ok(&self) -> bool {
        self.code() == Some(Code::Ok as i32)
    }
}
