//! How the servers of a host are reached, and hosts told of a plugin's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use go_plugin::BrokerMessage;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::bridge::SECURED;
use super::knocking::Knocker;
use super::reach::{self, ReachError};
use super::streams::HostStreams;
use crate::gateway::door::{Door, OfferedSocket};
use crate::plugin::HostLine;

/// How long a session's launcher may take to reach, or to make, a socket where the host is.
const HANDED_WITHIN: Duration = Duration::from_secs(3);

/// How a host is met.
#[derive(Debug)]
pub(in crate::gateway) enum Entrance {
    /// At a declared mount: its sockets are where we see them.
    Mount,
    /// At a session's door: its sockets are where its launcher sees them.
    Door(Door),
    /// The same, and it has no sockets: all connections are streams of one.
    Streams(Door, Arc<HostStreams>),
}

/// The same once the host has a broker.
#[derive(Debug)]
pub(super) enum Way {
    Paths,
    Door(Door),
    Streams { door: Door, streams: Arc<HostStreams>, knocker: Arc<Knocker> },
}

// === impl Way ===

impl Way {
    /// The way to a host that is told things by `to_host`.
    pub(super) fn new(entrance: Entrance, to_host: &mpsc::Sender<BrokerMessage>) -> Self {
        match entrance {
            Entrance::Mount => Self::Paths,
            Entrance::Door(door) => Self::Door(door),
            Entrance::Streams(door, streams) => {
                let session = streams.clone();
                let turns = Box::new(move || {
                    let session = session.clone();
                    async move { Some(session.turn().await) }.boxed()
                });
                Self::Streams { door, streams, knocker: Knocker::new(to_host.clone(), turns) }
            }
        }
    }

    /// How a session's host is met.
    pub(super) const fn door(&self) -> Option<&Door> {
        match self {
            Self::Paths => None,
            Self::Door(door) | Self::Streams { door, .. } => Some(door),
        }
    }

    /// Connects to the socket of a host, which a declared mount's must be of this user.
    pub(super) async fn connect(&self, path: &Path, user: Option<u32>) -> Result<HostLine, ReachError> {
        let Some(door) = self.door() else {
            return Ok(Box::new(reach::connect(path, user).await?));
        };
        let socket =
            dial(door, path).await.map_err(|source| ReachError::Dial { path: path.to_owned(), source })?;
        let secured = door.peer.connect(socket, SECURED).await;
        Ok(Box::new(secured.map_err(|source| ReachError::Secure { path: path.to_owned(), source })?))
    }

    /// Whether a host may still have this socket, as far as that can be known before it is dialled.
    pub(super) fn may_have(&self, path: &Path) -> bool {
        // Nobody looks into another namespace.
        self.door().is_some() || reach::is_there(path)
    }
}

async fn dial(door: &Door, path: &Path) -> io::Result<UnixStream> {
    timeout(HANDED_WITHIN, door.hand.dial(path)).await.unwrap_or_else(|_| Err(late()))
}

/// A socket where the host finds it.
pub(super) async fn offer(door: &Door) -> io::Result<OfferedSocket> {
    timeout(HANDED_WITHIN, door.hand.offer()).await.unwrap_or_else(|_| Err(late()))
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the launcher does not answer within {HANDED_WITHIN:?}"))
}
