//! The rules: what sightings of manifests mean for the records in force.
//!
//! A ledger is a state machine without I/O and without a clock. It takes in one scan after the other, each with its
//! time, and says which records changed. The rules are in the [module's table](super).
//!
//! Two layers, each simple: the *version* of every manifest that is in force (the last good one, replaced as a
//! whole), and the *holder* of every name (one of the manifests whose version in force declares it).

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugward_api::RecordKey;

use self::directory::{Directory, Trust};
use self::holding::Holding;
use self::manifest::{Lacking, Manifest, Seen};
use self::version::{Records, Version};
use super::path::ManifestPath;
use super::scan::{Identity, Listing, Scan, Sight};
use super::{Declared, Document};

mod directory;
mod holding;
mod manifest;
#[cfg(test)]
mod tests;
mod version;
mod view;

pub(crate) use self::holding::same_spec;
pub(crate) use self::view::{Save, View};

/// All that is known of the manifests.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// How far apart the two scans must be that agree on a removal.
    confirm: Duration,
    /// The configured directories.
    directories: BTreeMap<PathBuf, Directory>,
    /// Every manifest that there is or whose last good version is in force.
    files: BTreeMap<ManifestPath, Manifest>,
    /// Which manifests' versions in force declare a name. No set is empty.
    claims: BTreeMap<RecordKey, BTreeSet<ManifestPath>>,
    /// Which of them holds it. Has the keys of `claims`.
    holders: BTreeMap<RecordKey, Holding>,
    /// Manifests that are stored differently from what is in force.
    unsaved: BTreeSet<ManifestPath>,
    /// Whether the directories' identities are stored differently.
    identities_unsaved: bool,
}

/// What was stored of a manifest by an earlier run, and what this program makes of it.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) path: ManifestPath,
    pub(crate) text: Arc<str>,
    /// The names that the manifest held, each with its record's generation.
    pub(crate) held: BTreeMap<RecordKey, u64>,
    /// The records in the text; nothing when this program does not accept it.
    pub(crate) documents: Option<Vec<Document>>,
}

/// What a scan changed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// In the order of the names.
    pub(crate) changes: Vec<Change>,
    /// The manifests whose [view](Ledger::view) may be another one now.
    pub(crate) touched: BTreeSet<ManifestPath>,
    /// Whether some file was too fresh to be read, and is to be looked at soon.
    pub(crate) unsettled: bool,
}

/// What happened to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Apply(RecordKey, Declared),
    Delete(RecordKey),
}

/// One scan being taken in.
struct Round {
    now: Duration,
    confirm: Duration,
    removals_allowed: bool,
    /// Names of versions that came into force or went out of it.
    affected: BTreeSet<RecordKey>,
    outcome: Outcome,
}

// === impl Ledger ===

impl Ledger {
    /// A ledger that continues where an earlier one was stored.
    pub(crate) fn new(
        directories: impl IntoIterator<Item = PathBuf>,
        confirm: Duration,
        restored: Vec<Restored>,
        mut identities: BTreeMap<PathBuf, Identity>,
    ) -> Self {
        let directories = directories
            .into_iter()
            .map(|path| {
                let identity = identities.remove(&path);
                (path, Directory::new(identity))
            })
            .collect();
        let mut ledger = Self {
            confirm,
            directories,
            files: BTreeMap::new(),
            claims: BTreeMap::new(),
            holders: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            identities_unsaved: false,
        };
        for manifest in restored {
            ledger.restore(manifest);
        }
        // Names that nobody holds: another file held them when the controller stopped for good.
        let mut round = Round::new(Duration::ZERO, confirm, false);
        round.affected.extend(ledger.claims.keys().cloned());
        ledger.settle(&mut round);
        ledger
    }

    fn restore(&mut self, manifest: Restored) {
        let Restored { path, text, held, documents } = manifest;
        let records = match documents {
            Some(documents) => Records::known(documents),
            None => Records::NamesOnly(held.keys().cloned().collect()),
        };
        for (key, generation) in held {
            if !records.contains(&key) {
                self.unsaved.insert(path.clone());
                continue;
            }
            // A crash between the two writes of a takeover leaves two holders: the later one has the greater
            // generation, or the records are equal and it does not matter.
            match self.holders.get(&key) {
                Some(other) if other.generation >= generation => {
                    self.unsaved.insert(path.clone());
                }
                other => {
                    self.unsaved.extend(other.map(|other| other.file.clone()));
                    let record = records.get(&key).map(|document| Arc::clone(&document.record));
                    self.holders.insert(key, Holding { file: path.clone(), generation, record });
                }
            }
        }
        for key in records.keys() {
            self.claims.entry(key.clone()).or_default().insert(path.clone());
        }
        let in_force = Some(Version { text, records });
        self.files.insert(path, Manifest { in_force, seen: Seen::NotYet });
    }

