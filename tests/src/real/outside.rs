//! Places to which nobody may have the controller connect.

use std::io;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A socket of which nobody should know.
#[derive(Debug)]
pub struct Outside {
    listener: UnixListener,
    path: PathBuf,
}

// === impl Outside ===

impl Outside {
    /// Listens there, for anybody.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn listen(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener, path: path.to_owned() }
    }

    /// The same as a socket of this user's. The test must be root's.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn of(self, user: u32) -> Self {
        chown(&self.path, Some(user), Some(user)).unwrap();
        self
    }

    /// Where it is.
    ///
    /// # Panics
    /// When its path is no text.
    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// How many have connected since this was asked last.
    ///
    /// # Panics
    /// When that cannot be told.
    pub fn connections(&self) -> usize {
        for count in 0.. {
            match self.listener.accept() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return count,
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!("there is no end of numbers")
    }
}
