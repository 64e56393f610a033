//! A plugin that runs, and what every plugin can be asked.

use std::{io, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time;
use tokio_rustls::TlsConnector;
use tonic::{Code, Request};

use crate::{
    CallError, Channel, SocketAddress, SocketError, Stdio,
    call::limited,
    identity::NAME,
    proto::{
        health::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient},
        plugin::{Empty, grpc_controller_client::GrpcControllerClient},
    },
};

/// The name under which go-plugin reports health.
pub(crate) const SERVICE: &str = "plugin";

/// A running plugin, through one connection. Cheap to clone: all clones share the connection.
///
/// The connection is made once. When it ends, calls fail and [`Plugin::closed`] resolves.
#[derive(Debug, Clone)]
pub struct Plugin {
    channel: Channel,
}

/// What a plugin says of its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It says that it does not, or does not know.
    NotServing,
    /// It has no health service, or knows no service `plugin`. It answers, though.
    Unimplemented,
}

/// Why there is no connection to a plugin.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket cannot be connected to.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The TLS handshake failed.
    #[error(
        "no TLS with the plugin: it does not have the certificate of its handshake, or does not accept ours"
    )]
    Tls(#[source] io::Error),
    /// HTTP/2 did not start.
    #[error("no HTTP/2 with the plugin")]
    Http2(#[source] hyper::Error),
    /// It took too long.
    #[error("no connection to the plugin within {limit:?}: it has a socket but does not accept connections")]
    TimedOut {
        /// The time it had.
        limit: Duration,
    },
}

// === impl Plugin ===

impl Plugin {
    /// Connects, with TLS where there are settings for it ([`Identity::client_config`]), in plaintext otherwise.
    ///
    /// Must be called within a tokio runtime, which then drives the connection. A plugin that refuses *our*
    /// certificate says so only afterwards: the first call is lost.
    ///
    /// [`Identity::client_config`]: crate::Identity::client_config
    ///
    /// # Errors
    ///
    /// Says which step failed, or that all together took longer than `limit`.
    pub async fn connect(
        address: &SocketAddress,
        tls: Option<Arc<ClientConfig>>,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let connecting = async {
            let stream = address.connect().await?;
            let channel = match tls {
                None => Channel::start(stream).await,
                Some(settings) => {
                    let name = ServerName::try_from(NAME)
                        .map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
                    let stream = TlsConnector::from(settings)
                        .connect(name, stream)
                        .await
                        .map_err(ConnectError::Tls)?;
                    Channel::start(stream).await
                }
            };
            Ok(Self { channel: channel.map_err(ConnectError::Http2)? })
        };
        time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::TimedOut { limit }))
    }

    /// Asks for the health of the service `plugin`: go-plugin's ping.
    ///
    /// # Errors
    ///
    /// When there is no answer within `limit`, or none that is one.
    pub async fn health(&self, limit: Duration) -> Result<Health, CallError> {
        let mut request = Request::new(HealthCheckRequest { service: SERVICE.to_owned() });
        request.set_timeout(limit);
        let mut client = HealthClient::new(self.channel());
        match limited("Health.Check", limit, client.check(request)).await {
            Ok(answer) if answer.status() == ServingStatus::Serving => Ok(Health::Serving),
            Ok(_) => Ok(Health::NotServing),
            Err(CallError::Refused { code: Code::Unimplemented | Code::NotFound, .. }) => {
                Ok(Health::Unimplemented)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the plugin to end. A connection that ends instead of an answer is success, and usual: plugins end
    /// without waiting for their answer to be read. So is one that had ended before.
    ///
    /// That the process is gone is not known then: go-plugin gives it two seconds.
    ///
    /// # Errors
    ///
    /// When the plugin refuses, or neither answers nor ends the connection within `limit`.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), CallError> {
        let mut client = GrpcControllerClient::new(self.channel());
        match limited("GRPCController.Shutdown", limit, client.shutdown(Empty {})).await {
            Ok(Empty {}) | Err(CallError::Lost { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The plugin's output after its handshake.
    ///
    /// Read it once, early and to its end: there is one output, which two readers would share between them, and a Go
    /// plugin blocks when nobody reads it. It is asked for with the first poll.
    pub fn stdio(&self) -> Stdio {
        Stdio::new(self.channel())
    }

    /// Resolves when the connection takes no more calls: the plugin died or closed it.
    pub async fn closed(&self) {
        self.channel.closed().await;
    }

    /// For calls to the plugin's own services.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

// === impl Health ===

impl Health {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::NotServing => "not_serving",
            Self::Unimplemented => "unimplemented",
        }
    }
}

// === impl ConnectError ===

impl ConnectError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Socket(error) => error.as_str(),
            Self::Tls(_) => "tls",
            Self::Http2(_) => "http2",
            Self::TimedOut { .. } => "connect_timed_out",
        }
    }
}
