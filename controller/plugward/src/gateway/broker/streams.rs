//! The one connection of a session's host that multiplexes: its streams, in both directions.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use go_plugin::{Inbound, Inbounds, Peer, Session};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::bridge::SECURED;
use crate::plugin::{HostLine, StreamTurn};

/// The connection of a host of which all others are streams.
///
/// A host's stream is one of its main connections, unless the host knocked before it and was let in.
pub(in crate::gateway) struct HostStreams {
    session: Session,
    /// Who gets the next stream, if the host was let in to something.
    expected: Mutex<Option<oneshot::Sender<Inbound>>>,
}

// === impl HostStreams ===

impl HostStreams {
    /// The session of a connection, and the streams that the host opens in it. `None` only if somebody else has taken those.
    pub(in crate::gateway) fn start(host: UnixStream, peer: &Peer) -> Option<(Arc<Self>, Inbounds)> {
        let session = Session::serve(host, peer);
        let inbounds = session.inbound()?;
        Some((Arc::new(Self { session, expected: Mutex::default() }), inbounds))
    }

    /// Takes a stream of the host's, in the order in which they came. Gives it back if it is a main connection.
    pub(in crate::gateway) fn arrived(&self, stream: Inbound) -> Option<Inbound> {
        match self.expected().take() {
            // The broker that let it in may have ended meanwhile: then it leads nowhere.
            Some(expected) => expected.send(stream).err().map(drop).and(None),
            None => Some(stream),
        }
    }

    /// The next stream, instead of a main connection. To be said before the host is let in, by one at a time.
    pub(super) fn expect(&self) -> oneshot::Receiver<Inbound> {
        let (expected, arrives) = oneshot::channel();
        *self.expected() = Some(expected);
        arrives
    }

    /// The host was not let in after all.
    pub(super) fn expect_none(&self) {
        self.expected().take();
    }

    /// Waits for the turn to open the next stream towards the host.
    pub(super) async fn turn(&self) -> StreamTurn {
        let turn = self.session.turn().await;
        Box::new(move || {
            let opening = async move {
                let line: HostLine = Box::new(turn.open_stream(SECURED).await?);
                Ok(line)
            };
            opening.boxed()
        })
    }

    /// Ends the connection, and all of its streams with it.
    pub(in crate::gateway) fn end(&self) {
        self.session.end();
        // Nobody fulfils what is expected.
        self.expect_none();
    }

    fn expected(&self) -> MutexGuard<'_, Option<oneshot::Sender<Inbound>>> {
        // Each change is one assignment.
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HostStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostStreams").finish_non_exhaustive()
    }
}
