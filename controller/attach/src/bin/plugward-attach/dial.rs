//! Connecting to sockets in the host's namespace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plugward_attach::{FromLauncher, socket};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

use crate::fail::chain;

/// How long a listener whose queue is full is waited for.
const LIMIT: Duration = Duration::from_secs(5);

/// How many may wait so at once.
const MOST_WAITING: usize = 32;

/// Dials, and tells the controller how it went.
#[derive(Debug, Default)]
pub(crate) struct Dialler {
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("the path {} is no socket's: it has at most 107 bytes", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("cannot make a socket")]
    Socket(#[source] io::Error),
    #[error("cannot connect to {}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("{} takes no connections: its queue has been full for {} seconds", path.display(), LIMIT.as_secs())]
    Full { path: PathBuf },
    #[error("too many connections are waiting already, and the queue of {} is full", path.display())]
    TooMany { path: PathBuf },
    #[error("cannot start a thread that waits for {}", path.display())]
    Thread { path: PathBuf, source: io::Error },
}

/// One of those that wait.
#[derive(Debug)]
struct Waits(Arc<AtomicUsize>);

// === impl Dialler ===

impl Dialler {
    /// Dials, and answers at once, or later where a queue is full.
    pub(crate) fn dial(&self, controller: &Arc<OwnedFd>, id: u32, path: PathBuf) -> io::Result<()> {
        match dial_at_once(&path) {
            Ok(Some(stream)) => answer(controller, id, Ok(stream)),
            Err(error) => answer(controller, id, Err(error)),
            Ok(None) => match self.dial_in_thread(controller, id, path) {
                Ok(()) => Ok(()),
                Err(error) => answer(controller, id, Err(error)),
            },
        }
    }

    fn dial_in_thread(&self, controller: &Arc<OwnedFd>, id: u32, path: PathBuf) -> Result<(), DialError> {
        let waits = Waits::new(&self.waiting);
        if self.waiting.load(Ordering::Relaxed) > MOST_WAITING {
            return Err(DialError::TooMany { path });
        }
        let controller = Arc::clone(controller);
        let named = path.clone();
        std::thread::Builder::new()
            .name("dial".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || {
                let dialled = dial_patiently(path);
                drop(waits);
                // A controller that has gone has nobody who waits for this.
                let _ = answer(&controller, id, dialled);
            })
            .map(drop)
            .map_err(|source| DialError::Thread { path: named, source })
    }
}

// === impl Waits ===

impl Waits {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(controller: &OwnedFd, id: u32, dialled: Result<OwnedFd, DialError>) -> io::Result<()> {
    match dialled {
        Ok(stream) => socket::send(controller, &FromLauncher::Dialled { id }.encode(), &[stream.as_fd()]),
        Err(error) => {
            socket::send(controller, &FromLauncher::NotDialled { id, error: chain(&error) }.encode(), &[])
        }
    }
}

fn dial_at_once(path: &Path) -> Result<Option<OwnedFd>, DialError> {
    let address = address(path)?;
    let stream = stream(SocketFlags::NONBLOCK)?;
    match connect(&stream, &address) {
        Ok(()) => Ok(Some(stream)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(DialError::Connect { path: path.to_owned(), source: error.into() }),
    }
}

fn dial_patiently(path: PathBuf) -> Result<OwnedFd, DialError> {
    let address = address(&path)?;
    let stream = stream(SocketFlags::empty())?;
    set_socket_timeout(&stream, Timeout::Send, Some(LIMIT))
        .map_err(|error| DialError::Socket(error.into()))?;
    match rustix::io::retry_on_intr(|| connect(&stream, &address)) {
        Ok(()) => {}
        Err(rustix::io::Errno::AGAIN) => return Err(DialError::Full { path }),
        Err(error) => return Err(DialError::Connect { path, source: error.into() }),
    }
    // The controller gets it as any other.
    set_socket_timeout(&stream, Timeout::Send, None)
        .and_then(|()| rustix::io::ioctl_fionbio(&stream, true))
        .map_err(|error| DialError::Socket(error.into()))?;
    Ok(stream)
}

fn address(path: &Path) -> Result<SocketAddrUnix, DialError> {
    SocketAddrUnix::new(path).map_err(|error| DialError::Path { path: path.to_owned(), source: error.into() })
}

fn stream(flags: SocketFlags) -> Result<OwnedFd, DialError> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | flags, None)
        .map_err(|error| DialError::Socket(error.into()))
}
