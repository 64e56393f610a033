//! Sockets that a launcher made where its host finds them, as the controller has them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugward_attach::FromController;
use rustix::fs::{AtFlags, FileType, statat, unlinkat};
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{SocketAddrUnix, getsockname};
use tokio::net::UnixListener;

use super::launcher::{Launcher, is_stream, wrong};

/// A socket that a launcher made.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// Where a socket's file is, however its path looks from here.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// As its host finds it.
    path: PathBuf,
    directory: OwnedFd,
    name: PathBuf,
    /// Its device and number when it was made.
    identity: Option<(u64, u64)>,
}

/// A socket for a server that the plugin offers its host. Dropped, the launcher lets go of it, and its file is removed.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) launcher: Arc<Launcher>,
    /// The launcher's number of it.
    pub(super) id: u32,
    /// Once the launcher has made it.
    pub(super) file: Option<SocketFile>,
}

// === impl Listening ===

impl Listening {
    /// A listener that a launcher gave us, of a file in that directory.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn new(path: PathBuf, listener: OwnedFd, directory: OwnedFd) -> io::Result<Self> {
        if !is_stream(&listener) || !socket_acceptconn(&listener)? {
            return Err(wrong());
        }
        ioctl_fionbio(&listener, true)?;
        let file = SocketFile::new(path, directory)?;
        Ok(Self { listener: UnixListener::from_std(listener.into())?, file })
    }

    /// The listener of a session that another controller had, in the directory that its launcher still has open.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn again(listener: OwnedFd, directory: OwnedFd) -> io::Result<Self> {
        let address = SocketAddrUnix::try_from(getsockname(&listener)?)?;
        let path = address.path_bytes().ok_or_else(wrong)?;
        Self::new(PathBuf::from(OsStr::from_bytes(path)), listener, directory)
    }
}

// === impl SocketFile ===

impl SocketFile {
    fn new(path: PathBuf, directory: OwnedFd) -> io::Result<Self> {
        let name = path.file_name().map(PathBuf::from).ok_or_else(wrong)?;
        let identity = look(&directory, &name);
        Ok(Self { path, directory, name, identity })
    }

    /// Where the host finds it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, if it is still there and we may. The launcher does so itself, unless it was killed.
    pub(super) fn remove(&self) {
        if self.identity.is_some() && look(&self.directory, &self.name) == self.identity {
            let _ = unlinkat(&self.directory, self.name.as_os_str().as_bytes(), AtFlags::empty());
        }
    }
}

/// What is there now, if it is a socket.
fn look(directory: &OwnedFd, name: &Path) -> Option<(u64, u64)> {
    let found = statat(directory, name.as_os_str().as_bytes(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
    socket.then_some((found.st_dev, found.st_ino))
}

// === impl Offered ===

impl Drop for Offered {
    fn drop(&mut self) {
        self.launcher.tell(&FromController::Unlisten { id: self.id });
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}
