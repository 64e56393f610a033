//! How the host of a session is met: its connections come to a socket in its own namespaces, and it takes us for its plugin.
//!
//! A declared mount has no door: hosts connect to a socket of ours, and speak plainly.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use go_plugin::Peer;
use tokio::net::UnixStream;

use super::arrivals::Arrivals;
use super::priming::KeptPriming;

/// How a session's host is met.
#[derive(Clone)]
pub struct Door {
    /// How a connection is known to be the host's, in either direction.
    pub peer: Peer,
    /// Whether the host's one connection is a session whose streams are the connections, in either direction.
    pub multiplexed: bool,
    /// The only user whose connections are taken, where none has to prove anything: who may write to the socket is not always the host.
    pub user: Option<u32>,
    /// What reaches into the host's namespaces.
    pub hand: Arc<dyn Hand>,
}

/// What acts for us where the host is, and hears what becomes of its session: the launcher, mostly.
pub trait Hand: fmt::Debug + Send + Sync {
    /// A connection to a socket that the host named, made as the host's own user where the host sees it.
    fn dial(&self, path: &Path) -> BoxFuture<'static, io::Result<UnixStream>>;

    /// A socket that the host finds, for a server that its plugin offers it.
    fn offer(&self) -> BoxFuture<'static, io::Result<OfferedSocket>>;

    /// The host is about to tell the plugin something that makes it usable: what was [settled](Self::settled) before does not hold any
    /// more. Returns at once, and what it says has left this process by then.
    fn unsettled(&self);

    /// The broker is about to be used, by either side: the session cannot outlive this controller any more, whatever is settled. As
    /// [`unsettled`](Self::unsettled), this has left the process when it returns.
    fn brokered(&self);

    /// What the host has told the plugin, as far as it can be told again by another controller. `None`: it cannot.
    fn settled(&self, told: Option<Vec<KeptPriming>>);

    /// A call that is the plugin's work has succeeded. True if what is settled is to be told again for that.
    fn worked(&self) -> bool;

    /// The host needs its plugin no more.
    fn shut_down(&self);
}

/// A socket in the host's namespaces. It goes with this, wherever it is.
pub struct OfferedSocket {
    /// It listens.
    pub listener: Arrivals,
    /// Where the host finds it.
    pub path: PathBuf,
    /// When it is dropped, nothing is left of the socket.
    pub guard: Box<dyn fmt::Debug + Send + Sync>,
}

// === impl Door ===

impl Door {
    /// Whether connections of this user are taken, which may have to prove more.
    pub(super) fn admits(&self, user: Option<u32>) -> bool {
        self.user.is_none_or(|only| user == Some(only))
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("peer", &self.peer)
            .field("multiplexed", &self.multiplexed)
            .field("user", &self.user)
            .field("hand", &self.hand)
            .finish()
    }
}

impl fmt::Debug for OfferedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferedSocket").field("path", &self.path).finish_non_exhaustive()
    }
}
