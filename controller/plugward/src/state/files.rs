//! Versioned JSON files with mode 0600, and the directories they lie in.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::atomic::{self, AtomicError};
use crate::parallel;

/// What the state directory could not do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A directory could not be made.
    #[error("cannot make the state directory {}", path.display())]
    MakeDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory belongs to somebody else.
    #[error(
        "the state directory {} belongs to user {owner}, and this is user {us}: \
         give --state-dir a directory of your own, or change its owner",
        path.display()
    )]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Our effective user.
        us: u32,
    },
    /// A directory could not be listed.
    #[error("cannot read the state directory {}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read the state file {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error(
        "the state file {} is damaged or of another version: put back a good one, or remove it to start afresh",
        path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The cluster id is not the one that was asked for.
    #[error(
        "the state directory belongs to cluster {kept:?}, and --cluster-id says {wanted:?}: \
         leave the flag out, or use another --state-dir"
    )]
    OtherCluster {
        /// The one in the directory.
        kept: String,
        /// The one asked for.
        wanted: String,
    },
    /// A file could not be written, or removed.
    #[error("cannot store the controller's state")]
    Write(#[source] AtomicError),
    /// The system gave no random bytes.
    #[error("the system gives no random numbers")]
    Random(#[source] io::Error),
    /// The thread that was to do it ended.
    #[error("the thread that writes state was ended")]
    Interrupted,
}

/// The layout of the files. A file of another version is damaged to us.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct VersionedRef<'a, T> {
    version: u32,
    data: &'a T,
}

#[derive(Deserialize)]
struct Versioned<T> {
    version: u32,
    data: T,
}

impl StateError {
    /// The name used in labels.
    pub const fn category(&self) -> &'static str {
        "state"
    }
}

/// Runs file work where it may block.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StateError::Interrupted))
}

/// Makes a directory that is only ours, unless it is there.
pub(super) fn make_private(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::MakeDirectory { path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let owner = fs::metadata(path).map_err(failed)?.uid();
    let us = rustix::process::geteuid().as_raw();
    if owner == us { Ok(()) } else { Err(StateError::NotOurs { path: path.to_owned(), owner, us }) }
}

/// Removes what a crash left of a write that was under way.
pub(super) fn sweep(directory: &Path) -> Result<(), StateError> {
    atomic::sweep(directory).map(drop).map_err(StateError::Write)
}

/// Reads a file, `None` when there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Read { path: path.to_owned(), source }),
    };
    let damaged = |source| StateError::Damaged { path: path.to_owned(), source };
    let file: Versioned<T> = serde_json::from_slice(&bytes).map_err(damaged)?;
    if file.version == VERSION {
        Ok(Some(file.data))
    } else {
        let message = format!("version {} is not {VERSION}", file.version);
        Err(damaged(serde::de::Error::custom(message)))
    }
}

/// Reads every `NAME.json` of a directory. What cannot be read is set aside with a warning.
pub(super) fn read_all<K: FromStr + Ord + Send, T: DeserializeOwned + Send>(
    directory: &Path,
) -> Result<BTreeMap<K, T>, StateError> {
    let found = parallel::map(named_entries(directory, ".json")?, |(name, path)| match read(&path) {
        Ok(data) => Some((name, data?)),
        Err(error) => {
            set_aside(&path, &error);
            None
        }
    });
    Ok(found.into_iter().flatten().collect())
}

/// The entries of a directory whose names, less `suffix`, are names of that kind.
pub(super) fn named_entries<K: FromStr>(
    directory: &Path,
    suffix: &str,
) -> Result<Vec<(K, PathBuf)>, StateError> {
    let failed = |source| StateError::List { path: directory.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let text = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(suffix));
        if let Some(name) = text.and_then(|text| text.parse().ok()) {
            entries.push((name, path));
        }
    }
    Ok(entries)
}

/// Where a file goes that cannot be read. It may still hold a key: it goes with what it belonged to.
pub(super) fn aside(path: &Path) -> PathBuf {
    path.with_extension("json.unreadable")
}

fn set_aside(path: &Path, error: &StateError) {
    let moved = fs::rename(path, aside(path)).is_ok();
    tracing::warn!(
        path = %path.display(),
        set_aside = moved,
        error = crate::errors::chain(error),
        "a state file cannot be used: what it held is made again"
    );
}

/// Writes a file as a whole.
pub(super) fn write<T: Serialize>(path: &Path, data: &T) -> Result<(), StateError> {
    atomic::write(path, &encode(path, data)?, 0o600).map_err(StateError::Write)
}

/// The same for what need not outlive a power cut, without a wait for the disk.
pub(super) fn write_unflushed<T: Serialize>(path: &Path, data: &T) -> Result<(), StateError> {
    atomic::write_unflushed(path, &encode(path, data)?, 0o600).map_err(StateError::Write)
}

/// Writes `NAME.json` for each, with one flush of the disk where they are many.
pub(super) fn write_all<K: ToString, T: Serialize>(
    directory: &Path,
    files: &[(K, T)],
) -> Result<(), StateError> {
    let mut encoded = Vec::with_capacity(files.len());
    for (name, data) in files {
        let file = format!("{}.json", name.to_string());
        let bytes = encode(&directory.join(&file), data)?;
        encoded.push((file, bytes));
    }
    let borrowed: Vec<(&OsStr, &[u8])> =
        encoded.iter().map(|(file, bytes)| (OsStr::new(file.as_str()), bytes.as_slice())).collect();
    atomic::write_all(directory, &borrowed, 0o600).map_err(StateError::Write)
}

fn encode<T: Serialize>(path: &Path, data: &T) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec(&VersionedRef { version: VERSION, data })
        .map_err(|source| StateError::Damaged { path: path.to_owned(), source })
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), StateError> {
    atomic::remove(path).map(drop).map_err(StateError::Write)
}

/// Removes a directory once nothing is in it.
pub(super) fn remove_empty_directory(path: &Path) -> Result<(), StateError> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Ok(())
        }
        Err(source) => Err(StateError::List { path: path.to_owned(), source }),
    }
}
