//! The other side of a launch: how to tell that a connection is its, in either direction.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{net::UnixStream, time};
use tokio_rustls::TlsConnector;

use crate::{ConnectError, Identity, IdentityError, Inbound, PluginStream, dialer::brokered};

/// The other side of a launch, where neither side is the only one to connect: a host as its plugin meets it, mostly.
///
/// Whoever accepts a connection is its TLS server, whichever of the two it is.
#[derive(Clone)]
pub struct Peer(Option<Tls>);

#[derive(Clone)]
struct Tls {
    server: Arc<ServerConfig>,
    /// Connections to it are to its brokered servers, each with sessions of its own: none is resumed.
    client: TlsConnector,
}

// === impl Peer ===

impl Peer {
    /// One that speaks plainly.
    pub const fn plain() -> Self {
        Self(None)
    }

    /// One that has this certificate, towards which we are `identity`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Tls`], which would be a mistake in this crate.
    pub fn pinned(identity: &Identity, certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let server = Arc::new(identity.server_config(certificate)?);
        let client = brokered(&identity.client_config(certificate)?);
        Ok(Self(Some(Tls { server, client })))
    }

    /// The same, with its certificate as PEM, as a host gives it to its plugin.
    ///
    /// # Errors
    ///
    /// When the text holds no certificate.
    pub fn pinned_pem(identity: &Identity, pem: &str) -> Result<Self, IdentityError> {
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(IdentityError::Certificate)?;
        Self::pinned(identity, &certificate)
    }

    /// Whether it has to prove who it is.
    pub const fn is_pinned(&self) -> bool {
        self.0.is_some()
    }

    /// A connection that was made to us, once the other side has proved that it is this one.
    ///
    /// # Errors
    ///
    /// When the TLS handshake fails, or takes longer than `limit`.
    pub async fn accept(
        &self,
        inbound: impl Into<Inbound>,
        limit: Duration,
    ) -> Result<PluginStream, ConnectError> {
        inbound.into().secured(self.0.as_ref().map(|tls| Arc::clone(&tls.server)), limit).await
    }

    /// A connection that we made, once the other side has proved that it is this one.
    ///
    /// # Errors
    ///
    /// When the TLS handshake fails, or takes longer than `limit`.
    pub async fn connect(&self, socket: UnixStream, limit: Duration) -> Result<PluginStream, ConnectError> {
        let connecting = PluginStream::dialled(socket, self.0.as_ref().map(|tls| &tls.client));
        time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::TimedOut { limit }))
    }

    /// How connections to it are secured, where they are.
    pub(crate) fn connector(&self) -> Option<TlsConnector> {
        self.0.as_ref().map(|tls| tls.client.clone())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_pinned() { "Peer(pinned)" } else { "Peer(plain)" })
    }
}
