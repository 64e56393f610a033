//! How connections with a plugin are made: each on a socket, or all in one session.

use std::time::Duration;

use crate::{ConnectError, PluginStream, Session, SocketAddress, dialer::Dialer};

#[derive(Debug)]
pub(crate) enum Link {
    Sockets(Dialer),
    Session(Session),
}

impl Link {
    /// A further connection to the plugin's main server.
    pub(crate) async fn dial(&self, limit: Duration) -> Result<PluginStream, ConnectError> {
        match self {
            Self::Sockets(dialer) => dialer.dial(limit).await,
            Self::Session(session) => session.dial(limit).await,
        }
    }

    /// Makes ready what the next connection would wait for.
    pub(crate) fn warm(&self) {
        match self {
            Self::Sockets(dialer) => dialer.warm(),
            // Its streams wait for nothing but their own handshake.
            Self::Session(_) => (),
        }
    }

    /// A connection to a socket that the plugin announced.
    pub(crate) async fn dial_at(
        &self,
        address: &SocketAddress,
        limit: Duration,
    ) -> Result<PluginStream, ConnectError> {
        match self {
            Self::Sockets(dialer) => dialer.dial_at(address, limit).await,
            Self::Session(_) => Err(ConnectError::Multiplexed),
        }
    }

    /// Closes connections that nobody uses yet.
    pub(crate) fn keep_none(&self) {
        match self {
            Self::Sockets(dialer) => dialer.keep_none(),
            Self::Session(_) => (),
        }
    }
}
