//! What an engine that runs without root's rights needs on the machine.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::engine::TestEngine;

/// A directory under the runtime directory of such an engine's user, which belongs to that user. Dropping it removes it.
pub struct UserDirectory(TempDir);

// === impl UserDirectory ===

impl UserDirectory {
    /// A new one.
    ///
    /// # Panics
    /// When it cannot be made: that needs root.
    pub fn new(engine: &TestEngine) -> Self {
        let (user, group) = engine.user();
        let parent = PathBuf::from(format!("/run/user/{user}"));
        let directory = tempfile::Builder::new().prefix("pw").tempdir_in(parent).unwrap();
        chown(directory.path(), Some(user), Some(group)).unwrap();
        Self(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
