//! Sockets that a launcher made where its host finds them, as the controller has them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugward_attach::FromController;
use rustix::fs::{AtFlags, FileType, statat, unlinkat};
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{Shutdown, SocketAddrUnix, getsockname, shutdown};

use super::launcher::{Launcher, is_stream, wrong};
use crate::gateway::Arrivals;

/// A socket that a launcher made.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: Arrivals,
    pub(super) file: SocketFile,
}

/// Where a socket's file is, however its path looks from here.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// As its host finds it.
    path: PathBuf,
    directory: OwnedFd,
    listener: Arc<OwnedFd>,
    name: PathBuf,
    /// Whose it is.
    uid: u32,
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
    /// A listener that a launcher of this user gave us, of a file in that directory.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn new(path: PathBuf, listener: OwnedFd, directory: OwnedFd, uid: u32) -> io::Result<Self> {
        if !is_stream(&listener)
            || !socket_acceptconn(&listener)?
            || bound(&listener)?.file_name() != path.file_name()
        {
            return Err(wrong());
        }
        let listener = Arc::new(listener);
        let file = SocketFile::new(path, directory, listener.clone(), uid)?;
        Ok(Self { listener: Arrivals::shared(listener)?, file })
    }

    /// The listener of a session that another controller had, in the directory that its launcher still has open.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn again(listener: OwnedFd, directory: OwnedFd, uid: u32) -> io::Result<Self> {
        Self::new(bound(&listener)?, listener, directory, uid)
    }
}

/// The path that a socket was bound to.
fn bound(listener: &OwnedFd) -> io::Result<PathBuf> {
    let address = SocketAddrUnix::try_from(getsockname(listener)?)?;
    let path = address.path_bytes().ok_or_else(wrong)?;
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

// === impl SocketFile ===

impl SocketFile {
    fn new(path: PathBuf, directory: OwnedFd, listener: Arc<OwnedFd>, uid: u32) -> io::Result<Self> {
        let name = path.file_name().map(PathBuf::from).ok_or_else(wrong)?;
        // We may remove what its user may not: it has to be that user's.
        let identity = look(&directory, &name, uid);
        Ok(Self { path, directory, listener, name, uid, identity })
    }

    /// Where the host finds it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, if it is still there and we may: the launcher does so itself, unless it was killed. Nobody is accepted there any more.
    pub(super) fn remove(&self) {
        let _ = shutdown(&self.listener, Shutdown::Both);
        if self.identity.is_some() && look(&self.directory, &self.name, self.uid) == self.identity {
            let _ = unlinkat(&self.directory, self.name.as_os_str().as_bytes(), AtFlags::empty());
        }
    }
}

/// What is there now, if it is a socket of that user's.
fn look(directory: &OwnedFd, name: &Path, uid: u32) -> Option<(u64, u64)> {
    let found = statat(directory, name.as_os_str().as_bytes(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
    (socket && found.st_uid == uid).then_some((found.st_dev, found.st_ino))
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as Listener;

    use rustix::fs::{Mode, OFlags};
    use rustix::process::geteuid;

    use super::*;

    fn opened(directory: &Path) -> OwnedFd {
        rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn listening(path: &Path, directory: &Path, listener: Listener, uid: u32) -> io::Result<Listening> {
        Listening::new(path.to_owned(), listener.into(), opened(directory), uid)
    }

    #[tokio::test]
    async fn the_file_of_a_session_goes_with_it_and_no_other_does() {
        let directory = tempfile::tempdir().unwrap();
        let (path, ours) = (directory.path().join("plugin1"), geteuid().as_raw());
        let made = listening(&path, directory.path(), Listener::bind(&path).unwrap(), ours).unwrap();
        made.file.remove();
        assert!(!path.exists());

        // Another one has its place by now.
        let made = listening(&path, directory.path(), Listener::bind(&path).unwrap(), ours).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = Listener::bind(&path).unwrap();
        made.file.remove();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_launcher_names_no_socket_that_it_does_not_have() {
        let (its, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let other = others.path().join("docker.sock");
        let _docker = Listener::bind(&other).unwrap();
        let bind = |name| Listener::bind(its.path().join(name)).unwrap();
        let ours = geteuid().as_raw();
        assert!(listening(Path::new("x/docker.sock"), others.path(), bind("a"), ours).is_err());

        // Of the same name, and another user's.
        let made =
            listening(Path::new("x/docker.sock"), others.path(), bind("docker.sock"), ours + 1).unwrap();
        made.file.remove();
        assert!(other.exists());
    }
}
