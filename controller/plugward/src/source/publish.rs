//! From the ledger to the report, and to the log: one place, so that they cannot disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::last_good::LastGood;
use super::ledger::{Ledger, View};
use super::path::ManifestPath;
use super::problem::DirectoryProblem;
use super::reports::{DirectoryReport, FileReport, FileState, Report, StorageProblem};
use crate::atomic::AtomicError;
use crate::errors::chain;

/// Brings the report up to date after a look. `touched`: the manifests of which something may have changed.
pub(super) fn publish(
    reports: &watch::Sender<Report>,
    ledger: &Ledger,
    touched: &BTreeSet<ManifestPath>,
    last_good: &LastGood,
    unwatched: &BTreeMap<PathBuf, String>,
    stored: Result<(), AtomicError>,
) {
    let now = Timestamp::now();
    reports.send_if_modified(|report| {
        let mut changed = false;
        if report.looks == 0 {
            for path in ledger.paths() {
                update_file(report, ledger, path, now);
            }
            changed = true;
        } else {
            for path in touched {
                changed |= update_file(report, ledger, path, now);
            }
        }
        report.looks += 1;
        for (path, problem) in ledger.directories() {
            changed |= update_directory(report, path, problem, unwatched.get(path), now);
        }
        changed |= update_storage(report, last_good, stored);
        let removals_allowed = ledger.complete() && last_good.damaged().next().is_none();
        changed |= replace(&mut report.removals_allowed, removals_allowed);
        changed |= replace(&mut report.names_only, ledger.names_only().cloned().collect());
        changed
    });
}

fn update_file(report: &mut Report, ledger: &Ledger, path: &ManifestPath, now: Timestamp) -> bool {
    let Some(View { state, problems, records, last_good_in_force }) = ledger.view(path) else {
        return report.files.remove(path.as_path()).is_some();
    };
    let before = report.files.get(path.as_path());
    let same = before.filter(|before| before.state == state && before.problems == problems);
    let since = same.map_or(now, |before| before.since);
    let new = FileReport { state, problems, since, records, last_good_in_force };
    if before == Some(&new) {
        return false;
    }
    if same.is_none() {
        log_file(path.as_path(), before, &new);
    }
    report.files.insert(path.to_path_buf(), new);
    true
}

fn log_file(path: &Path, before: Option<&FileReport>, now: &FileReport) {
    for problem in &now.problems {
        warn!(
            file = %path.display(),
            reason = problem.as_str(),
            last_good_in_force = now.last_good_in_force,
            "manifest: {problem}",
        );
    }
    match now.state {
        FileState::Good if before.is_some_and(|before| !before.problems.is_empty()) => {
            info!(file = %path.display(), "manifest is good again");
        }
        FileState::Gone => {
            info!(file = %path.display(), "manifest is gone; looking again before its records go");
        }
        FileState::Good | FileState::Bad | FileState::NotRead => {}
    }
}

fn update_directory(
    report: &mut Report,
    path: &Path,
    problem: Option<&DirectoryProblem>,
    unwatched: Option<&String>,
    now: Timestamp,
) -> bool {
    let new = DirectoryReport { problem: problem.cloned(), unwatched: unwatched.cloned(), since: now };
    let before = report.directories.get(path);
    if before.is_some_and(|before| before.problem == new.problem && before.unwatched == new.unwatched) {
        return false;
    }
    let before_problem = before.and_then(|before| before.problem.as_ref());
    if before_problem != problem {
        if let Some(problem) = problem {
            warn!(directory = %path.display(), reason = problem.as_str(), "manifest directory: {problem}");
        } else if before.is_some() {
            info!(directory = %path.display(), "manifest directory is readable again");
        }
    }
    if before.and_then(|before| before.unwatched.as_ref()) != unwatched
        && let Some(reason) = unwatched
    {
        warn!(directory = %path.display(), reason, "changes are noticed by the periodic scan only");
    }
    report.directories.insert(path.to_owned(), new);
    true
}

fn update_storage(report: &mut Report, last_good: &LastGood, stored: Result<(), AtomicError>) -> bool {
    let damaged =
        last_good.damaged().map(|(path, reason)| StorageProblem::Damaged { path, reason: reason.to_owned() });
    let mut storage: Vec<_> = damaged.collect();
    if let Err(error) = stored {
        storage.push(StorageProblem::NotStored { error: chain(&error) });
    }
    for problem in storage.iter().filter(|problem| !report.storage.contains(problem)) {
        error!("last good manifests: {problem}");
    }
    replace(&mut report.storage, storage)
}

/// Puts `new` in place and says whether it differs.
fn replace<T: PartialEq>(slot: &mut T, new: T) -> bool {
    let differs = *slot != new;
    *slot = new;
    differs
}
