//! The way to one plugin with a socket of its own for each connection, for as many as are wanted.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{ClientConfig, client::Resumption};
use tokio::{
    sync::{Mutex, MutexGuard},
    time,
};
use tokio_rustls::TlsConnector;

use crate::{ConnectError, PluginStream, SocketAddress, spare::Spare};

/// Connects to a plugin: on its socket, and with the TLS settings that remember its sessions.
#[derive(Debug)]
pub(crate) struct Dialer {
    route: Arc<Route>,
    /// There from the first dial on: a plugin that nobody dials costs nothing.
    spare: OnceLock<Spare>,
}

/// Where the plugin is, and how it is to be met.
pub(crate) struct Route {
    address: SocketAddress,
    tls: Option<TlsConnector>,
    /// For the plugin's other sockets.
    brokered: Option<TlsConnector>,
    turn: Mutex<()>,
}

// === impl Dialer ===

impl Dialer {
    pub(crate) fn new(address: SocketAddress, tls: Option<Arc<ClientConfig>>) -> Self {
        let brokered = tls.as_deref().map(brokered);
        let route = Route { address, tls: tls.map(TlsConnector::from), brokered, turn: Mutex::default() };
        Self { route: Arc::new(route), spare: OnceLock::new() }
    }

    /// A new connection, in whatever time it takes.
    pub(crate) async fn connect(&self) -> Result<PluginStream, ConnectError> {
        self.route.connect().await
    }

    /// The spare connection, or a new one; and another spare for the next.
    pub(crate) async fn dial(&self, limit: Duration) -> Result<PluginStream, ConnectError> {
        let spare = || self.spare.get().and_then(Spare::take);
        if let Some(stream) = spare() {
            return Ok(stream);
        }
        let connecting = async {
            let _turn = self.route.turn().await;
            match spare() {
                Some(made_meanwhile) => Ok(made_meanwhile),
                None => self.route.connect().await,
            }
        };
        let stream =
            time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::TimedOut { limit }))?;
        self.warm();
        Ok(stream)
    }

    /// Makes a spare connection, unless there is one, and keeps one from now on.
    pub(crate) fn warm(&self) {
        self.spare.get_or_init(|| Spare::keep(Arc::clone(&self.route))).want();
    }

    /// A new connection to another socket of the plugin.
    pub(crate) async fn dial_at(
        &self,
        address: &SocketAddress,
        limit: Duration,
    ) -> Result<PluginStream, ConnectError> {
        let connecting = connect(address, self.route.brokered.as_ref());
        time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::TimedOut { limit }))
    }

    /// Closes the spare connection. None is kept any more.
    pub(crate) fn keep_none(&self) {
        if let Some(spare) = self.spare.get() {
            spare.end();
        }
    }
}

// === impl Route ===

impl Route {
    /// To be waited for before connecting, since a session can be resumed once: of two handshakes at the same time one
    /// would be a full one, which costs more than both after each other.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(crate) async fn connect(&self) -> Result<PluginStream, ConnectError> {
        connect(&self.address, self.tls.as_ref()).await
    }
}

async fn connect(address: &SocketAddress, tls: Option<&TlsConnector>) -> Result<PluginStream, ConnectError> {
    PluginStream::dialled(address.connect().await?, tls).await
}

/// The settings for brokered servers, with which no session is resumed. In a Go program each server knows its own sessions
/// only: trying would use up those with a plugin's main server, and mix in others.
pub(crate) fn brokered(settings: &ClientConfig) -> TlsConnector {
    let mut settings = settings.clone();
    settings.resumption = Resumption::disabled();
    Arc::new(settings).into()
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, tls, .. } = self;
        f.debug_struct("Route").field("address", address).field("tls", &tls.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
