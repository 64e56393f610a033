//! Files that are replaced as a whole, or not at all.
//!
//! Every file of the state directory is written through this module. After a crash at any instruction, or on a
//! full disk, a file holds its old bytes or its new ones, never a mixture, and never nothing in place of old
//! bytes. When [`write()`] has returned, the new bytes survive a power cut.
//!
//! A crash between creating the temporary file and renaming it leaves `.NAME.tmp-…` behind. Such files are never
//! read; [`sweep`] removes them when the program starts.
//!
//! The functions block: the caller chooses the thread.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(test)]
pub(crate) mod tests;

/// From this number of files on, one flush of the whole file system is cheaper than one for each file.
const FLUSH_TOGETHER: usize = 8;

/// What separates a file's name from the number in the name of its temporary file.
const TEMPORARY: &str = ".tmp-";

/// A file operation that failed; the old file is as it was.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}")]
pub struct AtomicError {
    /// What was tried.
    pub operation: Operation,
    /// The file or directory it was tried on.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// The operations, as they are named in messages and labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Creating the temporary file.
    Create,
    /// Setting its permissions.
    SetMode,
    /// Writing the bytes.
    Write,
    /// Making bytes or a directory's entries durable.
    Flush,
    /// Putting the temporary file in the place of the old one.
    Rename,
    /// Removing a file.
    Remove,
    /// Listing or opening a directory.
    List,
}

/// Whether there was something to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The file was there and is gone.
    Removed,
    /// There was no such file.
    WasAbsent,
}

/// Replaces or creates the file at `path`, with exactly the permission bits `mode` whatever the umask is.
///
/// # Errors
/// The old file is then untouched. The one exception is a failed flush of the directory after the rename: the
/// new bytes are in place, and only a power cut could still bring the old ones back.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AtomicError> {
    let directory = directory_of(path);
    Temporary::create(directory, name_of(path), bytes, mode, Flush::Now)?.rename(path)?;
    flush_directory(directory)
}

/// The same for what need not outlive a power cut: nothing is flushed, so that it takes no longer than memory does, however busy the disk is.
/// A process that comes after this one finds the new bytes.
///
/// # Errors
/// The old file is then untouched.
pub fn write_unflushed(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AtomicError> {
    Temporary::create(directory_of(path), name_of(path), bytes, mode, Flush::Later)?.rename(path)
}

/// The same for a file that is to belong to `group`, where we may give it to that: nobody ever sees it there with another.
///
/// # Errors
/// As [`write()`].
pub fn write_for(path: &Path, bytes: &[u8], mode: u32, group: Option<u32>) -> Result<(), AtomicError> {
    let directory = directory_of(path);
    let temporary = Temporary::create(directory, name_of(path), bytes, mode, Flush::Now)?;
    if let Some(group) = group {
        // Who is not in the group cannot. The caller sees what came of it.
        let _ = chown(&temporary.path, None, Some(group));
    }
    temporary.rename(path)?;
    flush_directory(directory)
}

/// Replaces or creates many files of one directory, as [`write()`] does for each, with few flushes.
///
/// # Errors
/// When writing or flushing fails, no file has been replaced. When a rename fails, the files before it have.
pub fn write_all(directory: &Path, files: &[(&OsStr, &[u8])], mode: u32) -> Result<(), AtomicError> {
    let flush = if files.len() < FLUSH_TOGETHER { Flush::Now } else { Flush::Later };
    let written = files
        .iter()
        .map(|(name, bytes)| Temporary::create(directory, name, bytes, mode, flush))
        .collect::<Result<Vec<_>, _>>()?;
    if flush == Flush::Later {
        flush_file_system(directory)?;
    }
    for (temporary, (name, _)) in written.into_iter().zip(files) {
        temporary.rename(&directory.join(name))?;
    }
    flush_directory(directory)
}

/// Removes the file at `path`, durably. A file that is not there is no error.
///
/// # Errors
/// The system's, when the file is there and cannot be removed.
pub fn remove(path: &Path) -> Result<Removed, AtomicError> {
    match fs::remove_file(path) {
        Ok(()) => flush_directory(directory_of(path)).map(|()| Removed::Removed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removed::WasAbsent),
        Err(error) => Err(failed(Operation::Remove, path, error)),
    }
}

/// Removes what crashed writers left in `directory`, and says how many files that were.
///
/// Only for a directory that no one writes to at the moment.
///
/// # Errors
/// When the directory cannot be listed or a leftover cannot be removed.
pub fn sweep(directory: &Path) -> Result<usize, AtomicError> {
    let mut removed = 0;
    let entries = fs::read_dir(directory).map_err(|error| failed(Operation::List, directory, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed(Operation::List, directory, error))?;
        if is_temporary(&entry.file_name()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| failed(Operation::Remove, &path, error))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with('.') && name.contains(TEMPORARY))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or(path.as_os_str())
}

fn flush_directory(directory: &Path) -> Result<(), AtomicError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|error| failed(Operation::Flush, directory, error))
}

fn flush_file_system(directory: &Path) -> Result<(), AtomicError> {
    File::open(directory)
        .and_then(|opened| rustix::fs::syncfs(opened).map_err(io::Error::from))
        .map_err(|error| failed(Operation::Flush, directory, error))
}

fn failed(operation: Operation, path: &Path, source: io::Error) -> AtomicError {
    AtomicError { operation, path: path.to_owned(), source }
}

/// A written file that is not in its place yet, removed when it never gets there.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    in_place: bool,
}

/// Who makes a temporary file's bytes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Its creation does.
    Now,
    /// The caller does, before it renames, if anybody does.
    Later,
}

// === impl Temporary ===

impl Temporary {
    fn create(
        directory: &Path,
        name: &OsStr,
        bytes: &[u8],
        mode: u32,
        flush: Flush,
    ) -> Result<Self, AtomicError> {
        /// Makes the names of one process distinct; the process id makes those of several so.
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut unique = OsString::from(".");
        unique.push(name);
        unique.push(format!("{TEMPORARY}{}-{number}", std::process::id()));
        let path = directory.join(unique);
        // An earlier process of this id may have crashed and left a file of this very name.
        remove_quietly(&path);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(Operation::Create, &path, error))?;
        let temporary = Self { path, in_place: false };
        let failed = |operation, error| failed(operation, &temporary.path, error);
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|error| failed(Operation::SetMode, error))?;
        file.write_all(bytes).map_err(|error| failed(Operation::Write, error))?;
        if flush == Flush::Now {
            file.sync_all().map_err(|error| failed(Operation::Flush, error))?;
        }
        Ok(temporary)
    }

    fn rename(mut self, to: &Path) -> Result<(), AtomicError> {
        fs::rename(&self.path, to).map_err(|error| failed(Operation::Rename, to, error))?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.in_place {
            remove_quietly(&self.path);
        }
    }
}

/// Removes a file whose absence or presence changes nothing: what stays behind is swept at the next start.
fn remove_quietly(path: &Path) {
    let _ = fs::remove_file(path);
}

// === impl Operation ===

impl Operation {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::SetMode => "set_mode",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
