//! What becomes of a manifest that somebody wants to put: whether it is valid, and where its records would go.
//!
//! Nothing is written here. Whoever may write manifests does it with their own rights, in a directory of which the kernel
//! says whose it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use plugward_api::manifest::{self, Format, Rules};
use plugward_api::{Kind, Name, Place, Placed, PluginRuntime, Problem, Record, RecordKey};
use rustix::process::Gid;
use serde::{Deserialize, Serialize};

use crate::source::FileState;
use crate::view::View;

/// A manifest, as the controller sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Where manifests are put.
    pub directory: PathBuf,
    /// Who has to read them.
    pub reader: Reader,
    /// All that is wrong. While there is any, nothing is to be put.
    pub problems: Vec<Problem>,
    /// What may be meant so.
    pub warnings: Vec<Problem>,
    /// What it declares, in its order.
    pub records: Vec<Reviewed>,
}

/// Whom the kernel takes the controller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reader {
    /// Its user.
    pub user: u32,
    /// Its groups.
    pub groups: Vec<u32>,
}

/// A record of a reviewed manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reviewed {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Where in the manifest it begins.
    pub place: Place,
    /// The file that it is put into.
    pub file: PathBuf,
    /// The generation that it will have.
    pub generation: u64,
}

/// Where a record is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Whereabouts {
    /// The file.
    pub file: PathBuf,
    /// Where in the file it begins, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// How many records that file holds.
    pub records: usize,
}

/// What a review rests on.
pub(super) trait Knowledge {
    /// Where a record is declared that stays.
    fn whereabouts(&self, key: &RecordKey) -> Option<Whereabouts>;
    /// The generation that a record would have after what is there now.
    fn generation(&self, record: &Record) -> u64;
    /// Whether there is a runtime of this name.
    fn has_runtime(&self, name: &Name) -> bool;
}

/// Looks at a manifest that is to be put into `directory`.
pub(super) fn review(text: &[u8], rules: &Rules, directory: &Path, known: &impl Knowledge) -> Review {
    let reader = Reader::of_process();
    let mut review = Review {
        directory: directory.to_owned(),
        reader,
        problems: Vec::new(),
        warnings: Vec::new(),
        records: Vec::new(),
    };
    // JSON is YAML, and it is put into a file of that name.
    let records = match manifest::parse(text, Format::Yaml, rules) {
        Ok(records) => records,
        Err(problems) => {
            review.problems = problems;
            return review;
        }
    };
    let runtimes: BTreeSet<&Name> = records
        .iter()
        .filter(|placed| placed.value.kind() == Kind::PluginRuntime)
        .map(|placed| placed.value.name())
        .collect();
    for Placed { value: record, place, .. } in &records {
        let key = record.key();
        let file = directory.join(file_name(&key));
        if let Some(held) = known.whereabouts(&key).filter(|held| held.file != file || held.records > 1) {
            review.problems.push(held.in_the_way(&key, *place));
        }
        if let Record::Instance(instance) = record {
            let runtime = &instance.spec.runtime;
            if !runtimes.contains(runtime) && !known.has_runtime(runtime) {
                let message =
                    format!("PluginRuntime {:?} is not declared: it waits for that", runtime.as_str());
                let help = "declare it, or name another in spec.runtime";
                review.warnings.push(problem(*place, message, Some(help)));
            }
        }
        review.records.push(Reviewed {
            kind: key.kind,
            name: key.name,
            place: *place,
            file,
            generation: known.generation(record),
        });
    }
    review
}

/// The name of the file that holds a record alone.
pub fn file_name(key: &RecordKey) -> String {
    format!("{}-{}.yaml", key.kind.singular(), key.name)
}

fn problem(place: Place, message: String, help: Option<&str>) -> Problem {
    Problem { place: Some(place), field: String::new(), message, help: help.map(str::to_owned) }
}

// === impl Reader ===

impl Reader {
    fn of_process() -> Self {
        let mut groups: Vec<u32> =
            rustix::process::getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
        groups.push(rustix::process::getegid().as_raw());
        groups.sort_unstable();
        groups.dedup();
        Self { user: rustix::process::geteuid().as_raw(), groups }
    }
}

// === impl Whereabouts ===

impl Whereabouts {
    /// `FILE:LINE:COLUMN`
    pub fn told(&self) -> String {
        let place = self.place.map(|place| format!(":{place}")).unwrap_or_default();
        format!("{}{place}", self.file.display())
    }

    fn in_the_way(&self, key: &RecordKey, place: Place) -> Problem {
        let others = if self.records > 1 { ", with other records" } else { "" };
        let message = format!("{key} is declared in {}{others}", self.told());
        problem(place, message, Some("edit that file, or take the record out of it first"))
    }
}

// === impl View ===

impl Knowledge for View {
    fn whereabouts(&self, key: &RecordKey) -> Option<Whereabouts> {
        let report = self.reports.read();
        let mut holders = report.files.iter().filter(|(_, file)| file.records.contains(key));
        // What is gone gives its names away at the next look.
        let (path, file) = holders.find(|(_, file)| file.state != FileState::Gone)?;
        let declared = self.records.get(key).filter(|declared| declared.file == *path);
        Some(Whereabouts {
            file: path.clone(),
            place: declared.map(|declared| declared.place),
            records: file.records.len(),
        })
    }

    fn generation(&self, record: &Record) -> u64 {
        self.records.get(&record.key()).map_or(1, |declared| declared.generation_with(record))
    }

    fn has_runtime(&self, name: &Name) -> bool {
        let key = RecordKey { kind: Kind::PluginRuntime, name: name.clone() };
        self.records.get(&key).is_some() || PluginRuntime::built_in().metadata.name == *name
    }
}

#[cfg(test)]
mod tests;
