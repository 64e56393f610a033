//! The sockets of mounts: `DIRECTORY/INSTANCE/MOUNT.sock`, stable over everything but the record's end.
//!
//! [`Sockets::open`] gives a mount its socket, [`Sockets::close`] takes it away, and [`Sockets::sweep`] removes what
//! an earlier controller left for mounts that nobody declares any more. Directories are 0750 and sockets 0660, of
//! the group of `--socket-group`.
//!
//! # Whose socket it is
//!
//! A socket at a mount's path is ours to replace if no process has it bound any more, or if we made it ourselves: it
//! is the same file (device and inode). Any other socket, a file, a directory, a link: an error that names it, and
//! nothing is touched. Replacing is one rename of a socket that already listens (`place`), so the path always leads
//! to the old one or the new one.
//!
//! # What a host sees while no controller runs
//!
//! A controller that ends leaves its sockets where they are.
//!
//! *Without a service manager* nobody listens on them: connecting is refused at once, until the next controller has
//! replaced them. gRPC reports `UNAVAILABLE`, and its channels try again after their own backoff: one second at
//! first, longer the longer the gap is.
//!
//! *With one that keeps descriptors* (systemd: `FileDescriptorStoreMax=`) the listener itself outlives the
//! controller. Connecting succeeds, the connection waits in the kernel's queue, and the next controller answers it:
//! no connect ever fails, and calls take as long as the gap. The next controller begins with the listeners and
//! takes each for its mount, if it listens and the path still leads to it; else it is dropped, here and in the
//! store. For this the unit needs
//!
//! - `FileDescriptorStoreMax=` of at least the number of mounts: those beyond it are as without a manager;
//! - `RuntimeDirectoryPreserve=yes` if it has `RuntimeDirectory=`, or systemd removes the paths at each restart;
//! - `FileDescriptorStorePreserve=yes` (systemd 254) if the listeners are to outlive `systemctl stop` too, and not
//!   only a crash and `systemctl restart`.
//!
//! When the queue is full (`net.core.somaxconn`, 4096 by default), further connects wait or are told to try again
//! (`EAGAIN`), with and without a manager.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use plugward_api::{MAX_SOCKET_PATH, Name};
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::UnixListener;

pub use self::error::{Obstacle, SocketError};
use self::place::{Found, look, socket_at};
use self::stored::{Inode, StoredName};

use crate::control::server::{CLOSED, make_socket_directory};
use crate::errors::chain;
use crate::systemd::{DescriptorStore, NotifyError};

mod error;
mod left;
mod place;
mod stored;

/// The directory of the sockets for what plugins offer their hosts.
const OFFERS: &str = ".broker";

/// What ends the name of a mount's socket.
const SOCKET: &str = "sock";

/// What ends the name of a socket that has not got its place yet.
const UNFINISHED: &str = "new";

/// An instance and one of its mounts.
type MountKey = (Name, Name);

/// The sockets of all mounts of a controller.
///
/// All methods look at files, and block for as long as that takes.
#[derive(Debug)]
pub struct Sockets {
    root: PathBuf,
    group: Option<u32>,
    store: DescriptorStore,
    mounts: Mutex<BTreeMap<MountKey, Socket>>,
}

/// A mount's socket, as far as this process has it.
#[derive(Debug)]
enum Socket {
    /// The manager kept it for us, and nobody has opened it yet. Hosts may wait in its queue.
    Kept(StdUnixListener, Inode),
    /// It is opened: its listener is with who opened it.
    Open(Inode),
}

// === impl Sockets ===

impl Sockets {
    /// The sockets under `root`, of `group` if there is one. The listeners that the store kept are taken from it;
    /// those that no path leads to any more are dropped.
    pub fn new(root: PathBuf, group: Option<u32>, mut store: DescriptorStore) -> Self {
        let inherited = store.take_inherited();
        let sockets = Self { root, group, store, mounts: Mutex::default() };
        for (name, listener) in inherited {
            sockets.keep(&name, listener);
        }
        sockets
    }

    /// Where sockets may be made by which hosts reach servers that plugins offer them over the broker, and their group. What an
    /// earlier controller left there is removed. What cannot be done is logged.
    pub fn offers(&self) -> (PathBuf, Option<u32>) {
        // No instance has a dot in its name.
        let path = self.root.join(OFFERS);
        let made = fs::remove_dir_all(&path)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .and_then(|()| make_socket_directory(&self.root, CLOSED, self.group))
            .and_then(|()| make_socket_directory(&path, CLOSED, self.group));
        if let Err(error) = made {
            tracing::warn!(path = %path.display(), %error, "there is no place for what plugins offer their hosts");
        }
        (path, self.group)
    }

