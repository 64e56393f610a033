//! The service manager that started us: what it is told, and the descriptors it keeps for us.
//!
//! The protocol is systemd's: datagrams of `KEY=value` lines to the socket that `$NOTIFY_SOCKET` names
//! (`sd_notify(3)`), and descriptors from number 3 on that `$LISTEN_FDS` counts and `$LISTEN_FDNAMES` names
//! (`sd_listen_fds(3)`). Whoever speaks it will do; without one, nothing here has an effect.
//!
//! # The file descriptor store
//!
//! A descriptor that is sent with `FDSTORE=1` stays open in the manager, and the next process of the service
//! begins with it. [`DescriptorStore`] knows it by its name alone; what names and descriptors mean is for
//! [`crate::gateway::sockets`] to say. The manager stores nothing unless the unit has `FileDescriptorStoreMax=`, and
//! does not answer: a descriptor over that number is closed by it, and its journal says so.
//!
//! `listenfd` makes descriptors out of numbers, which safe code cannot. It also accepts an environment without
//! `$LISTEN_PID`; here that must name this very process, as the protocol has it.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::time::{ClockId, clock_gettime};

pub use self::watchdog::{Watchdog, WatchdogError, ask_for_time};
use crate::errors::chain;

mod watchdog;

/// How long a manager may take to take a message: its queue is full, then.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// The longest name of a stored descriptor, in bytes (`sd_pid_notify_with_fds(3)`, `FDNAME=`).
pub const MAX_DESCRIPTOR_NAME: usize = 255;

/// The service manager, if there is one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    address: Option<SocketAddr>,
}

/// The manager was not told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// `$NOTIFY_SOCKET` names no Unix socket.
    #[error("$NOTIFY_SOCKET is {address:?}, and only paths and abstract names of Unix sockets are supported")]
    Address {
        /// What it is.
        address: OsString,
    },
    /// It did not take the message.
    #[error("the service manager cannot be told {state}")]
    Send {
        /// What it should have known: the first line of the message.
        state: String,
        /// Why not.
        source: io::Error,
    },
}

/// The descriptors that outlive this process: those that it began with, and a way to leave some to the next one.
#[derive(Debug, Default)]
pub struct DescriptorStore {
    manager: ServiceManager,
    inherited: Vec<(String, UnixListener)>,
}

// === impl ServiceManager ===

impl ServiceManager {
    /// The manager that `$NOTIFY_SOCKET` names; none if it is not set.
    ///
    /// # Errors
    /// When it names something that is no Unix socket.
    pub fn from_environment() -> Result<Self, NotifyError> {
        match std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) {
            Some(address) => Self::at(address),
            None => Ok(Self::default()),
        }
    }

    /// The manager at an address as `$NOTIFY_SOCKET` has it: an absolute path, or `@` and an abstract name.
    ///
    /// # Errors
    /// When it is something else.
    pub fn at(address: OsString) -> Result<Self, NotifyError> {
        let parsed = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(&address).ok(),
            _ => None,
        };
        match parsed {
            Some(parsed) => Ok(Self { address: Some(parsed) }),
            None => Err(NotifyError::Address { address }),
        }
    }

    /// Says that the start is done, or a reload (`READY=1`).
    ///
    /// # Errors
    /// When the manager does not take the message.
    pub fn ready(&self) -> Result<(), NotifyError> {
        self.tell("READY=1", None)
    }

    /// Says that the start goes on, and is not to be given up within this time from now (`EXTEND_TIMEOUT_USEC=`).
    ///
    /// # Errors
    /// When the manager does not take the message.
    pub fn starting(&self, time: Duration) -> Result<(), NotifyError> {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()), None)
    }

    /// Says that a reload has begun (`RELOADING=1`), at this time of the clock that does not jump.
    ///
    /// # Errors
    /// When the manager does not take the message.
    pub fn reloading(&self) -> Result<(), NotifyError> {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"), None)
    }

    /// Says that we live (`WATCHDOG=1`).
    ///
    /// # Errors
    /// When the manager does not take the message.
    pub fn alive(&self) -> Result<(), NotifyError> {
        self.tell("WATCHDOG=1", None)
    }

    /// Says that the end has begun (`STOPPING=1`).
    ///
    /// # Errors
    /// When the manager does not take the message.
    pub fn stopping(&self) -> Result<(), NotifyError> {
        self.tell("STOPPING=1", None)
    }

    /// Says in a line what goes on (`STATUS=`); `systemctl status` shows it. Line breaks become spaces.
    ///
    /// # Errors
    /// When the manager does not take the message.
    pub fn status(&self, text: &str) -> Result<(), NotifyError> {
        self.tell(&format!("STATUS={}", text.replace(['\n', '\r'], " ")), None)
    }

    /// Sends a message, with a descriptor or without. Blocks while the manager's queue is full, for
    /// [`SEND_LIMIT`] at most.
    fn tell(&self, message: &str, descriptor: Option<BorrowedFd<'_>>) -> Result<(), NotifyError> {
        let Some(address) = &self.address else { return Ok(()) };
        send(address, message, descriptor).map_err(|source| NotifyError::Send {
            state: message.lines().next().unwrap_or_default().to_owned(),
            source,
        })
    }
}

