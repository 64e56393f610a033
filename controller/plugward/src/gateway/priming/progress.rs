//! What one container was told of one mount.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plugward_relay::grpc::Status;

use super::kept::{Kept, KeptCall};
use super::rules::PrimingRules;
use crate::gateway::multiplex::HostId;

/// How far a container has been told what is kept of a mount.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Progress {
    hosts: BTreeMap<HostId, Told>,
    /// Whom it is being told of right now.
    under_way: BTreeSet<HostId>,
    /// Whom it was told of while a host's own call was under way that may be theirs.
    beside: BTreeSet<HostId>,
    /// Somebody is at it: there is never more than one.
    pub(in crate::gateway) running: bool,
}

#[derive(Debug)]
enum Told {
    Done { version: u64 },
    Failing { version: u64, failure: Failure },
}

/// A user's calls were made again, and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Failure {
    /// With this.
    pub(in crate::gateway) status: Status,
    /// How often, in a row.
    pub(in crate::gateway) attempts: u32,
    /// When they are made again.
    pub(in crate::gateway) again_at: Timestamp,
}

/// How a container stands with a user of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Standing<'a> {
    /// It was told all there is to tell.
    Done,
    /// It is to be told, or is being told.
    Owed,
    /// It was told, and did not take it.
    Failing(&'a Failure),
    /// What it would have to be told is not known.
    Unknown,
}

/// What to tell a container of one user.
#[derive(Debug)]
pub(in crate::gateway) struct Telling {
    /// Whose calls these are.
    pub(in crate::gateway) host: HostId,
    /// What they are the state of.
    pub(in crate::gateway) version: u64,
    /// The methods and the calls, to be made in this order.
    pub(in crate::gateway) calls: Vec<(String, Arc<KeptCall>)>,
}

// === impl Progress ===

impl Progress {
    /// How the container `serial`, of the start `start`, stands with a user.
    pub(in crate::gateway) fn standing(
        &self,
        kept: &Kept,
        host: &HostId,
        serial: u64,
        start: u64,
    ) -> Standing<'_> {
        let owed = match (kept.version(host), self.hosts.get(host)) {
            (None, _) => None,
            (Some(wanted), Some(Told::Done { version })) if *version == wanted => None,
            (Some(wanted), Some(Told::Failing { version, failure })) if *version == wanted => {
                Some(Standing::Failing(failure))
            }
            (Some(_), _) => Some(Standing::Owed),
        };
        match owed {
            Some(standing) => standing,
            None if kept.knows(host, serial, start) => Standing::Done,
            None => Standing::Unknown,
        }
    }

    /// How it stands with each user that there is something to tell of.
    pub(in crate::gateway) fn standings<'a>(
        &'a self,
        kept: &'a Kept,
        serial: u64,
        start: u64,
    ) -> impl Iterator<Item = Standing<'a>> {
        kept.hosts().map(move |(host, _)| self.standing(kept, host, serial, start))
    }

    /// What is to be told now, by whoever asks: each is to be followed by [`told`](Self::told).
    pub(in crate::gateway) fn begin(
        &mut self,
        kept: &Kept,
        rules: &PrimingRules,
        now: Timestamp,
    ) -> Vec<Telling> {
        let due = self.due(kept, rules, now);
        self.under_way.extend(due.iter().map(|telling| telling.host.clone()));
        due
    }

    /// What is to be told now.
    fn due(&self, kept: &Kept, rules: &PrimingRules, now: Timestamp) -> Vec<Telling> {
        kept.hosts()
            .filter(|(host, wanted)| match self.hosts.get(host) {
                Some(Told::Done { version }) => version != wanted,
                Some(Told::Failing { version, failure }) => version != wanted || failure.again_at <= now,
                None => true,
            })
            .map(|(host, version)| Telling { host: host.clone(), version, calls: kept.calls(host, rules) })
            .collect()
    }

    /// When something is to be told next that failed. `None` if nothing did.
    pub(in crate::gateway) fn next(&self, kept: &Kept) -> Option<Timestamp> {
        let failing = kept.hosts().filter_map(|(host, wanted)| match self.hosts.get(host) {
            Some(Told::Failing { version, failure }) if *version == wanted => Some(failure.again_at),
            _ => None,
        });
        failing.min()
    }

    /// Whether something is to be told now.
    pub(in crate::gateway) fn is_due(&self, kept: &Kept, rules: &PrimingRules, now: Timestamp) -> bool {
        !self.due(kept, rules, now).is_empty()
    }

    /// A user's own call succeeded here, which made this version.
    pub(in crate::gateway) fn primed(&mut self, host: &HostId, version: u64) {
        if self.beside.remove(host) || self.under_way.contains(host) {
            // An older one was made at the same time. Which came last, only the plugin knows: this one is told once more.
            self.hosts.remove(host);
        } else {
            self.hosts.insert(host.clone(), Told::Done { version });
        }
    }

    /// A user's calls were made again, with this result if there is any, `beside` a host's own. `delay` says how long to wait after so many
    /// failures.
    pub(in crate::gateway) fn told(
        &mut self,
        host: &HostId,
        version: u64,
        result: Option<Result<(), Status>>,
        beside: bool,
        now: Timestamp,
        delay: impl FnOnce(u32) -> Duration,
    ) {
        self.under_way.remove(host);
        if beside {
            self.beside.insert(host.clone());
        }
        let Some(result) = result else { return };
        let attempts = match self.hosts.get(host) {
            Some(Told::Failing { version: same, failure }) if *same == version => failure.attempts,
            _ => 0,
        };
        let told = match result {
            Ok(()) => Told::Done { version },
            Err(status) => {
                let again_at = now.saturating_add(delay(attempts)).unwrap_or(Timestamp::MAX);
                let failure = Failure { status, attempts: attempts.saturating_add(1), again_at };
                Told::Failing { version, failure }
            }
        };
        self.hosts.insert(host.clone(), told);
    }

    /// Forgets users that nothing is kept of any more. What was told beside hosts' own calls counts as long as such a call is `busy`,
    /// whatever becomes of what is kept.
    pub(in crate::gateway) fn prune(&mut self, kept: &Kept, busy: bool) {
        self.hosts.retain(|host, _| kept.version(host).is_some());
        if !busy {
            self.beside.clear();
        }
    }
}
