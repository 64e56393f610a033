//! One controller for a cluster: a lock on the state directory, and one on the cluster id.
//!
//! The first is a file lock, so that two controllers cannot share a state directory. The second is a Unix
//! socket in the abstract namespace named for the cluster id, so that two state directories with the same id
//! cannot act for it either (on one machine, in one network namespace). The kernel releases both when the
//! process ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::names::ClusterId;

/// The lock on a state directory. Released when dropped.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// The lock on a cluster id. Released when dropped.
#[derive(Debug)]
pub struct ClusterLock {
    _socket: UnixListener,
}

/// Why a lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another controller uses the state directory.
    #[error(
        "another controller{} uses the state directory {}: stop it first, or give this one another --state-dir",
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        path.display()
    )]
    StateHeld {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, where it is known.
        holder: Option<u32>,
    },
    /// Another controller acts for the cluster.
    #[error(
        "another controller{} acts for cluster {cluster:?} on this machine: stop it first, or give this one \
         another --cluster-id and --state-dir",
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    ClusterHeld {
        /// The cluster id.
        cluster: String,
        /// The process that holds it, where it is known.
        holder: Option<u32>,
    },
    /// The lock could not be tried.
    #[error("cannot lock {}", path.display())]
    Failed {
        /// What was to be locked.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

// === impl StateLock ===

impl StateLock {
    /// Takes the lock of a state directory, which is made if it is not there.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join("lock");
        let failed = |source| LockError::Failed { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::StateHeld { path: directory.to_owned(), holder });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // The pid is for people. If it cannot be written (a full disk), the lock holds all the same.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

// === impl ClusterLock ===

impl ClusterLock {
    /// Takes the lock of a cluster id.
    ///
    /// # Errors
    /// When another process holds it.
    pub fn acquire(cluster: &ClusterId) -> Result<Self, LockError> {
        let name = format!("dev.plugward.cluster.{cluster}");
        let failed = |source| LockError::Failed { path: PathBuf::from(format!("@{name}")), source };
        let address = SocketAddr::from_abstract_name(&name).map_err(failed)?;
        match UnixListener::bind_addr(&address) {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(LockError::ClusterHeld { cluster: cluster.to_string(), holder: holder_of(&address) })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// The process that listens on an address: the kernel tells whoever connects.
fn holder_of(address: &SocketAddr) -> Option<u32> {
    let stream = std::os::unix::net::UnixStream::connect_addr(address).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_controller_is_told_who_holds_the_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        let held = StateLock::acquire(directory.path()).unwrap();
        let refused = StateLock::acquire(directory.path()).unwrap_err();
        assert!(
            matches!(&refused, LockError::StateHeld { holder: Some(pid), .. } if *pid == std::process::id()),
            "{refused}"
        );
        drop(held);
        StateLock::acquire(directory.path()).unwrap();
    }

    #[test]
    fn a_cluster_id_is_held_by_one_whatever_its_state_directory() {
        let cluster: ClusterId = format!("test-{}", std::process::id()).parse().unwrap();
        let held = ClusterLock::acquire(&cluster).unwrap();
        let refused = ClusterLock::acquire(&cluster).unwrap_err();
        assert!(
            matches!(&refused, LockError::ClusterHeld { holder: Some(pid), .. } if *pid == std::process::id()),
            "{refused}"
        );
        drop(held);
        ClusterLock::acquire(&cluster).unwrap();
    }
}