    /// Takes in what a scan saw. `now` is the time since some fixed moment, later in every scan.
    pub(crate) fn observe(&mut self, scan: Scan, now: Duration) -> Outcome {
        let sights = self.look_at_directories(scan, now);
        let mut round = Round::new(now, self.confirm, self.complete());
        let waiting = self.look_for_absent(&sights, &mut round);
        for (path, sight) in sights {
            // Of ten thousand manifests nearly all are as they were: not worth a search for each.
            if !matches!(sight, Sight::Unchanged) || waiting.contains(&path) {
                self.look_at(&path, sight, &mut round);
            }
        }
        self.settle(&mut round);
        round.outcome
    }

    /// Whether every configured directory was read completely since this ledger was made.
    pub(crate) fn complete(&self) -> bool {
        self.directories.values().all(Directory::was_read)
    }

    /// Names in force of which no more than the name is known.
    pub(crate) fn names_only(&self) -> impl Iterator<Item = &RecordKey> {
        self.holders.iter().filter(|(_, holding)| holding.record.is_none()).map(|(key, _)| key)
    }

    /// All records in force, in the order of their names.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = (RecordKey, Declared)> {
        self.holders.iter().filter_map(|(key, holding)| Some((key.clone(), self.declared(key, holding)?)))
    }

    /// When the next scan would confirm or dismiss a doubt: how long after `now`.
    pub(crate) fn next_look(&self, now: Duration) -> Option<Duration> {
        let removals =
            self.complete().then(|| self.files.values().filter_map(|file| file.seen.in_doubt_since()));
        let strangers = self.directories.values().filter_map(Directory::settling_since);
        let earliest = removals.into_iter().flatten().chain(strangers).min()?;
        Some((earliest + self.confirm).saturating_sub(now))
    }

    /// Decides which directories are believed, and returns what was seen in them, believed or not.
    fn look_at_directories(&mut self, scan: Scan, now: Duration) -> BTreeMap<ManifestPath, Sight> {
        let mut sights = BTreeMap::new();
        for (path, listing) in scan.directories {
            let Some(directory) = self.directories.get_mut(&path) else { continue };
            match listing {
                Listing::Unreadable(problem) => directory.could_not_be_read(problem),
                Listing::Read { identity, mut files } => {
                    let known = directory.known();
                    let holds_records = || {
                        let mut files = self.files.iter();
                        files.any(|(file, manifest)| manifest.in_force.is_some() && file.is_in(&path))
                    };
                    directory.was_listed(identity, files.keys(), holds_records, now, self.confirm);
                    self.identities_unsaved |= directory.known() != known;
                    sights.append(&mut files);
                }
            }
        }
        sights
    }

    /// Counts files as absent that their directory was seen without, and takes the count back where the
    /// directory is not to be believed. Returns the files that are there and wait for a second look.
    fn look_for_absent(
        &mut self,
        sights: &BTreeMap<ManifestPath, Sight>,
        round: &mut Round,
    ) -> BTreeSet<ManifestPath> {
        let mut waiting = BTreeSet::new();
        let mut gone = Vec::new();
        let mut changed = Vec::new();
        let mut sighted = sights.keys().peekable();
        for (path, manifest) in &mut self.files {
            while sighted.next_if(|sighted| *sighted < path).is_some() {}
            if sighted.next_if_eq(&path).is_some() {
                if matches!(manifest.seen, Seen::Lacking(_)) {
                    waiting.insert(path.clone());
                }
                continue;
            }
            let believed = path
                .as_path()
                .parent()
                .and_then(|parent| self.directories.get(parent))
                // Files of a directory that is no longer configured are not declared any more.
                .is_none_or(|directory| directory.trust() == Trust::Believed);
            match manifest.seen {
                _ if !believed => {
                    if manifest.seen.interrupt() {
                        changed.push(path.clone());
                    }
                }
                // Nothing of it is in force: nothing can be lost.
                _ if manifest.in_force.is_none() => gone.push(path.clone()),
                Seen::Absent { since } if round.confirms(since) => gone.push(path.clone()),
                Seen::Absent { .. } => {}
                _ => {
                    manifest.seen = Seen::Absent { since: round.now };
                    changed.push(path.clone());
                }
            }
        }
        for path in changed {
            self.touch(&path, round);
        }
        for path in gone {
            self.remove(&path, round);
        }
        waiting
    }

    fn look_at(&mut self, path: &ManifestPath, sight: Sight, round: &mut Round) {
        let manifest = self.files.entry(path.clone()).or_default();
        match sight {
            Sight::AsRemembered => {
                manifest.seen = Seen::InForce;
                self.touch(path, round);
            }
            Sight::Unchanged => {
                if let Seen::Lacking(lacking) = &mut manifest.seen
                    && round.confirms(*lacking.since.get_or_insert(round.now))
                    && let Seen::Lacking(lacking) = mem::take(&mut manifest.seen)
                {
                    self.install(path, lacking.version, round);
                }
            }
            Sight::Unsettled | Sight::BeingWritten => {
                round.outcome.unsettled |= matches!(sight, Sight::Unsettled);
                if manifest.seen.interrupt() {
                    self.touch(path, round);
                }
            }
            Sight::Unusable(problems) => {
                let as_before = matches!(&manifest.seen, Seen::Unusable(before) if *before == problems);
                if !as_before {
                    manifest.seen = Seen::Unusable(problems);
                    self.touch(path, round);
                }
            }
            Sight::Usable { text, documents } => {
                self.look_at_version(path, Version { text, records: Records::known(documents) }, round);
            }
        }
    }

    fn look_at_version(&mut self, path: &ManifestPath, version: Version, round: &mut Round) {
        let missing: BTreeSet<_> =
            self.held_by(path).filter(|key| !version.records.contains(key)).cloned().collect();
        let Some(manifest) = self.files.get_mut(path) else { return };
        let since = match &manifest.seen {
            Seen::Lacking(before) if missing.is_subset(&before.missing) => before.since,
            _ => None,
        };
        let since = since.unwrap_or(round.now);
        if missing.is_empty() || round.confirms(since) {
            self.install(path, version, round);
        } else {
            manifest.seen = Seen::Lacking(Lacking { version, missing, since: Some(since) });
            self.touch(path, round);
        }
    }

    /// Puts a version in force.
    fn install(&mut self, path: &ManifestPath, version: Version, round: &mut Round) {
        let Some(manifest) = self.files.get_mut(path) else { return };
        manifest.seen = Seen::InForce;
        let as_before = manifest.in_force.as_ref().is_some_and(|before| before.is(&version));
        if as_before {
            self.touch(path, round);
            return;
        }
        self.withdraw_claims(path, round);
        for key in version.records.keys() {
            self.claims.entry(key.clone()).or_default().insert(path.clone());
            round.affected.insert(key.clone());
        }
        self.files.insert(path.clone(), Manifest { in_force: Some(version), seen: Seen::InForce });
        self.unsaved.insert(path.clone());
        round.outcome.touched.insert(path.clone());
    }

    /// Puts what is in force of a manifest out of force, and forgets the manifest.
    fn remove(&mut self, path: &ManifestPath, round: &mut Round) {
        self.withdraw_claims(path, round);
        if self.files.remove(path).is_some_and(|manifest| manifest.in_force.is_some()) {
            self.unsaved.insert(path.clone());
        }
        round.outcome.touched.insert(path.clone());
    }

    fn withdraw_claims(&mut self, path: &ManifestPath, round: &mut Round) {
        let Some(version) = self.files.get(path).and_then(|manifest| manifest.in_force.as_ref()) else {
            return;
        };
        for key in version.records.keys() {
            round.affected.insert(key.clone());
            if let Some(claimants) = self.claims.get_mut(key) {
                claimants.remove(path);
                if claimants.is_empty() {
                    self.claims.remove(key);
                }
            }
        }
    }

    /// The names that a manifest holds.
    fn held_by(&self, path: &ManifestPath) -> impl Iterator<Item = &RecordKey> {
        let version = self.files.get(path).and_then(|manifest| manifest.in_force.as_ref());
        version
            .into_iter()
            .flat_map(|version| version.records.keys())
            .filter(move |key| self.holders.get(*key).is_some_and(|holding| holding.file == *path))
    }

    /// Notes that what is said of a manifest may have changed, and with it what is said of those that declare the
    /// same names.
    fn touch(&self, path: &ManifestPath, round: &mut Round) {
        round.outcome.touched.insert(path.clone());
        for key in self.held_by(path) {
            round.outcome.touched.extend(self.claims.get(key).into_iter().flatten().cloned());
        }
    }
}

// === impl Round ===

impl Round {
    fn new(now: Duration, confirm: Duration, removals_allowed: bool) -> Self {
        Self { now, confirm, removals_allowed, affected: BTreeSet::new(), outcome: Outcome::default() }
    }

    /// Whether this scan is the second one to see what was first seen at `since`.
    fn confirms(&self, since: Duration) -> bool {
        self.removals_allowed && is_second_look(since, self.now, self.confirm)
    }
}

/// Whether what was first seen at `since` and is seen `now` again was seen by two looks, far enough apart.
fn is_second_look(since: Duration, now: Duration, confirm: Duration) -> bool {
    since < now && now.saturating_sub(since) >= confirm
}
