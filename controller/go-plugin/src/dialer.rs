//! The way to one plugin, for as many connections as are wanted.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time;
use tokio_rustls::TlsConnector;

use crate::{ConnectError, PluginStream, SocketAddress, identity::NAME, spare::Spare};

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
}

// === impl Dialer ===

impl Dialer {
    pub(crate) fn new(address: SocketAddress, tls: Option<Arc<ClientConfig>>) -> Self {
        let route = Route { address, tls: tls.map(TlsConnector::from) };
        Self { route: Arc::new(route), spare: OnceLock::new() }
    }

    /// A new connection, in whatever time it takes.
    pub(crate) async fn connect(&self) -> Result<PluginStream, ConnectError> {
        self.route.connect().await
    }

    /// The spare connection, or a new one; and another spare for the next.
    pub(crate) async fn dial(&self, limit: Duration) -> Result<PluginStream, ConnectError> {
        if let Some(stream) = self.spare.get().and_then(Spare::take) {
            return Ok(stream);
        }
        let stream =
            time::timeout(limit, self.connect()).await.unwrap_or(Err(ConnectError::TimedOut { limit }))?;
        // Not earlier: both would want the session that is there to resume.
        self.spare.get_or_init(|| Spare::keep(Arc::clone(&self.route))).want();
        Ok(stream)
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
    pub(crate) async fn connect(&self) -> Result<PluginStream, ConnectError> {
        let stream = self.address.connect().await?;
        let Some(tls) = &self.tls else { return Ok(PluginStream::plain(stream)) };
        let name = ServerName::try_from(NAME).map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
        let stream = tls.connect(name, stream).await.map_err(ConnectError::Tls)?;
        Ok(PluginStream::tls(stream))
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, tls } = self;
        f.debug_struct("Route").field("address", address).field("tls", &tls.is_some()).finish()
    }
}

#[cfg(test)]
mod tests;
