//! What the ledger tells people, and the store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use plugward_api::RecordKey;

use super::version::{Records, Version};
use super::{Holding, Ledger, Seen};
use crate::source::FileState;
use crate::source::path::ManifestPath;
use crate::source::problem::{DirectoryProblem, Problem};
use crate::source::scan::Identity;

/// A manifest as people are told of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) state: FileState,
    pub(crate) problems: Vec<Problem>,
    /// The names it holds.
    pub(crate) records: Vec<RecordKey>,
    pub(crate) last_good_in_force: bool,
}

/// What is to be stored of a manifest.
#[derive(Debug)]
pub(crate) enum Save<'a> {
    /// It has a version in force.
    Keep { path: &'a ManifestPath, text: &'a str, held: BTreeMap<&'a RecordKey, u64> },
    /// It is gone.
    Forget { path: &'a ManifestPath },
}

// === impl Ledger ===

impl Ledger {
    /// A manifest as people are told of it; nothing when there is none.
    pub(crate) fn view(&self, path: &ManifestPath) -> Option<View> {
        let manifest = self.files.get(path)?;
        let mut problems = match &manifest.seen {
            Seen::Unusable(problems) => problems.clone(),
            _ => Vec::new(),
        };
        let mut records = Vec::new();
        if let Some(version) = &manifest.in_force {
            if let Records::NamesOnly(names) = &version.records {
                problems.push(Problem::NoLongerAccepted { records: names.iter().cloned().collect() });
            }
            for key in version.records.keys() {
                match self.holders.get(key) {
                    Some(holding) if holding.file == *path => records.push(key.clone()),
                    Some(holding) => problems.extend(self.declared_twice(version, key, holding)),
                    None => {}
                }
            }
        }
        let state = match &manifest.seen {
            Seen::Absent { .. } => FileState::Gone,
            Seen::NotYet => FileState::NotRead,
            Seen::InForce | Seen::Lacking(_) if problems.is_empty() => FileState::Good,
            Seen::InForce | Seen::Lacking(_) | Seen::Unusable(_) => FileState::Bad,
        };
        Some(View { state, problems, last_good_in_force: manifest.in_force.is_some(), records })
    }

    /// Every manifest there is a view of.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &ManifestPath> {
        self.files.keys()
    }

    /// The configured directories, each with the reason why it counts as not read.
    pub(crate) fn directories(&self) -> impl Iterator<Item = (&PathBuf, Option<&DirectoryProblem>)> {
        self.directories.iter().map(|(path, directory)| (path, directory.problem()))
    }

    /// What a file is told that declares a name another one holds; nothing while that one may be going.
    fn declared_twice(&self, version: &Version, key: &RecordKey, holding: &Holding) -> Option<Problem> {
        let going = match &self.files.get(&holding.file)?.seen {
            Seen::Absent { .. } => true,
            Seen::Lacking(lacking) => lacking.missing.contains(key),
            _ => false,
        };
        let place = version.records.get(key)?.place;
        (!going).then(|| Problem::DeclaredTwice {
            key: key.clone(),
            place,
            holder: holding.file.to_path_buf(),
            holder_place: self.document(&holding.file, key).map(|document| document.place),
        })
    }

    /// What has to be stored.
    pub(crate) fn unsaved(&self) -> impl Iterator<Item = Save<'_>> {
        self.unsaved.iter().map(|path| match self.files.get(path).and_then(|file| file.in_force.as_ref()) {
            Some(version) => {
                let held = version.records.keys().filter_map(|key| {
                    let holding = self.holders.get(key).filter(|holding| holding.file == *path)?;
                    Some((key, holding.generation))
                });
                Save::Keep { path, text: &version.text, held: held.collect() }
            }
            None => Save::Forget { path },
        })
    }

    /// The directories' identities, when they have to be stored.
    pub(crate) fn unsaved_identities(&self) -> Option<BTreeMap<&PathBuf, Identity>> {
        self.identities_unsaved.then(|| {
            self.directories.iter().filter_map(|(path, directory)| Some((path, directory.known()?))).collect()
        })
    }

    /// All of that was stored.
    pub(crate) fn saved(&mut self) {
        self.unsaved.clear();
        self.identities_unsaved = false;
    }
}
