//! Finding and opening a plugin's socket without being led astray.
//!
//! The plugin owns the directory that its socket lies in and may put anything there: a link to another service's
//! socket, a file, a pipe that blocks whoever opens it. So what has the socket's name is opened as a mere
//! reference (`O_PATH`), without following a link, looked at, and then connected to through that very reference, by
//! its name under `/proc/self/fd`. What the directory's entry becomes in between does not matter. (A
//! path of any length fits, too: a socket address holds only 107 bytes.)

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fstat, openat},
    io::Errno,
};
use tokio::{net::UnixStream, time};

use crate::Address;

/// How long to wait before another try when the plugin's queue of connections is full.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Where a plugin's socket is, as we see it: a name directly inside a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAddress {
    directory: PathBuf,
    name: OsString,
}

/// An address that has no place in the shared directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The plugin listens on TCP.
    #[error(
        "the plugin listens on TCP ({address}), and only Unix sockets in the shared directory can be reached; use a plugin built with go-plugin, \
         which listens on Unix sockets everywhere but on Windows"
    )]
    Tcp {
        /// Where it listens.
        address: String,
    },
    /// The socket is elsewhere.
    #[error(
        "the plugin's socket {address} is not directly inside the shared directory {directory}: was the plugin built with \
         go-plugin older than 1.5, which does not know PLUGIN_UNIX_SOCKET_DIR, or is that variable overridden?"
    )]
    Outside {
        /// Where it is.
        address: String,
        /// Where it should be.
        directory: PathBuf,
    },
}

/// What has the socket's name but is no socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the kind of file of that name")]
pub enum FileKind {
    SymbolicLink,
    RegularFile,
    Directory,
    Pipe,
    Device,
    Unknown,
}

/// Why a socket cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The shared directory cannot be opened, or is a symbolic link.
    #[error("the socket directory {directory} cannot be opened")]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing of that name.
    #[error("the plugin's socket {path} does not exist, though its handshake names it")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be looked at.
    #[error("the plugin's socket {path} cannot be opened")]
    Open {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else. A symbolic link is never followed, wherever it leads.
    #[error("{path} should be the plugin's socket, and is a {kind}")]
    NotASocket {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// Nobody listens on it.
    #[error("nobody listens on the plugin's socket {path}: the plugin has ended, or its line came too early")]
    Refused {
        /// Where it is.
        path: PathBuf,
    },
    /// We may not connect to it.
    #[error(
        "no permission to connect to the plugin's socket {path}: is PLUGIN_UNIX_SOCKET_GROUP set, and is this process in that group?"
    )]
    Forbidden {
        /// Where it is.
        path: PathBuf,
    },
    /// It cannot be connected to for another reason.
    #[error("the plugin's socket {path} cannot be connected to")]
    Connect {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

// === impl SocketAddress ===

impl SocketAddress {
    /// Finds the socket that a handshake names, on our side of a shared directory.
    ///
    /// # Errors
    ///
    /// When it does not lie directly inside `plugin_directory`, which is the same directory as
    /// `host_directory`, as the plugin sees it.
    pub fn translate(
        address: &Address,
        plugin_directory: &Path,
        host_directory: &Path,
    ) -> Result<Self, AddressError> {
        let address = match address {
            Address::Unix(path) => path,
            Address::Tcp(address) => return Err(AddressError::Tcp { address: address.clone() }),
        };
        let path = Path::new(address);
        match path.file_name() {
            Some(name) if path.parent() == Some(plugin_directory) && !address.contains('\0') => {
                Ok(Self { directory: host_directory.to_owned(), name: name.to_owned() })
            }
            _ => Err(AddressError::Outside {
                address: address.clone(),
                directory: plugin_directory.to_owned(),
            }),
        }
    }

    /// The directory, as we see it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The socket's name in it.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The whole path.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Connects. While the plugin's queue of connections is full this tries again, without end: limit it.
    ///
    /// Needs `/proc`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the socket.
    pub async fn connect(&self) -> Result<UnixStream, SocketError> {
        let reference = self.open()?;
        loop {
            let error = match connect_by_reference(&reference).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let path = self.path();
            match error.kind() {
                io::ErrorKind::WouldBlock => time::sleep(BUSY_PAUSE).await,
                io::ErrorKind::ConnectionRefused => return Err(SocketError::Refused { path }),
                io::ErrorKind::PermissionDenied => return Err(SocketError::Forbidden { path }),
                _ => return Err(SocketError::Connect { path, source: error }),
            }
        }
    }

    /// A reference to what is certainly a socket. Looking at a name blocks on nothing but a local file system.
    fn open(&self) -> Result<OwnedFd, SocketError> {
        let directory = openat(
            CWD,
            &self.directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| SocketError::Directory {
            directory: self.directory.clone(),
            source: errno.into(),
        })?;
        let open = |errno: Errno| SocketError::Open { path: self.path(), source: errno.into() };
        let reference = match openat(
            &directory,
            &self.name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(reference) => reference,
            Err(Errno::NOENT) => return Err(SocketError::Missing { path: self.path() }),
            Err(errno) => return Err(open(errno)),
        };
        let kind = match FileType::from_raw_mode(fstat(&reference).map_err(open)?.st_mode) {
            FileType::Socket => return Ok(reference),
            FileType::Symlink => FileKind::SymbolicLink,
            FileType::RegularFile => FileKind::RegularFile,
            FileType::Directory => FileKind::Directory,
            FileType::Fifo => FileKind::Pipe,
            FileType::CharacterDevice | FileType::BlockDevice => FileKind::Device,
            FileType::Unknown => FileKind::Unknown,
        };
        Err(SocketError::NotASocket { path: self.path(), kind })
    }
}

/// Connects to exactly the socket that was opened, whatever its name leads to by now.
async fn connect_by_reference(socket: &OwnedFd) -> io::Result<UnixStream> {
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
}

// === impl AddressError ===

impl AddressError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "address_tcp",
            Self::Outside { .. } => "address_outside",
        }
    }
}

// === impl SocketError ===

impl SocketError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "socket_directory",
            Self::Missing { .. } => "socket_missing",
            Self::Open { .. } => "socket_open",
            Self::NotASocket { .. } => "not_a_socket",
            Self::Refused { .. } => "socket_refused",
            Self::Forbidden { .. } => "socket_forbidden",
            Self::Connect { .. } => "socket_connect",
        }
    }
}

// === impl FileKind ===

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SymbolicLink => "symbolic link",
            Self::RegularFile => "regular file",
            Self::Directory => "directory",
            Self::Pipe => "named pipe",
            Self::Device => "device",
            Self::Unknown => "file of an unknown kind",
        })
    }
}

#[cfg(test)]
mod tests;
