//! Events of the file system: they say when to look, never what there is.
//!
//! A directory is watched itself. The watch ends with the directory, so it is compared with what is at the path
//! before every scan, and made anew where that is another directory now. While there is nothing at the path, or a
//! symlink, which can be turned to another directory unnoticed, the parent is watched as well. What no event tells
//! (something mounted over the directory, the file behind a symlink, a file system of another machine) the
//! periodic scan finds.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::path::is_manifest;
use super::scan::{Identity, Writer};

#[cfg(test)]
mod tests;

/// Keeps the watches where they have to be.
pub(super) struct Watcher {
    directories: Vec<PathBuf>,
    inbox: Arc<Inbox>,
    /// Nothing while the system gives us no inotify instance.
    notify: Option<RecommendedWatcher>,
    /// What is watched, and which directory it was.
    watched: BTreeMap<PathBuf, Identity>,
}

/// What the events said.
#[derive(Debug)]
pub(super) struct Inbox {
    directories: Vec<PathBuf>,
    /// How long a writer is believed to be at work after its last write.
    patience: Duration,
    wake: Notify,
    /// The writers of manifests, by the file's name, not by its path: two paths of one directory give events for one of
    /// them only.
    writers: Mutex<HashMap<String, Writing>>,
}

/// What a writer did last.
#[derive(Debug, Clone, Copy)]
enum Writing {
    /// It wrote, then, and did not close the file since.
    Wrote(Instant),
    /// It closed the file, or renamed it to its place.
    Done,
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn new(directories: Vec<PathBuf>, inbox: Arc<Inbox>) -> Self {
        Self { directories, inbox, notify: None, watched: BTreeMap::new() }
    }

    /// Puts watches on what is at the paths now. To be called before a scan: what changes after this gives an event.
    /// Returns the directories that are not watched although they are there, each with the reason.
    pub(super) fn adjust(&mut self) -> BTreeMap<PathBuf, String> {
        let wanted = self.wanted();
        let mut unwatched = BTreeMap::new();
        if self.notify.is_none() {
            let inbox = Arc::clone(&self.inbox);
            self.watched.clear();
            self.notify = match notify::recommended_watcher(move |event| inbox.take_in(event)) {
                Ok(notify) => Some(notify),
                Err(error) => {
                    for directory in self.directories.iter().filter(|path| wanted.contains_key(*path)) {
                        unwatched.insert(directory.clone(), error.to_string());
                    }
                    return unwatched;
                }
            };
        }
        let Some(notify) = &mut self.notify else { return unwatched };
        self.watched.retain(|path, identity| {
            let keep = wanted.get(path) == Some(identity);
            if !keep {
                // The watch may have ended with its directory: then there is none to remove.
                let _ = notify.unwatch(path);
            }
            keep
        });
        for (path, identity) in wanted {
            if self.watched.contains_key(&path) {
                continue;
            }
            match notify.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                }
                Err(error) if self.directories.contains(&path) => {
                    unwatched.insert(path, error.to_string());
                }
                // A parent is watched for speed alone.
                Err(_) => {}
            }
        }
        unwatched
    }

    /// Whether the directory that a scan found is the one whose changes give events, or none can be had.
    pub(super) fn is_watched(&self, path: &Path, identity: Identity) -> bool {
        self.watched.get(path).is_none_or(|watched| *watched == identity)
    }

    fn wanted(&self) -> BTreeMap<PathBuf, Identity> {
        let mut wanted = BTreeMap::new();
        for directory in &self.directories {
            let found = Identity::at(directory);
            if let Ok(identity) = found {
                wanted.insert(directory.clone(), identity);
            }
            if (found.is_err() || directory.is_symlink())
                && let Some(parent) = directory.parent()
                && let Ok(identity) = Identity::at(parent)
            {
                wanted.insert(parent.to_owned(), identity);
            }
        }
        wanted
    }
}

// === impl Inbox ===

impl Inbox {
    pub(super) fn new(directories: Vec<PathBuf>, patience: Duration) -> Self {
        Self { directories, patience, wake: Notify::new(), writers: Mutex::default() }
    }

    /// Waits until something happened since the last call returned.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What is known of the writer of a manifest of this name. That it is done is said once: what happens to the file
    /// unnoticed afterwards, its times have to tell.
    pub(super) fn writer(&self, name: &str) -> Writer {
        let mut writers = self.writers();
        match writers.get(name) {
            Some(Writing::Wrote(last)) if last.elapsed() < self.patience => Writer::AtWork,
            // The end of the writing was lost, or the writer sleeps.
            Some(Writing::Wrote(_)) => {
                writers.remove(name);
                Writer::Unknown
            }
            Some(Writing::Done) => {
                writers.remove(name);
                Writer::Done
            }
            None => Writer::Unknown,
        }
    }

    /// Whether some manifest was finished since the last look.
    pub(super) fn someone_is_done(&self) -> bool {
        self.writers().values().any(|writing| matches!(writing, Writing::Done))
    }

    fn take_in(&self, event: notify::Result<Event>) {
        // An error is a lost event.
        if event.is_ok_and(|event| !self.note(&event)) {
            return;
        }
        self.wake.notify_one();
    }

    /// Notes who is writing, and says whether there is reason to look.
    fn note(&self, event: &Event) -> bool {
        if event.need_rescan() {
            return true;
        }
        let mut look = false;
        for path in &event.paths {
            let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
            look |= match event.kind {
                // Of both names we are told already, each for itself; and what opens and reads may be ourselves, when we look.
                EventKind::Modify(ModifyKind::Name(RenameMode::Both))
                | EventKind::Access(AccessKind::Open(_) | AccessKind::Close(AccessMode::Read)) => false,
                // The writer is not done: its closing of the file is worth looking, not this.
                EventKind::Modify(ModifyKind::Data(_)) if is_manifest(name.as_bytes()) => {
                    self.writers().insert(name.to_owned(), Writing::Wrote(Instant::now()));
                    false
                }
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(RenameMode::To))
                    if is_manifest(name.as_bytes()) =>
                {
                    self.writers().insert(name.to_owned(), Writing::Done);
                    true
                }
                _ => {
                    // Removed, renamed, or with other permissions: whatever it is now, it can be looked at.
                    if !matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_))) {
                        self.writers().remove(name);
                    }
                    self.directories.contains(path) || is_manifest(name.as_bytes()) || is_pointer(name)
                }
            };
        }
        look
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<String, Writing>> {
        // The map is whole whatever panicked.
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is a name like `..data`, by which Kubernetes turns all files of a mounted `ConfigMap` at once.
fn is_pointer(name: &str) -> bool {
    name.starts_with("..")
}