/// A manager that is not told believes what it believed: that is for the log.
pub fn tell(told: Result<(), NotifyError>) {
    if let Err(error) = told {
        tracing::warn!(error = chain(&error), "the service manager is not told");
    }
}

fn send(address: &SocketAddr, message: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_LIMIT))?;
    socket.connect_addr(address)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if descriptor.is_some() {
        let fits = rights.push(SendAncillaryMessage::ScmRights(descriptor.as_slice()));
        debug_assert!(fits, "there is space for one");
    }
    // A datagram is sent whole or not at all.
    sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

// === impl DescriptorStore ===

impl DescriptorStore {
    /// The store of a manager, with the listening sockets that this process was started with. They are taken out
    /// of the environment: a second call finds none. Descriptors of other kinds are left as they are.
    ///
    /// Call it when the process starts, before anything else reads or changes the environment in other threads.
    pub fn from_environment(manager: ServiceManager) -> Self {
        Self::new(manager, inherited())
    }

    /// A store in which these listeners were, by their names.
    pub fn new(manager: ServiceManager, inherited: Vec<(String, UnixListener)>) -> Self {
        Self { manager, inherited }
    }

    /// The listeners that this process was started with, by their names: the first call has them all.
    pub fn take_inherited(&mut self) -> Vec<(String, UnixListener)> {
        std::mem::take(&mut self.inherited)
    }

    /// Leaves a copy of a descriptor with the manager, for the next process of the service.
    ///
    /// `name` is ASCII without control characters and `:`, of at most [`MAX_DESCRIPTOR_NAME`] bytes.
    ///
    /// # Errors
    /// When the manager does not take it. It does not say whether it keeps it.
    pub fn store(&self, name: &str, descriptor: impl AsFd) -> Result<(), NotifyError> {
        self.manager.tell(&format!("FDSTORE=1\nFDNAME={name}"), Some(descriptor.as_fd()))
    }

    /// Has the manager close all that it keeps by a name.
    ///
    /// # Errors
    /// When the manager does not take the message.
    pub fn remove(&self, name: &str) -> Result<(), NotifyError> {
        self.manager.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)
    }
}

/// The listening sockets that this process was started with. `listenfd` closes them on exec and lets each be had
/// once.
fn inherited() -> Vec<(String, UnixListener)> {
    let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    if !ours {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut taken = Vec::new();
    for (index, name) in names.split(':').enumerate().take(descriptors.len()) {
        match descriptors.take_unix_listener(index) {
            Ok(Some(listener)) => taken.push((name.to_owned(), listener)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(name, %error, "a descriptor that was passed to us is no socket to listen on");
            }
        }
    }
    taken
}

#[cfg(test)]
pub(crate) mod tests;
