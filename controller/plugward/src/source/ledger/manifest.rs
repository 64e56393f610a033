//! A manifest between two scans.

use std::collections::BTreeSet;
use std::time::Duration;

use plugward_api::RecordKey;

use super::version::Version;
use crate::source::problem::Problem;

/// A manifest: what is in force of it, and what it was when last seen.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) in_force: Option<Version>,
    pub(super) seen: Seen,
}

/// What a manifest was when it was last seen.
#[derive(Debug, Default)]
pub(super) enum Seen {
    /// Not seen, or only while it was being written.
    #[default]
    NotYet,
    /// It holds the version in force.
    InForce,
    /// It cannot be used.
    Unusable(Vec<Problem>),
    /// It can be used, but does not declare names that it holds.
    Lacking(Lacking),
    /// It is not in its directory.
    Absent { since: Duration },
}

/// A version that is not in force yet, because it would remove something.
#[derive(Debug)]
pub(super) struct Lacking {
    pub(super) version: Version,
    /// The names that this version would give up.
    pub(super) missing: BTreeSet<RecordKey>,
    /// Since when every scan found all of them missing; nothing when the last scan could not tell.
    pub(super) since: Option<Duration>,
}

// === impl Seen ===

impl Seen {
    /// Takes back what earlier scans found missing: this one could not tell. Says whether that is another state.
    pub(super) fn interrupt(&mut self) -> bool {
        match self {
            Self::Absent { .. } => {
                *self = Self::NotYet;
                true
            }
            Self::Lacking(lacking) => {
                lacking.since = None;
                false
            }
            Self::NotYet | Self::InForce | Self::Unusable(_) => false,
        }
    }

    /// Since when a removal waits for a second scan.
    pub(super) fn in_doubt_since(&self) -> Option<Duration> {
        match self {
            Self::Absent { since } => Some(*since),
            Self::Lacking(lacking) => lacking.since,
            Self::NotYet | Self::InForce | Self::Unusable(_) => None,
        }
    }
}
