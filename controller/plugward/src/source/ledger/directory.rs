//! Whether a directory is to be believed when it does not list a manifest.

use std::collections::BTreeSet;
use std::time::Duration;

use super::is_second_look;
use crate::source::path::ManifestPath;
use crate::source::problem::DirectoryProblem;
use crate::source::scan::Identity;

/// A configured directory.
#[derive(Debug)]
pub(super) struct Directory {
    /// Which directory it was when manifests were last read from it.
    known: Option<Identity>,
    /// Whether it was believed once since this was made.
    was_read: bool,
    latest: Latest,
}

/// Whether what a directory does not list is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    Believed,
    NotBelieved,
}

/// What became of the latest look.
#[derive(Debug)]
enum Latest {
    NotYet,
    Believed,
    Problem(DirectoryProblem),
    Stranger(Stranger),
}

/// A directory that holds manifests, and has taken the place of the one that did.
#[derive(Debug)]
struct Stranger {
    identity: Identity,
    /// What it listed, since when without a change.
    names: BTreeSet<ManifestPath>,
    since: Duration,
    problem: DirectoryProblem,
}

// === impl Directory ===

impl Directory {
    pub(super) fn new(known: Option<Identity>) -> Self {
        Self { known, was_read: false, latest: Latest::NotYet }
    }

    pub(super) fn known(&self) -> Option<Identity> {
        self.known
    }

    pub(super) fn was_read(&self) -> bool {
        self.was_read
    }

    pub(super) fn trust(&self) -> Trust {
        match self.latest {
            Latest::Believed => Trust::Believed,
            Latest::NotYet | Latest::Problem(_) | Latest::Stranger(_) => Trust::NotBelieved,
        }
    }

    pub(super) fn problem(&self) -> Option<&DirectoryProblem> {
        match &self.latest {
            Latest::Problem(problem) | Latest::Stranger(Stranger { problem, .. }) => Some(problem),
            Latest::NotYet | Latest::Believed => None,
        }
    }

    /// Since when its listing waits for a second scan that agrees.
    pub(super) fn settling_since(&self) -> Option<Duration> {
        match &self.latest {
            Latest::Stranger(stranger) => Some(stranger.since),
            _ => None,
        }
    }

    pub(super) fn could_not_be_read(&mut self, problem: DirectoryProblem) {
        self.latest = Latest::Problem(problem);
    }

    /// Takes in a complete listing. `holds_records`: whether records of this directory's manifests are in force.
    pub(super) fn was_listed<'a>(
        &mut self,
        identity: Identity,
        names: impl ExactSizeIterator<Item = &'a ManifestPath>,
        holds_records: impl FnOnce() -> bool,
        now: Duration,
        confirm: Duration,
    ) {
        if self.known == Some(identity) || !holds_records() {
            // The directory we know, or one from which nothing can be lost.
            self.believe(identity, names.len() > 0);
            return;
        }
        let names: BTreeSet<_> = names.cloned().collect();
        if names.is_empty() {
            self.latest = Latest::Problem(DirectoryProblem::Replaced);
            return;
        }
        let since = match &self.latest {
            Latest::Stranger(before) if before.identity == identity && before.names == names => before.since,
            _ => now,
        };
        if is_second_look(since, now, confirm) {
            self.believe(identity, true);
        } else {
            let problem = DirectoryProblem::Settling;
            self.latest = Latest::Stranger(Stranger { identity, names, since, problem });
        }
    }

    fn believe(&mut self, identity: Identity, holds_manifests: bool) {
        self.was_read = true;
        self.latest = Latest::Believed;
        if holds_manifests {
            self.known = Some(identity);
        }
    }
}
