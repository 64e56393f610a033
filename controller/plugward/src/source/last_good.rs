//! What must outlive the controller: the last good version of every manifest, and which directories they lie in.
//!
//! One file per manifest, named for the hash of the manifest's path, 0600 because manifests may hold secrets; and
//! `directories.json`. The text is kept as it was read, and parsed again at the next start: what a record is
//! and what its defaults are is for the program that runs to say.
//!
//! A file here that cannot be understood (a damaged disk, a newer plugward) is never guessed at. It is reported,
//! forbids the removal of what no manifest declares ([`removals_allowed`](super::Report::removals_allowed)), and
//! goes when its manifest is good again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use plugward_api::{Kind, Name, RecordKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ledger::Save;
use super::path::ManifestPath;
use super::scan::Identity;
use crate::atomic::{self, AtomicError};
use crate::parallel;

#[cfg(test)]
mod tests;

/// The version of both kinds of file. A file of another version is not read.
const VERSION: u32 = 1;

/// Where the directories' identities are.
const DIRECTORIES: &str = "directories.json";

/// Nobody but us reads them.
const MODE: u32 = 0o600;

/// The directory of the last good versions, and what an earlier run left in it.
///
/// Only one process may have it at a time: the caller holds the lock of the state directory.
#[derive(Debug)]
pub struct LastGood {
    directory: PathBuf,
    stored: Vec<StoredManifest>,
    identities: BTreeMap<PathBuf, Identity>,
    /// Files that could not be understood, by their names, each with the reason.
    damaged: BTreeMap<String, String>,
}

/// The directory of the last good versions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// It could not be made.
    #[error("create {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It or a file in it could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What crashed writers left could not be removed.
    #[error("clean up after an earlier run")]
    Sweep(#[from] AtomicError),
}

/// A manifest as it was stored.
pub(crate) struct StoredManifest {
    pub(crate) path: ManifestPath,
    pub(crate) text: String,
    pub(crate) held: BTreeMap<RecordKey, u64>,
}

/// What a file holds.
enum Stored {
    Manifest(StoredManifest),
    Directories(BTreeMap<PathBuf, Identity>),
}

/// A manifest's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ManifestFile<T> {
    version: u32,
    path: T,
    held: Vec<Held>,
    text: T,
}

/// A name that a manifest holds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Held {
    kind: Kind,
    name: Name,
    generation: u64,
}

/// The file of the directories' identities.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DirectoriesFile {
    version: u32,
    directories: Vec<DirectoryEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DirectoryEntry {
    path: PathBuf,
    identity: Identity,
}

/// The part of every file that says whether the rest can be understood.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

// === impl LastGood ===

