//! The source of declared records: manifest directories on this machine.
//!
//! # Flow
//!
//! ```text
//! events, timers ─→ scan ─→ sightings ─→ ledger ─→ changes ─→ last good (stored) ─→ report ─→ events of the watch
//! ```
//!
//! [`DirectorySource`] is told by inotify when to look, and looks every [`rescan`](Settings::rescan) anyway, since
//! events get lost, and when [asked](Looker::look) to. A look reads the stamps of all files and the content of those that changed. The ledger, a pure
//! state machine, decides what that means; what comes into force is stored before it is told.
//!
//! Manifests are `*.yaml`, `*.yml` and `*.json` in the directories themselves, not below; not hidden ones. Symlinks
//! are followed.
//!
//! # Rules
//!
//! The version of a manifest that is in force is its last good one. Only what this table calls a removal ends it.
//!
//! | what a scan sees | what follows |
//! | --- | --- |
//! | a file that parses | it is in force as a whole, at once |
//! | a file that parses, and lacks a record it holds | a removal: the whole new version waits for a second scan that also finds the record missing |
//! | a file that is half written: changed less than [`quiet`](Settings::quiet) ago, or known to be open for writing | nothing; looked at again |
//! | a file that cannot be used: bad content, empty, unreadable, too large, a directory, FIFO or device, a symlink to nothing | its last good version stays in force; the report says why |
//! | no file, in a directory that is believed | a removal: waits for a second scan that does not find the file either |
//! | no file, in a directory that is no longer configured | the same |
//! | no file, in a directory that is not believed | nothing |
//!
//! | a directory that | is |
//! | --- | --- |
//! | is missing, is no directory, cannot be read to its end | not believed |
//! | is the one in which manifests were last read (by inode and time of birth, kept over restarts) | believed, even when it is empty: someone removed the files |
//! | is another one, but no record of its manifests is in force | believed: nothing can be lost |
//! | is another one, and empty | not believed: the usual one is not mounted. It is believed again when the usual one is back, or when it holds a manifest |
//! | is another one, and holds manifests | not believed until a second scan finds the same names: it is being filled |
//!
//! The two scans of a removal are at least [`confirm`](Settings::confirm) apart, and every scan between them saw the
//! same. No removal is confirmed before every configured directory was believed once in this run: a manifest that was
//! moved from one directory to another is no removal.
//!
//! | names | |
//! | --- | --- |
//! | a name that another file declares, too | the file that holds it keeps it, over restarts too; the other is told |
//! | neither held it | the first by path holds it |
//! | the holder goes, or its new version lacks the name | the other takes over: an edit, never a delete and create |
//! | twice in one file | the file cannot be used |
//!
//! A record's [generation](Declared::generation) begins at 1, grows by 1 with every change of its spec, and is kept
//! over restarts.
//!
//! # After an upgrade
//!
//! Last good versions are stored as text, and parsed by the program that runs. A stored version that a newer plugward
//! does not accept gives no records to act on, and what runs for them is not touched: their names stay taken
//! ([`Report::names_only`]), [`Report::may_remove`] denies their removal, and the report says so until the manifest is
//! mended. Its next good version is an edit.
//!
//! # Guarantees
//!
//! - The first events are `Init`, an `InitApply` for everything in force, `InitDone`: after the first look, whether
//!   or not every directory could be read. What cannot be read contributes its last good records, and so does what was
//!   removed while the controller was down: one look is not enough, so it is listed, and deleted by the second.
//! - A record whose spec and metadata are equal to what was last told gives no event, whatever happens to its file.
//! - What was told survives a crash at any instruction. When storing fails, what is in force stays in force in this run,
//!   and the report says what a restart would lose.
//! - Between looks nothing wakes up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plugward_api::manifest::Rules;
use plugward_api::{Place, Record};

mod last_good;
mod ledger;
mod looker;
mod path;
mod problem;
mod publish;
mod reports;
mod run;
mod scan;
mod watcher;

#[cfg(test)]
mod tests;

pub(crate) use path::is_manifest;

pub use last_good::{LastGood, LastGoodError};
pub use looker::Looker;
pub use plugward_api::RecordKey;
pub use problem::{DirectoryProblem, Problem};
pub use reports::{DirectoryReport, FileReport, FileState, Report, Reports, StorageProblem};
pub use run::{DirectorySource, Event};

/// How a [`DirectorySource`] works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where manifests lie. Relative paths are relative to the working directory at the start.
    pub directories: Vec<PathBuf>,
    /// What manifests are held to beyond what they say themselves.
    pub rules: Rules,
    /// Whether the system is asked to tell of changes. Without that they are found by looking every `rescan`: for
    /// file systems of which it tells nothing.
    pub events: bool,
    /// How often to look when no event says that something changed.
    pub rescan: Duration,
    /// How long nothing may happen before a look, and how old a change must be to be read: what follows sooner is
    /// part of one change.
    pub quiet: Duration,
    /// The longest that events put off a look.
    pub longest_quiet: Duration,
    /// How far apart the two scans must be that agree on a removal.
    pub confirm: Duration,
}

/// A record that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// What is declared.
    pub record: Arc<Record>,
    /// The manifest that declared it when it was last told. A move to another one is no event by itself.
    pub file: PathBuf,
    /// Where in the file it began when it was last told.
    pub place: Place,
    /// How often its spec has changed, counted from 1; kept over restarts.
    pub generation: u64,
}

/// A record of a manifest, in force or not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    pub(crate) record: Arc<Record>,
    pub(crate) place: Place,
}

/// A directory as it is known from now on. Without a working directory a relative path is as good as it gets: it will be reported
/// as missing.
fn absolute(directory: &Path) -> PathBuf {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    absolute.components().collect()
}

// === impl Declared ===

impl Declared {
    /// The generation that follows where `record` is declared instead.
    pub fn generation_with(&self, record: &Record) -> u64 {
        self.generation + u64::from(!ledger::same_spec(&self.record, record))
    }
}

// === impl Settings ===

impl Settings {
    /// The usual settings: a look every 10 s and 10 ms after the last change, at the latest 100 ms after the first;
    /// removals after 500 ms.
    pub fn new(directories: impl IntoIterator<Item = PathBuf>, rules: Rules) -> Self {
        Self {
            directories: directories.into_iter().collect(),
            rules,
            events: true,
            rescan: Duration::from_secs(10),
            quiet: Duration::from_millis(10),
            longest_quiet: Duration::from_millis(100),
            confirm: Duration::from_millis(500),
        }
    }

    /// The directory that was named first, as reports name it.
    pub fn first_directory(&self) -> PathBuf {
        self.directories.first().map(|directory| absolute(directory)).unwrap_or_default()
    }
}