    /// Gives a mount its socket: the one that was kept for it, or a new one. One that is open already is replaced by
    /// a new one.
    ///
    /// A store that cannot be told costs nothing but the listener's life after this process: it is logged.
    ///
    /// # Errors
    /// When something in its place is not ours, or the socket cannot be made.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn open(&self, instance: &Name, mount: &Name) -> Result<UnixListener, SocketError> {
        let key = (instance.clone(), mount.clone());
        let path = self.path(&key);
        let mut mounts = self.mounts();
        let (listener, inode) = match mounts.remove(&key) {
            Some(Socket::Kept(listener, inode)) if socket_at(&path) == Some(inode) => (listener, inode),
            before => {
                let ours = before.as_ref().map(Socket::inode);
                match self.make(&key, &path, ours) {
                    Ok(made) => made,
                    Err(error) => {
                        mounts.extend(before.map(|before| (key, before)));
                        return Err(error);
                    }
                }
            }
        };
        mounts.insert(key, Socket::Open(inode));
        drop(mounts);
        UnixListener::from_std(listener).map_err(|source| SocketError::Make { path, source })
    }

    /// Takes a mount's socket away: its path, if that still leads to it, and the copy in the store. The directory of
    /// the instance goes with its last socket. Its listener is with who opened it, and goes when that drops it.
    ///
    /// Nothing happens if the mount is not open and nothing was kept for it. What cannot be removed is logged.
    pub fn close(&self, instance: &Name, mount: &Name) {
        let key = (instance.clone(), mount.clone());
        let mut mounts = self.mounts();
        if let Some(socket) = mounts.remove(&key) {
            self.end(&key, &socket);
        }
    }

    /// Removes the sockets that an earlier controller left, except those of `wanted` mounts (instance, mount) and of
    /// mounts that are open. Removes nothing that is no socket, or on which another process listens. What cannot be
    /// removed is logged.
    pub fn sweep(&self, wanted: &BTreeSet<(Name, Name)>) {
        // Held to the end, so that no socket is made meanwhile.
        let mut mounts = self.mounts();
        let kept =
            mounts.extract_if(.., |key, socket| matches!(socket, Socket::Kept(..)) && !wanted.contains(key));
        for (key, socket) in kept {
            self.end(&key, &socket);
        }
        left::sweep(&self.root, |key| mounts.contains_key(key) || wanted.contains(key));
    }

    fn mounts(&self) -> MutexGuard<'_, BTreeMap<MountKey, Socket>> {
        // Nothing in here is left half done by a panic.
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self, instance: &Name) -> PathBuf {
        self.root.join(instance.as_str())
    }

    fn path(&self, (instance, mount): &MountKey) -> PathBuf {
        self.directory(instance).join(format!("{mount}.{SOCKET}"))
    }

    /// Takes a listener that the store kept, if it is a mount's and can still be reached.
    fn keep(&self, name: &str, listener: StdUnixListener) {
        let Ok(StoredName { key, inode }) = name.parse() else {
            tracing::warn!(name, "a socket that was passed to us is no mount's: it is not used");
            return;
        };
        let path = self.path(&key);
        match self.revive(&key, inode, &path, &listener) {
            Ok(()) => {
                self.mounts().insert(key, Socket::Kept(listener, inode));
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a socket that was kept is dropped");
                log_failure(self.store.remove(name));
            }
        }
    }

    /// Makes an inherited listener as good as a new one, if hosts that connect to its path reach it.
    fn revive(
        &self,
        key: &MountKey,
        inode: Inode,
        path: &Path,
        listener: &StdUnixListener,
    ) -> io::Result<()> {
        if socket_at(path) != Some(inode) {
            return Err(io::Error::other("its path does not lead to it any more"));
        }
        if !socket_acceptconn(listener)? {
            return Err(io::Error::other("it does not listen"));
        }
        // The group may be another one than before.
        make_socket_directory(&self.directory(&key.0), CLOSED, self.group)?;
        place::admit(listener, path, self.group)
    }

    /// Makes a socket for a mount where there is none, or one that is stale or `ours`.
    fn make(
        &self,
        key: &MountKey,
        path: &Path,
        ours: Option<Inode>,
    ) -> Result<(StdUnixListener, Inode), SocketError> {
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(SocketError::TooLong { path: path.to_owned() });
        }
        self.make_directory(&key.0)?;
        match look(path).map_err(|source| SocketError::Look { path: path.to_owned(), source })? {
            Found::Nothing | Found::Stale => {}
            Found::Live(inode) if ours == Some(inode) => {}
            Found::Live(_) => return Err(SocketError::InUse { path: path.to_owned() }),
            Found::Other(obstacle) => return Err(SocketError::InTheWay { path: path.to_owned(), obstacle }),
        }
        let (listener, inode) = place::listen_at(path, self.group)?;
        let name = |inode| StoredName { key: key.clone(), inode }.to_string();
        // In this order: if no one has the old socket any more, the new one may have its inode, and so its name.
        if let Some(ours) = ours {
            log_failure(self.store.remove(&name(ours)));
        }
        log_failure(self.store.store(&name(inode), &listener));
        Ok((listener, inode))
    }

    fn make_directory(&self, instance: &Name) -> Result<(), SocketError> {
        let path = self.directory(instance);
        if let Ok(metadata) = fs::symlink_metadata(&path)
            && !metadata.is_dir()
        {
            let obstacle = Obstacle::of(metadata.file_type());
            return Err(SocketError::InTheWay { path, obstacle });
        }
        make_socket_directory(&self.root, CLOSED, self.group)
            .and_then(|()| make_socket_directory(&path, CLOSED, self.group))
            .map_err(|source| SocketError::Directory { path, source })
    }

    fn end(&self, key: &MountKey, socket: &Socket) {
        let path = self.path(key);
        let inode = socket.inode();
        if socket_at(&path) == Some(inode) {
            left::remove(&path);
        }
        log_failure(self.store.remove(&StoredName { key: key.clone(), inode }.to_string()));
        left::remove_if_empty(&self.directory(&key.0));
    }
}

/// A mount works without the store, so this is no error of its.
fn log_failure(told: Result<(), NotifyError>) {
    if let Err(error) = told {
        tracing::warn!(error = chain(&error), "the service manager does not know which sockets to keep");
    }
}

// === impl Socket ===

impl Socket {
    fn inode(&self) -> Inode {
        match self {
            Self::Kept(_, inode) | Self::Open(inode) => *inode,
        }
    }
}

#[cfg(test)]
mod tests;