impl LastGood {
    /// Opens the directory, and makes it (0700) where there is none.
    ///
    /// # Errors
    /// When it cannot be made, listed or cleaned, or a file in it cannot be read. A file that was read and cannot be
    /// understood is no error: see [`damaged`](Self::damaged).
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LastGoodError> {
        let directory = directory.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|source| LastGoodError::Create { path: directory.clone(), source })?;
        atomic::sweep(&directory)?;
        let mut opened =
            Self { directory, stored: Vec::new(), identities: BTreeMap::new(), damaged: BTreeMap::new() };
        opened.load()?;
        Ok(opened)
    }

    fn load(&mut self) -> Result<(), LastGoodError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| LastGoodError::Read { path, source }
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(unreadable(&self.directory))? {
            let path = entry.map_err(unreadable(&self.directory))?.path();
            let Some(name) = path.file_name().and_then(OsStr::to_str).map(str::to_owned) else { continue };
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push((name, path));
            }
        }
        let read = parallel::map(files, |(name, path)| {
            let bytes = fs::read(&path).map_err(unreadable(&path))?;
            let understood = understand(&name, &bytes);
            Ok::<_, LastGoodError>((name, understood))
        });
        for file in read {
            match file? {
                (_, Ok(Stored::Manifest(manifest))) => self.stored.push(manifest),
                (_, Ok(Stored::Directories(identities))) => self.identities = identities,
                (name, Err(reason)) => {
                    self.damaged.insert(name, reason);
                }
            }
        }
        self.stored.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// What the last run stored, in the order of the paths. Gives it away: it is asked for once.
    pub(crate) fn take(&mut self) -> (Vec<StoredManifest>, BTreeMap<PathBuf, Identity>) {
        (std::mem::take(&mut self.stored), std::mem::take(&mut self.identities))
    }

    /// The files that cannot be understood, each with the reason.
    pub fn damaged(&self) -> impl Iterator<Item = (PathBuf, &str)> {
        self.damaged.iter().map(|(name, reason)| (self.directory.join(name), reason.as_str()))
    }

    /// Stores what is to be kept, then removes what is to be forgotten: a name that goes from one manifest to another
    /// is at no instant in neither.
    pub(crate) fn store<'a>(&mut self, saves: impl Iterator<Item = Save<'a>>) -> Result<(), AtomicError> {
        let mut keep = Vec::new();
        let mut forget = BTreeSet::new();
        for save in saves {
            match save {
                Save::Keep { path, text, held } => {
                    let held = held.into_iter().map(|(key, generation)| Held {
                        kind: key.kind,
                        name: key.name.clone(),
                        generation,
                    });
                    let file =
                        ManifestFile { version: VERSION, path: path.as_str(), held: held.collect(), text };
                    keep.push((file_name(path), json(&file)));
                }
                Save::Forget { path } => {
                    forget.insert(file_name(path));
                }
            }
        }
        let files: Vec<_> = keep.iter().map(|(name, bytes)| (OsStr::new(name), bytes.as_slice())).collect();
        if !files.is_empty() {
            atomic::write_all(&self.directory, &files, MODE)?;
        }
        for name in &forget {
            atomic::remove(&self.directory.join(name))?;
        }
        for name in keep.iter().map(|(name, _)| name).chain(&forget) {
            self.damaged.remove(name);
        }
        Ok(())
    }

    /// Stores the directories' identities.
    pub(crate) fn store_identities(
        &mut self,
        identities: BTreeMap<&PathBuf, Identity>,
    ) -> Result<(), AtomicError> {
        let directories = identities
            .into_iter()
            .map(|(path, identity)| DirectoryEntry { path: path.clone(), identity })
            .collect();
        let bytes = json(&DirectoriesFile { version: VERSION, directories });
        atomic::write(&self.directory.join(DIRECTORIES), &bytes, MODE)?;
        self.damaged.remove(DIRECTORIES);
        Ok(())
    }
}

fn understand(name: &str, bytes: &[u8]) -> Result<Stored, String> {
    // The parser's own words may quote a secret.
    let invalid = |error: serde_json::Error| {
        format!("it is not as plugward writes it, at line {} column {}", error.line(), error.column())
    };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(invalid)?;
    if version != VERSION {
        return Err(format!("it has version {version}; this plugward knows version {VERSION}"));
    }
    if name == DIRECTORIES {
        let file: DirectoriesFile = serde_json::from_slice(bytes).map_err(invalid)?;
        let entries = file.directories.into_iter().map(|entry| (entry.path, entry.identity));
        return Ok(Stored::Directories(entries.collect()));
    }
    let file: ManifestFile<String> = serde_json::from_slice(bytes).map_err(invalid)?;
    let path = ManifestPath::new(&file.path);
    if name != file_name(&path) {
        return Err(format!("it is about {path}, and has another file's name"));
    }
    let held =
        file.held.into_iter().map(|held| (RecordKey { kind: held.kind, name: held.name }, held.generation));
    Ok(Stored::Manifest(StoredManifest { path, text: file.text, held: held.collect() }))
}

/// The name of a manifest's file: short, and of harmless characters, whatever the manifest is called.
fn file_name(path: &ManifestPath) -> String {
    let mut name = String::with_capacity(2 * 32 + ".json".len());
    for byte in Sha256::digest(path.as_str().as_bytes()) {
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(".json");
    name
}

#[expect(clippy::expect_used, reason = "text, numbers and lists of them always have a JSON form")]
fn json(file: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(file).expect("serialize")
}

// === impl StoredManifest ===

/// A manifest may hold secrets: its text is not shown.
impl std::fmt::Debug for StoredManifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredManifest")
            .field("path", &self.path)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
