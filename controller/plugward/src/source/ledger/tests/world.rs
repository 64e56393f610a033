//! A simulated file system and store around a ledger.

use std::collections::BTreeMap;

use plugward_api::Place;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::*;
use crate::source::{DirectoryProblem, Document, Problem};

pub(super) const CONFIRM: Duration = Duration::from_millis(500);

/// What a test writes into a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) spec: u32,
    pub(super) label: String,
    pub(super) comment: String,
}

/// What a name in a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Good(Vec<Written>),
    Bad,
    Busy,
}

/// A directory that may be found at a path.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    pub(super) number: u64,
    pub(super) files: BTreeMap<ManifestPath, Content>,
}

/// What is at a configured path.
#[derive(Debug, Clone)]
pub(super) struct Mount {
    pub(super) hidden: bool,
    /// The usual directory, and what is mounted over it.
    pub(super) usual: Shelf,
    pub(super) over: Option<Shelf>,
}

#[derive(Debug, Clone)]
pub(super) struct Stored {
    text: Arc<str>,
    held: BTreeMap<RecordKey, u64>,
    refused: bool,
}

/// What the scanner knows of manifests.
#[derive(Debug, Clone, Default)]
struct Memory {
    /// What it read last.
    read: BTreeMap<ManifestPath, Content>,
    /// What the last run left, of manifests that were not read since.
    remembered: BTreeMap<ManifestPath, Arc<str>>,
}

/// A ledger with all it needs.
#[derive(Debug)]
pub(super) struct Sim {
    pub(super) mounts: BTreeMap<PathBuf, Mount>,
    ledger: Ledger,
    pub(super) now: Duration,
    store: BTreeMap<ManifestPath, Stored>,
    identities: BTreeMap<PathBuf, Identity>,
    storing_fails: bool,
    scanner: Memory,
}

pub(super) fn record(name: &str, spec: u32) -> Written {
    Written { name: name.to_owned(), spec, label: String::new(), comment: String::new() }
}

pub(super) fn file(path: &str) -> ManifestPath {
    ManifestPath::new(path)
}

pub(super) fn runtime(name: &str) -> RecordKey {
    record(name, 1).parse().key()
}

/// No event at all.
pub(super) fn lost() -> Vec<String> {
    Vec::new()
}

fn parse(text: &str) -> Vec<Document> {
    let written: Vec<Written> = serde_json::from_str(text).unwrap();
    written
        .iter()
        .enumerate()
        .map(|(line, written)| Document {
            record: Arc::new(written.parse()),
            place: Place { line: line + 1, column: 1 },
        })
        .collect()
}

impl Written {
    pub(super) fn labelled(mut self, label: &str) -> Self {
        label.clone_into(&mut self.label);
        self
    }

    pub(super) fn commented(mut self, comment: &str) -> Self {
        comment.clone_into(&mut self.comment);
        self
    }

    pub(super) fn parse(&self) -> plugward_api::Record {
        serde_json::from_value(json!({
            "apiVersion": "plugward.dev/v1alpha1",
            "kind": "PluginRuntime",
            "metadata": { "name": self.name, "labels": { "colour": self.label } },
            "spec": { "resources": { "pids": self.spec } },
        }))
        .unwrap()
    }
}

impl Mount {
    pub(super) fn shown(&self) -> &Shelf {
        self.over.as_ref().unwrap_or(&self.usual)
    }

    fn shown_mut(&mut self) -> &mut Shelf {
        self.over.as_mut().unwrap_or(&mut self.usual)
    }
}

impl Sim {
    pub(super) fn new<const N: usize>(directories: [&str; N]) -> Self {
        let mounts = (1..).zip(directories).map(|(number, path)| {
            let usual = Shelf { number, files: BTreeMap::new() };
            (PathBuf::from(path), Mount { hidden: false, usual, over: None })
        });
        Self {
            mounts: mounts.collect(),
            ledger: Ledger::new(directories.map(PathBuf::from), CONFIRM, Vec::new(), BTreeMap::new()),
            now: Duration::from_secs(1),
            store: BTreeMap::new(),
            identities: BTreeMap::new(),
            storing_fails: false,
            scanner: Memory::default(),
        }
    }

