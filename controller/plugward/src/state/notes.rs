//! Small facts, kept in memory and on disk.
//!
//! They change rarely, and are stored when a change returns: a controller that ends at any moment afterwards is followed by
//! one that knows. Changes that come while another thread writes are left to that one.
//!
//! Most of them are about processes that run, which no power cut leaves running: these are not flushed. Who changes them does so where
//! hosts' connections are served, and a busy disk takes seconds to flush.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files::{self, StateError};

/// Facts of one file. Clones share them.
#[derive(Debug)]
pub(super) struct Notes<T>(Arc<Shared<T>>);

/// What facts outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlive {
    /// The controller.
    Process,
    /// A power cut, too.
    PowerCut,
}

#[derive(Debug)]
struct Shared<T> {
    path: PathBuf,
    outlive: Outlive,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    facts: T,
    /// Whether the file is older.
    unwritten: bool,
    /// Whether somebody is writing.
    writing: bool,
}

// === impl Notes ===

impl<T: Serialize + DeserializeOwned + Clone + Default + Send + 'static> Notes<T> {
    /// Those of the file at `path`, or none. A file that cannot be understood is begun anew.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(super) fn open(path: PathBuf, outlive: Outlive) -> Result<Self, StateError> {
        let facts = match files::read(&path) {
            Ok(facts) => facts.unwrap_or_default(),
            Err(error @ StateError::Damaged { .. }) => {
                tracing::warn!(path = %path.display(), error = crate::errors::chain(&error), "begun anew");
                T::default()
            }
            Err(error) => return Err(error),
        };
        let inner = Mutex::new(Inner { facts, unwritten: false, writing: false });
        Ok(Self(Arc::new(Shared { path, outlive, inner })))
    }

    /// Looks at them.
    pub(super) fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0.lock().facts)
    }

    /// Changes them, and stores that: it blocks for as long as a small file takes, on the disk if it is to outlive a power cut. `change` says whether it did.
    pub(super) fn change(&self, change: impl FnOnce(&mut T) -> bool) {
        let mut inner = self.0.lock();
        if !change(&mut inner.facts) {
            return;
        }
        inner.unwritten = true;
        if !std::mem::replace(&mut inner.writing, true) {
            drop(inner);
            self.0.write();
        }
    }
}

impl<T> Clone for Notes<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// === impl Shared ===

impl<T: Serialize + Clone> Shared<T> {
    fn write(&self) {
        loop {
            let facts = {
                let mut inner = self.lock();
                if !std::mem::take(&mut inner.unwritten) {
                    inner.writing = false;
                    return;
                }
                inner.facts.clone()
            };
            let written = match self.outlive {
                Outlive::Process => files::write_unflushed(&self.path, &facts),
                Outlive::PowerCut => files::write(&self.path, &facts),
            };
            if let Err(error) = written {
                let error = crate::errors::chain(&error);
                tracing::warn!(path = %self.path.display(), error, "not stored; a restart would not know it");
            }
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // A change that panics leaves facts, if not the right ones; they are worth no more than that.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
