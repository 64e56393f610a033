//! The way to a socket that a host says is its.
//!
//! A host is not the controller, and may be less: what it names must not lead where it could not go itself, such as to the
//! Docker Engine's socket. So the socket is opened as a mere reference, without following a link. It must be the host's own user's, or
//! it is not even connected to; and so must be who listens on it, which the system says of the connection.
//!
//! The host of a session is reached by its launcher, which is a process of the host's user, and can do no more than that.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use go_plugin::ConnectError;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use tokio::net::UnixStream;

use super::knocking::KnockError;

/// Why a host's server cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReachError {
    /// The host never told of it.
    #[error("the host did not tell in time where its server {id} is")]
    NotAnnounced {
        /// Its number.
        id: u32,
    },
    /// There is nothing there that can be looked at.
    #[error("the host's socket {} cannot be opened", path.display())]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} should be the host's socket, and is none", path.display())]
    NotASocket {
        /// Where it should be.
        path: PathBuf,
    },
    /// It belongs to another user.
    #[error("the socket {} is not the host's: it is user {owner}'s, and the host is of user {host:?}", path.display())]
    AnothersFile {
        /// Where it is.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose the host is.
        host: Option<u32>,
    },
    /// It cannot be connected to.
    #[error("the host's socket {} cannot be connected to", path.display())]
    Connect {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another user listens on it.
    #[error(
        "the socket {} is not the host's: user {listens:?} listens there, and the host is of user {host:?}",
        path.display()
    )]
    NotTheHosts {
        /// Where it is.
        path: PathBuf,
        /// Whose it is.
        listens: Option<u32>,
        /// Whose the host is.
        host: Option<u32>,
    },
    /// A session's launcher cannot connect to it.
    #[error("the host's socket {} cannot be connected to where the host is", path.display())]
    Dial {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Who listens there does not prove that it is a session's host.
    #[error("who listens on {} is not the session's host", path.display())]
    Secure {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: ConnectError,
    },
    /// A host that shares its one connection lets nobody in.
    #[error("the host's server {id} cannot be reached in its connection")]
    Knock {
        /// Its number.
        id: u32,
        /// Why.
        source: KnockError,
    },
}

/// Connects to the socket of a host of this user.
pub(super) async fn connect(path: &Path, user: Option<u32>) -> Result<UnixStream, ReachError> {
    let open = |source: rustix::io::Errno| ReachError::Open { path: path.to_owned(), source: source.into() };
    let socket =
        openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(open)?;
    let found = fstat(&socket).map_err(open)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(ReachError::NotASocket { path: path.to_owned() });
    }
    // To be connected to may be all that something waits for: what is another's is left alone.
    if user != Some(found.st_uid) {
        return Err(ReachError::AnothersFile { path: path.to_owned(), owner: found.st_uid, host: user });
    }
    let failed = |source| ReachError::Connect { path: path.to_owned(), source };
    // By the reference: what the name leads to by now does not matter.
    let stream =
        UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await.map_err(failed)?;
    let listens = stream.peer_cred().ok().map(|peer| peer.uid());
    if listens.is_none() || listens != user {
        return Err(ReachError::NotTheHosts { path: path.to_owned(), listens, host: user });
    }
    Ok(stream)
}

/// Whether there is still a socket of that name.
pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use futures::FutureExt;
    use rustix::process::geteuid;
    use tokio::net::UnixListener;

    use super::*;

    fn us() -> u32 {
        geteuid().as_raw()
    }

    #[tokio::test]
    async fn a_hosts_own_socket_is_connected_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugin1");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_there(&path));
        let _stream = connect(&path, Some(us())).await.unwrap();
        drop(listener);
        fs::remove_file(&path).unwrap();
        assert!(!is_there(&path));
        assert!(matches!(connect(&path, Some(us())).await, Err(ReachError::Open { .. })));
    }

    #[tokio::test]
    async fn a_host_leads_nobody_to_another_users_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let other = Some(us() + 1);
        assert!(matches!(connect(&path, other).await, Err(ReachError::AnothersFile { .. })));
        assert!(matches!(connect(&path, None).await, Err(ReachError::AnothersFile { .. })));
        assert!(listener.accept().now_or_never().is_none(), "it is not even connected to");
    }

    #[tokio::test]
    async fn links_and_files_are_no_sockets() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let link = directory.path().join("link");
        symlink(&socket, &link).unwrap();
        assert!(!is_there(&link));
        assert!(matches!(connect(&link, Some(us())).await, Err(ReachError::NotASocket { .. })));
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(connect(&file, Some(us())).await, Err(ReachError::NotASocket { .. })));
    }
}
