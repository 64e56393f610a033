//! Calls as hosts saw them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use go_plugin::external::tonic::Code;
use tokio::time::Instant;

use super::channel::End;
use super::launcher::Why;

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
    sessions: Vec<SessionEnd>,
    absences: Vec<Absence>,
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

/// A session that was over, and with that what its host had told and offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// Whose plugin it used.
    pub instance: &'static str,
    /// What its host has in place of a mount.
    pub mount: &'static str,
    /// When it was asked for.
    pub began: Instant,
    /// When it was over.
    pub at: Instant,
    /// Why, unless its host ended it.
    pub why: Option<Why>,
}

/// A session had no controller, and its host's calls waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// Whose plugin it used.
    pub instance: &'static str,
    /// What its host has in place of a mount.
    pub mount: &'static str,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub to: Instant,
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

    /// The sessions that are over.
    pub fn sessions(&self) -> Vec<SessionEnd> {
        self.lock().sessions.clone()
    }

    /// When sessions had no controller.
    pub fn absences(&self) -> Vec<Absence> {
        self.lock().absences.clone()
    }

    /// A session had no controller.
    pub(super) fn absence(&self, absence: Absence) {
        self.lock().absences.push(absence);
    }

    /// Calls ended.
    pub(super) fn note(&self, made: &[Made]) {
        self.lock().calls.extend_from_slice(made);
    }

    /// A host ends its client.
    pub(super) fn departs(&self, instance: &'static str, mount: &'static str) {
        self.lock().departures.push(Departure { instance, mount, at: Instant::now() });
    }

    /// A session is over.
    pub(super) fn session_ends(&self, end: SessionEnd) {
        let mut seen = self.lock();
        seen.departures.push(Departure { instance: end.instance, mount: end.mount, at: end.at });
        seen.sessions.push(end);
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
