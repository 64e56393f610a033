//! A socket of ours in a directory that may be shared with the other side.
//!
//! The other side may own the directory, and put a link where our socket was a moment ago. So the socket is made, given away
//! and removed by its name in the directory as it was opened, and what is given away is first looked at: it is a socket, and ours.

use std::{
    fmt,
    io::{self, Error},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, chmod, chownat, fstat, openat, unlinkat},
    process::geteuid,
};
use tokio::net::UnixListener;

use crate::{Address, Inbound, identity};

/// The longest path that a socket's address can hold, in bytes.
#[cfg(feature = "serve")]
const PATH_LIMIT: usize = 107;

/// For everybody, to connect to.
const OPEN: Mode = Mode::from_raw_mode(0o666);

/// For its owner and its group, to connect to.
const SHARED: Mode = Mode::from_raw_mode(0o660);

/// A socket that accepts connections, and goes when it is dropped.
pub struct Listener {
    socket: UnixListener,
    directory: OwnedFd,
    path: PathBuf,
    name: String,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The directory cannot be opened, or is a symbolic link.
    #[error("the socket directory {directory} cannot be opened")]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// It cannot be made.
    #[error("the socket {path} cannot be made")]
    Bind {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// It cannot be given to its group, or be opened to it.
    #[error("the socket {path} cannot be given to its group{}", .group.map(|group| format!(" {group}")).unwrap_or_default())]
    Share {
        /// Where it is.
        path: PathBuf,
        /// The group; `None` is that of the directory or of this process.
        group: Option<u32>,
        /// Why.
        #[source]
        source: Error,
    },
}

// === impl Listener ===

impl Listener {
    /// Listens for a plugin on a new socket, in the directory that it shares with us. The socket has a name like those of the
    /// plugin's own, and mode 0660; `group` is its group, if given. Must be called within a tokio runtime.
    ///
    /// The path may be longer than a socket's address can hold; the plugin's own path to it may not.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made, or not be given to the group. None is left then.
    pub fn bind(directory: &Path, group: Option<u32>) -> Result<Self, ListenError> {
        let listener = Self::new(directory, OFlags::NOFOLLOW)?;
        listener.share(group)?;
        Ok(listener)
    }

    /// Listens as a plugin does: for whom the umask leaves where there is no group.
    #[cfg(feature = "serve")]
    pub(crate) fn bind_as_plugin(directory: &Path, group: Option<u32>) -> Result<Self, ListenError> {
        let listener = Self::new(directory, OFlags::empty())?;
        if listener.path.as_os_str().len() > PATH_LIMIT {
            let source = Error::new(
                io::ErrorKind::InvalidInput,
                format!("its path is longer than {PATH_LIMIT} bytes"),
            );
            return Err(ListenError::Bind { path: listener.path.clone(), source });
        }
        if group.is_some() {
            listener.share(group)?;
        }
        Ok(listener)
    }

    fn new(path: &Path, links: OFlags) -> Result<Self, ListenError> {
        let directory =
            openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | links, Mode::empty())
                .map_err(|errno| ListenError::Directory {
                    directory: path.to_owned(),
                    source: errno.into(),
                })?;
        loop {
            let (name, path) = match name() {
                Ok(name) => (name.clone(), path.join(name)),
                Err(source) => return Err(ListenError::Bind { path: path.to_owned(), source }),
            };
            match UnixListener::bind(by_reference(&directory, &name)) {
                Ok(socket) => return Ok(Self { socket, directory, path, name }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => (),
                Err(source) => return Err(ListenError::Bind { path, source }),
            }
        }
    }

    fn share(&self, group: Option<u32>) -> Result<(), ListenError> {
        self.try_share(group).map_err(|source| ListenError::Share { path: self.path.clone(), group, source })
    }

    /// Lets everybody connect who can come to the socket: for a directory that itself is open to the plugin and its host alone.
    ///
    /// gVisor connects with the user and the group of the plugin's process, and without its other groups, so that a socket which
    /// is open to one of those is closed to a plugin there.
    ///
    /// # Errors
    ///
    /// When its mode cannot be changed.
    pub fn open_to_all(&self) -> Result<(), ListenError> {
        let opened = self.reference().and_then(|socket| set_mode(&socket, OPEN));
        opened.map_err(|source| ListenError::Share { path: self.path.clone(), group: None, source })
    }

    /// The socket, if it is still what has its name.
    fn reference(&self) -> io::Result<OwnedFd> {
        let socket = openat(
            &self.directory,
            self.name.as_str(),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let found = fstat(&socket)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket || found.st_uid != geteuid().as_raw() {
            return Err(Error::other("something else has its name"));
        }
        Ok(socket)
    }

    fn try_share(&self, group: Option<u32>) -> io::Result<()> {
        let socket = self.reference()?;
        if let Some(group) = group {
            chownat(&socket, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?;
        }
        set_mode(&socket, SHARED)
    }

    /// Where it is, as this process sees it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is for one who sees its directory as `directory`: what to announce to a plugin.
    pub fn address_in(&self, directory: &str) -> Address {
        Address::Unix(format!("{}/{}", directory.trim_end_matches('/'), self.name))
    }

    /// The next connection. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// When the system has none to give, as while too many files are open. Then wait a little.
    pub async fn accept(&self) -> io::Result<Inbound> {
        let (stream, _) = self.socket.accept().await?;
        Ok(Inbound::new(stream))
    }
}

/// What is opened as a reference only has no other way to its mode.
fn set_mode(reference: &OwnedFd, mode: Mode) -> io::Result<()> {
    Ok(chmod(format!("/proc/self/fd/{}", reference.as_raw_fd()), mode)?)
}

/// The name of an entry of a directory, whatever that directory is called by now. It is short, too.
fn by_reference(directory: &OwnedFd, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())
}

/// `plugin` and digits, as go-plugin names its sockets. Nobody can have made something of that name before.
fn name() -> io::Result<String> {
    Ok(format!("plugin{}", identity::random()?))
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nobody is left to tell, and a socket without a listener misleads nobody.
        let _ = unlinkat(&self.directory, self.name.as_str(), AtFlags::empty());
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("path", &self.path).finish_non_exhaustive()
    }
}

// === impl ListenError ===

impl ListenError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "listen_directory",
            Self::Bind { .. } => "listen_bind",
            Self::Share { .. } => "listen_share",
        }
    }
}

#[cfg(test)]
mod tests;
