//! Why a mount has no socket.

use std::fmt;
use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use plugward_api::MAX_SOCKET_PATH;

/// What is in the place of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A symbolic link, wherever it leads.
    SymbolicLink,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket, where a directory should be.
    Socket,
    /// A pipe or a device.
    Special,
}

/// Why a mount has no socket. Nothing was touched then.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Its path does not fit into an address.
    #[error(
        "the path {} has {} bytes, and that of a socket at most {MAX_SOCKET_PATH}: shorten the name of the instance, \
         of the mount, or the run directory",
        path.display(),
        path.as_os_str().len()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Its directory cannot be made.
    #[error("cannot make the directory {} for the sockets of an instance", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something that is no socket has its name.
    #[error("{} is in the way of a mount's socket, and is {obstacle}: remove it", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What is there.
        obstacle: Obstacle,
    },
    /// Another process listens there.
    #[error("another process listens on {}: stop it, or use another --run-dir", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// What is there cannot be looked at.
    #[error("cannot look at {}", path.display())]
    Look {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot make the mount's socket {}", path.display())]
    Make {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

// === impl Obstacle ===

impl Obstacle {
    pub(super) fn of(kind: FileType) -> Self {
        if kind.is_symlink() {
            Self::SymbolicLink
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_file() {
            Self::File
        } else if kind.is_socket() {
            Self::Socket
        } else {
            Self::Special
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SymbolicLink => "a symbolic link",
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Socket => "a socket",
            Self::Special => "a pipe or a device",
        })
    }
}

// === impl SocketError ===

impl SocketError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "socket_path_too_long",
            Self::Directory { .. } => "socket_directory",
            Self::InTheWay { .. } => "socket_in_the_way",
            Self::InUse { .. } => "socket_in_use",
            Self::Look { .. } => "socket_look",
            Self::Make { .. } => "socket_make",
        }
    }
}
