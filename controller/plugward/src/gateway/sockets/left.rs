//! What earlier controllers left, removed.
//!
//! Only sockets that no process has bound, and only under names that a controller gives. All else stays, and keeps
//! its directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plugward_api::Name;

use super::place::{Found, look};
use super::{MountKey, SOCKET, UNFINISHED};

/// A file of an instance's directory, as far as its name is one that a controller gives.
enum File {
    /// The socket of a mount.
    Socket(Name),
    /// A socket that did not get its place.
    Unfinished,
}

/// Removes the sockets under `root` that are of no mount which `stays`, and the directories that are empty then.
pub(super) fn sweep(root: &Path, stays: impl Fn(&MountKey) -> bool) {
    for (name, directory) in entries(root) {
        let instance = name.to_str().and_then(|name| name.parse::<Name>().ok());
        let Some(instance) = instance.filter(|_| is_directory(&directory)) else { continue };
        for (name, path) in entries(&directory) {
            let left = match file_of(&name) {
                Some(File::Socket(mount)) => !stays(&(instance.clone(), mount)),
                Some(File::Unfinished) => true,
                None => false,
            };
            if left {
                remove_stale(&path);
            }
        }
        remove_if_empty(&directory);
    }
}

/// Removes a file, or logs why it stays.
pub(super) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => tracing::debug!(path = %path.display(), "a socket is removed"),
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove a socket"),
    }
}

/// Removes a directory that holds nothing any more; what it still holds keeps it.
pub(super) fn remove_if_empty(directory: &Path) {
    let _ = fs::remove_dir(directory);
}

fn remove_stale(path: &Path) {
    match look(path) {
        Ok(Found::Stale) => remove(path),
        Ok(Found::Nothing) => {}
        Ok(Found::Live(_)) => {
            tracing::warn!(path = %path.display(), "another process listens on a socket of no mount: it stays");
        }
        Ok(Found::Other(obstacle)) => {
            tracing::warn!(path = %path.display(), %obstacle, "what has a socket's name is none: it stays");
        }
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot look at a socket that was left"),
    }
}

/// What a file is, by its name. Names of mounts have no dots.
fn file_of(name: &OsStr) -> Option<File> {
    let (mount, ending) = name.to_str()?.split_once('.')?;
    let mount = mount.parse().ok()?;
    match ending {
        SOCKET => Some(File::Socket(mount)),
        UNFINISHED => Some(File::Unfinished),
        _ => None,
    }
}

/// What a directory holds. One that is not there holds nothing.
fn entries(directory: &Path) -> Vec<(OsString, PathBuf)> {
    let read = fs::read_dir(directory).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| (entry.file_name(), entry.path()))).collect()
    });
    read.unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(path = %directory.display(), %error, "cannot look for sockets that were left");
        }
        Vec::new()
    })
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}