    fn mount(&mut self, path: &str) -> &mut Mount {
        self.mounts.get_mut(&PathBuf::from(path)).unwrap()
    }

    pub(super) fn set(&mut self, path: &str, content: Option<Content>) {
        let parent = PathBuf::from(path).parent().unwrap().to_owned();
        let files = &mut self.mounts.get_mut(&parent).unwrap().shown_mut().files;
        match content {
            Some(content) => files.insert(file(path), content),
            None => files.remove(&file(path)),
        };
    }

    pub(super) fn write<const N: usize>(&mut self, path: &str, records: [Written; N]) {
        self.set(path, Some(Content::Good(records.into())));
    }

    pub(super) fn break_file(&mut self, path: &str) {
        self.set(path, Some(Content::Bad));
    }

    pub(super) fn being_written(&mut self, path: &str) {
        self.set(path, Some(Content::Busy));
    }

    pub(super) fn delete(&mut self, path: &str) {
        self.set(path, None);
    }

    pub(super) fn hide(&mut self, directory: &str) {
        self.mount(directory).hidden = true;
    }

    pub(super) fn show(&mut self, directory: &str) {
        self.mount(directory).hidden = false;
    }

    pub(super) fn mount_over(&mut self, directory: &str, number: u64) {
        self.mount(directory).over = Some(Shelf { number, files: BTreeMap::new() });
    }

    pub(super) fn unmount(&mut self, directory: &str) {
        self.mount(directory).over = None;
    }

    pub(super) fn fail_to_store(&mut self, fails: bool) {
        self.storing_fails = fails;
    }

    pub(super) fn refuse_everything_stored_in(&mut self, path: &str) {
        self.store.get_mut(&file(path)).unwrap().refused = true;
    }

    pub(super) fn configure<const N: usize>(&mut self, directories: [&str; N]) {
        self.mounts.retain(|path, _| directories.iter().any(|kept| PathBuf::from(kept) == *path));
        self.restart();
    }

    // --- what the ledger says

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn stored(&mut self) -> &mut BTreeMap<ManifestPath, Stored> {
        &mut self.store
    }

    pub(super) fn view(&self, path: &str) -> Option<View> {
        self.ledger.view(&file(path))
    }

    pub(super) fn next_look(&self) -> Option<Duration> {
        self.ledger.next_look(self.now)
    }

    pub(super) fn directory_problem(&self, directory: &str) -> Option<DirectoryProblem> {
        let mut directories = self.ledger.directories();
        directories.find(|(path, _)| path.as_path() == std::path::Path::new(directory)).unwrap().1.cloned()
    }

    pub(super) fn keys(&self) -> Vec<RecordKey> {
        self.ledger.in_force().map(|(key, _)| key).collect()
    }

    fn declared(&self, name: &str) -> Declared {
        self.ledger.in_force().find(|(key, _)| *key == runtime(name)).unwrap().1
    }

    pub(super) fn file_of(&self, name: &str) -> String {
        self.declared(name).file.to_str().unwrap().to_owned()
    }

    pub(super) fn generation_of(&self, name: &str) -> u64 {
        self.declared(name).generation
    }

    // --- time

    /// A scan, long enough after the last one to confirm what that saw.
    pub(super) fn scan(&mut self) -> Vec<String> {
        self.scan_after(CONFIRM)
    }

    /// A scan; the events in short: `+NAME@GENERATION` and `-NAME`.
    pub(super) fn scan_after(&mut self, pause: Duration) -> Vec<String> {
        let outcome = self.look(pause);
        let event = |change| match change {
            Change::Apply(key, declared) => format!("+{}@{}", key.name, declared.generation),
            Change::Delete(key) => format!("-{}", key.name),
        };
        let mut events: Vec<_> = outcome.changes.into_iter().map(event).collect();
        events.sort();
        events
    }

