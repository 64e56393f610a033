//! A connection that the other side made to us.

use std::{sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{net::UnixStream, time};
use tokio_rustls::TlsAcceptor;

use crate::{ConnectError, PluginStream, raw::Raw};

/// A connection that the other side made to us, of which nothing was read yet. Dropped, it is closed.
#[derive(Debug)]
pub struct Inbound(Raw);

impl From<UnixStream> for Inbound {
    fn from(socket: UnixStream) -> Self {
        Self::new(socket)
    }
}

impl Inbound {
    pub(crate) fn new(raw: impl Into<Raw>) -> Self {
        Self(raw.into())
    }

    /// The connection once the other side has proved who it is, where there are settings for TLS
    /// ([`Identity::server_config`]), and as it is otherwise. Who accepts a connection is its TLS server, in both directions.
    ///
    /// [`Identity::server_config`]: crate::Identity::server_config
    ///
    /// # Errors
    ///
    /// When the TLS handshake fails, or takes longer than `limit`.
    pub async fn secured(
        self,
        tls: Option<Arc<ServerConfig>>,
        limit: Duration,
    ) -> Result<PluginStream, ConnectError> {
        let tls = tls.map(TlsAcceptor::from);
        let accepting = PluginStream::accepted(self.0, tls.as_ref());
        time::timeout(limit, accepting).await.unwrap_or(Err(ConnectError::TimedOut { limit }))
    }
}
