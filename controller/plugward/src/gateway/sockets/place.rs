//! A listening socket gets a path, and never half of it.
//!
//! It is bound under a name beside the path, gets its mode and group, listens, and is then renamed to the path: who
//! connects reaches what was there before, or a socket that answers. A rename replaces only what [`look`] found to
//! be replaceable; the directory is ours alone (0750), so nothing comes between.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::listen;

use super::stored::Inode;
use super::{Obstacle, SocketError, UNFINISHED};

/// How many hosts may wait in the queue of a socket: the kernel takes the less of this and `net.core.somaxconn`.
const QUEUE: i32 = i32::MAX;

/// What is found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A socket that nobody has bound any more: a process left it.
    Stale,
    /// A socket that some process has bound.
    Live(Inode),
    /// Something that is no socket.
    Other(Obstacle),
}

/// Looks at a path without following a link, and without a trace in the queue of who listens there.
pub(super) fn look(path: &Path) -> io::Result<Found> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Ok(Found::Other(Obstacle::of(metadata.file_type())));
    }
    let inode = Inode::of(&metadata);
    // A datagram socket cannot be connected to one of streams, so nobody has to accept anything: the kernel tells
    // that the type is wrong if there is a process behind the name, and refuses if there is none (unix(7)).
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Found::Stale),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if Errno::from_io_error(&error) != Some(Errno::PROTOTYPE) => Err(error),
        _ => Ok(Found::Live(inode)),
    }
}

/// The file that a path leads to now, if it is a socket.
pub(super) fn socket_at(path: &Path) -> Option<Inode> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.file_type().is_socket().then(|| Inode::of(&metadata))
}

/// Makes a listening socket and puts it at `path`, in place of whatever is there: mode 0660, of `group` if there is
/// one, not blocking.
///
/// # Errors
/// The path is then as it was.
pub(super) fn listen_at(path: &Path, group: Option<u32>) -> Result<(UnixListener, Inode), SocketError> {
    let failed = |source| SocketError::Make { path: path.to_owned(), source };
    let name = beside(path);
    match look(&name).map_err(failed)? {
        Found::Nothing => {}
        // A controller that was killed in the middle of this left it.
        Found::Stale => fs::remove_file(&name).map_err(failed)?,
        Found::Live(_) => return Err(SocketError::InUse { path: name }),
        Found::Other(obstacle) => return Err(SocketError::InTheWay { path: name, obstacle }),
    }
    let listener = UnixListener::bind(&name).map_err(failed)?;
    let put = || {
        admit(&listener, &name, group)?;
        let inode = Inode::of(&fs::symlink_metadata(&name)?);
        fs::rename(&name, path)?;
        Ok(inode)
    };
    match put() {
        Ok(inode) => Ok((listener, inode)),
        Err(error) => {
            // What cannot be removed is swept as a stale socket.
            let _ = fs::remove_file(&name);
            Err(failed(error))
        }
    }
}

/// Lets the owner and the group of a socket connect, and as many wait as the system allows.
///
/// One that listened before keeps its queue; hosts that ask who listens (`SO_PEERCRED`) are told of this process from
/// now on.
pub(super) fn admit(listener: &UnixListener, path: &Path, group: Option<u32>) -> io::Result<()> {
    listen(listener, QUEUE)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    chown(path, None, group)
}

/// The name under which the socket of a path is made. Programs that list sockets go on showing it (`ss -lx`).
///
/// Mounts have no dots in their names, so no other path has it; and it is shorter than the path, so that it fits
/// where that does.
fn beside(path: &Path) -> PathBuf {
    path.with_extension(UNFINISHED)
}