    pub(super) fn look(&mut self, pause: Duration) -> Outcome {
        self.now += pause;
        let scanner = &mut self.scanner;
        let directories = self.mounts.iter().map(|(path, mount)| {
            let listing = if mount.hidden {
                Listing::Unreadable(DirectoryProblem::Missing)
            } else {
                let shown = mount.shown();
                let files =
                    shown.files.iter().map(|(path, content)| (path.clone(), content.sight(path, scanner)));
                let files: BTreeMap<_, _> = files.collect();
                scanner.read.retain(|file, _| !file.is_in(path) || files.contains_key(file));
                scanner.remembered.retain(|file, _| !file.is_in(path) || files.contains_key(file));
                Listing::Read { identity: Identity::OnDevice { inode: shown.number, device: 1 }, files }
            };
            (path.clone(), listing)
        });
        let scan = Scan { directories: directories.collect() };
        let outcome = self.ledger.observe(scan, self.now);
        if !self.storing_fails {
            self.save();
        }
        outcome
    }

    fn save(&mut self) {
        for save in self.ledger.unsaved() {
            match save {
                Save::Keep { path, text, held } => {
                    let held = held.into_iter().map(|(key, generation)| (key.clone(), generation)).collect();
                    self.store.insert(path.clone(), Stored { text: text.into(), held, refused: false });
                }
                Save::Forget { path } => {
                    self.store.remove(path);
                }
            }
        }
        if let Some(identities) = self.ledger.unsaved_identities() {
            self.identities = identities.into_iter().map(|(path, id)| (path.clone(), id)).collect();
        }
        self.ledger.saved();
    }

    /// A ledger made of what is stored at the moment.
    fn reloaded(&self) -> Ledger {
        let restored = self.store.iter().map(|(path, stored)| Restored {
            path: path.clone(),
            text: Arc::clone(&stored.text),
            held: stored.held.clone(),
            documents: (!stored.refused).then(|| parse(&stored.text)),
        });
        let directories = self.mounts.keys().cloned();
        Ledger::new(directories, CONFIRM, restored.collect(), self.identities.clone())
    }

    pub(super) fn restart(&mut self) {
        self.ledger = self.reloaded();
        let accepted = self.store.iter().filter(|(_, stored)| !stored.refused);
        let remembered = accepted.map(|(path, stored)| (path.clone(), Arc::clone(&stored.text)));
        self.scanner = Memory { read: BTreeMap::new(), remembered: remembered.collect() };
    }

    /// What would be there after a restart.
    pub(super) fn restarted(&self) -> Self {
        Self {
            mounts: self.mounts.clone(),
            ledger: self.reloaded(),
            now: self.now,
            store: self.store.clone(),
            identities: self.identities.clone(),
            storing_fails: false,
            scanner: Memory::default(),
        }
    }
}

impl Content {
    /// What the scanner says.
    fn sight(&self, path: &ManifestPath, scanner: &mut Memory) -> Sight {
        match self {
            Self::Good(_) if scanner.read.get(path) == Some(self) => Sight::Unchanged,
            Self::Good(records) => {
                scanner.read.insert(path.clone(), self.clone());
                let text = serde_json::to_string(records).unwrap();
                match scanner.remembered.remove(path) {
                    Some(remembered) if *remembered == *text => Sight::AsRemembered,
                    _ => Sight::Usable { documents: parse(&text), text: text.into() },
                }
            }
            Self::Bad => {
                scanner.read.remove(path);
                scanner.remembered.remove(path);
                Sight::Unusable(vec![Problem::DanglingSymlink])
            }
            Self::Busy => Sight::BeingWritten,
        }
    }
}
