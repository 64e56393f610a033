//! What people are told of manifests and their directories: for status, metrics and the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use plugward_api::RecordKey;
use tokio::sync::watch;

use super::problem::{DirectoryProblem, Problem};

/// The reading half of the [`Report`], cheap to clone. It outlives the source, and then shows its last state.
#[derive(Debug, Clone)]
pub struct Reports(pub(super) watch::Receiver<Report>);

/// What the source knows of manifests and their directories.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How often the directories were looked into. While it is 0, everything below is empty. That it grows is no
    /// [change](Reports::changed).
    pub looks: u64,
    /// Whether what no manifest declares may be removed: every directory was read completely in this run, and
    /// everything that was stored is known. Once true, it stays true.
    pub removals_allowed: bool,
    /// Records of which no more than the name is known: an earlier plugward accepted them, this one does not. They
    /// are in force, though there is no event for them: what runs for them is to be left as it is.
    pub names_only: BTreeSet<RecordKey>,
    /// Every configured directory.
    pub directories: BTreeMap<PathBuf, DirectoryReport>,
    /// Every manifest that there is, or whose last good records are in force.
    pub files: BTreeMap<PathBuf, FileReport>,
    /// What is wrong with the stored last good versions. While it is not empty, a restart of the controller may not
    /// find everything that is in force.
    pub storage: Vec<StorageProblem>,
}

/// What is known of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryReport {
    /// Why it counts as not read; nothing when it was read.
    pub problem: Option<DirectoryProblem>,
    /// Why changes in it are noticed by the periodic scan only; nothing when they are noticed at once.
    pub unwatched: Option<String>,
    /// Since when that is so.
    pub since: Timestamp,
}

/// What is known of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// What it is.
    pub state: FileState,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// Since when both are so.
    pub since: Timestamp,
    /// The names that it holds.
    pub records: Vec<RecordKey>,
    /// Whether a version of it is in force: this one, or the last good one.
    pub last_good_in_force: bool,
}

/// What a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileState {
    /// All it declares is in force, or will be when a second scan agrees to what it no longer declares.
    Good,
    /// Something is wrong with it.
    Bad,
    /// It could not be looked at in this run: its directory cannot be read, or a writer is at work.
    NotRead,
    /// It is gone; its records go when a second scan agrees.
    Gone,
}

/// What is wrong with a stored last good version, or with storing them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageProblem {
    /// A stored file cannot be understood. It goes when its manifest is good again; when there is no such
    /// manifest any more, a person has to remove it.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Storing failed. It is tried again in every scan.
    NotStored {
        /// The error with its causes.
        error: String,
    },
}

// === impl Reports ===

impl Reports {
    /// The report as it is now. Drop what this returns soon: the source waits for it.
    pub fn read(&self) -> watch::Ref<'_, Report> {
        self.0.borrow()
    }

    /// Waits until the report changes.
    ///
    /// # Cancel safety
    ///
    /// No change is lost: the next call returns at once when there was one.
    ///
    /// # Errors
    ///
    /// When the source has ended: the report stays as it is.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.0.changed().await
    }

    /// Whether every directory was read completely in this run: what no manifest declares may be removed.
    pub fn removals_allowed(&self) -> bool {
        self.read().removals_allowed
    }
}

// === impl Report ===

impl Report {
    /// Whether what runs for a record that has no event may be removed: it is certain that no manifest declares it.
    pub fn may_remove(&self, key: &RecordKey) -> bool {
        self.removals_allowed && !self.names_only.contains(key)
    }

    /// The manifests that something is wrong with, in the order of their paths.
    pub fn bad_files(&self) -> impl Iterator<Item = (&Path, &FileReport)> {
        self.files
            .iter()
            .filter(|(_, file)| !file.problems.is_empty())
            .map(|(path, file)| (path.as_path(), file))
    }
}

// === impl StorageProblem ===

impl fmt::Display for StorageProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { path, reason } => write!(
                f,
                "{} cannot be understood: {reason}; it goes when its manifest is read again, remove it if that manifest \
                 is gone for good",
                path.display()
            ),
            Self::NotStored { error } => {
                write!(
                    f,
                    "cannot be stored: {error}; a restart would find the versions that were stored before"
                )
            }
        }
    }
}

// === impl FileState ===

impl FileState {
    /// The name used in labels and in status: lower case, with underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::NotRead => "not_read",
            Self::Gone => "gone",
        }
    }
}
