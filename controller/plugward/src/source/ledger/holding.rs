//! Who holds a name: one of the manifests whose version in force declares it.

use std::collections::BTreeSet;
use std::sync::Arc;

use plugward_api::{Record, RecordKey};

use super::{Change, Ledger, Round};
use crate::source::path::ManifestPath;
use crate::source::{Declared, Document};

/// Who holds a name, and what was last said of its record.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) file: ManifestPath,
    pub(super) generation: u64,
    /// Nothing when only the name is known.
    pub(super) record: Option<Arc<Record>>,
}

// === impl Ledger ===

impl Ledger {
    /// Finds the holder of every affected name, and what changed by that.
    pub(super) fn settle(&mut self, round: &mut Round) {
        for key in std::mem::take(&mut round.affected) {
            let before = self.holders.remove(&key);
            let Some(claimants) = self.claims.get(&key) else {
                if before.is_some() {
                    round.outcome.changes.push(Change::Delete(key));
                }
                continue;
            };
            round.outcome.touched.extend(claimants.iter().cloned());
            let Some(file) = self.choose_holder(&key, claimants, before.as_ref()) else { continue };
            let record = self.document(&file, &key).map(|document| Arc::clone(&document.record));
            let (holding, changed) = Holding::succeed(before.as_ref(), file, record);
            let moved = before
                .as_ref()
                .is_none_or(|before| before.file != holding.file || before.generation != holding.generation);
            if moved {
                // The one that held it before was installed anew or removed: it is stored anyway.
                self.unsaved.insert(holding.file.clone());
            }
            if changed && let Some(declared) = self.declared(&key, &holding) {
                round.outcome.changes.push(Change::Apply(key.clone(), declared));
            }
            self.holders.insert(key, holding);
        }
    }

    /// The one that held the name keeps it; else the first by path, of those whose record is known if there are
    /// any.
    pub(super) fn choose_holder(
        &self,
        key: &RecordKey,
        claimants: &BTreeSet<ManifestPath>,
        before: Option<&Holding>,
    ) -> Option<ManifestPath> {
        if let Some(before) = before
            && claimants.contains(&before.file)
        {
            return Some(before.file.clone());
        }
        let known = claimants.iter().find(|path| self.document(path, key).is_some());
        known.or_else(|| claimants.first()).cloned()
    }

    pub(super) fn document(&self, path: &ManifestPath, key: &RecordKey) -> Option<&Document> {
        self.files.get(path)?.in_force.as_ref()?.records.get(key)
    }

    pub(super) fn declared(&self, key: &RecordKey, holding: &Holding) -> Option<Declared> {
        Some(Declared {
            record: holding.record.clone()?,
            file: holding.file.to_path_buf(),
            place: self.document(&holding.file, key)?.place,
            generation: holding.generation,
        })
    }
}

// === impl Holding ===

impl Holding {
    /// The holding that follows `before`, and whether the record is another one than was last told.
    fn succeed(before: Option<&Self>, file: ManifestPath, record: Option<Arc<Record>>) -> (Self, bool) {
        let Some(before) = before else {
            let changed = record.is_some();
            return (Self { file, generation: 1, record }, changed);
        };
        match (&before.record, record) {
            (Some(old), Some(new)) => {
                let generation = before.generation + u64::from(!same_spec(old, &new));
                let changed = *old != new;
                (Self { file, generation, record: Some(new) }, changed)
            }
            // What it was is not known, so it may have changed.
            (None, Some(new)) => (Self { file, generation: before.generation + 1, record: Some(new) }, true),
            // What it is is not known: it stays as it was.
            (old, None) => (Self { file, generation: before.generation, record: old.clone() }, false),
        }
    }
}

pub(crate) fn same_spec(a: &Record, b: &Record) -> bool {
    match (a, b) {
        (Record::Runtime(a), Record::Runtime(b)) => a.spec == b.spec,
        (Record::Instance(a), Record::Instance(b)) => a.spec == b.spec,
        _ => false,
    }
}
