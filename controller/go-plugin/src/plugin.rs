//! A plugin that runs, and what every plugin can be asked.

use std::{io, sync::Arc, time::Duration};

use hyper::{
    body::Bytes,
    http::{HeaderMap, uri::PathAndQuery},
};
use rustls::ClientConfig;
use tokio::time;
use tonic::{Code, Request};

use crate::{
    Answer, BrokerReceiver, BrokerSender, CallError, Channel, MAX_STREAMS, PluginStream, Session,
    SocketAddress, SocketError, Stdio, broker,
    call::limited,
    dialer::Dialer,
    link::Link,
    proto::{
        health::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient},
        multiplexing::{MultiplexingSupportRequest, plugin_multiplexing_client::PluginMultiplexingClient},
        plugin::{Empty, grpc_controller_client::GrpcControllerClient},
    },
    unary,
};

/// The name under which go-plugin reports health.
pub(crate) const SERVICE: &str = "plugin";

/// A running plugin. Cheap to clone: all clones share the one connection that calls go over.
///
/// That connection is made once. When it ends, calls fail and [`Plugin::closed`] resolves. Those that
/// [`Plugin::dial`] gives are their takers'. Whether each has a socket or all are streams of one [`Session`] makes no other
/// difference than those that are said.
#[derive(Debug, Clone)]
pub struct Plugin {
    channel: Channel,
    link: Arc<Link>,
}

/// What a plugin says of its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It says that it does not, or does not know.
    NotServing,
    /// It has no health service, or does not know the service that was asked for. It answers, though.
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
    /// The session that carries all connections has ended.
    #[error("the session with the plugin, which carries all connections, has ended")]
    SessionEnded,
    /// The session carries as many as it may.
    #[error("the session with the plugin has {MAX_STREAMS} streams, and can have no more")]
    TooManyStreams,
    /// The plugin was started with broker multiplexing.
    #[error("the plugin has one socket for all connections, and no other can be connected to")]
    Multiplexed,
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
        let dialer = Dialer::new(address.clone(), tls);
        let connecting = async {
            let stream = dialer.connect().await?;
            Channel::over(stream).await
        };
        let channel =
            time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::TimedOut { limit }))?;
        Ok(Self { channel, link: Arc::new(Link::Sockets(dialer)) })
    }

    /// Connects to a plugin that was asked for broker multiplexing, and said that it can ([`Launch::multiplex_broker`]). The one
    /// connection to its socket becomes a [`Session`], and its first stream what calls go over. As with [`Plugin::connect`]
    /// there is TLS where there are settings for it.
    ///
    /// A Go plugin waits for this connection for 5 s after its handshake line, and takes no other: not even one that
    /// was closed at once. When this fails, or the session ends later, it ends by itself.
    ///
    /// [`Launch::multiplex_broker`]: crate::Launch::multiplex_broker
    ///
    /// # Errors
    ///
    /// Says which step failed, or that all together took longer than `limit`.
    pub async fn connect_multiplexed(
        address: &SocketAddress,
        tls: Option<Arc<ClientConfig>>,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let connecting = async {
            let session = Session::start(address.connect().await?, tls);
            let stream = session.dial(limit).await?;
            let channel = Channel::over(stream).await?;
            Ok(Self { channel, link: Arc::new(Link::Session(session)) })
        };
        time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::TimedOut { limit }))
    }

    /// A connection of its own to the plugin, for one who speaks HTTP/2 himself: nothing was sent on it yet but the
    /// TLS handshake.
    ///
    /// With a socket for each, from the first call of this on a spare one is kept ready, so that the next caller waits for no
    /// handshake. Where there has to be one, it resumes the TLS session of an earlier connection, as far as that was read;
    /// for that, handshakes with one plugin go one after the other.
    ///
    /// Dropping the future costs nothing: neither a spare nor a session is lost by it.
    ///
    /// # Errors
    ///
    /// Says which step failed, or that all together took longer than `limit`.
    pub async fn dial(&self, limit: Duration) -> Result<PluginStream, ConnectError> {
        self.link.dial(limit).await
    }

    /// Keeps a spare connection from now on, not only from the first [`dial`](Self::dial), where each has a socket. Must be called
    /// within a tokio runtime.
    pub fn warm(&self) {
        self.link.warm();
    }

    /// A connection to another socket of the plugin: to where it [announced](crate::BrokerMessage::Announce) a brokered server.
    /// [`SocketAddress::translate`] finds it in the shared directory, and refuses any other place.
    ///
    /// With TLS this is a full handshake, since each of a Go plugin's servers knows its own sessions only.
    ///
    /// # Errors
    ///
    /// Says which step failed, that all together took longer than `limit`, or that this plugin's connections are those of a session.
    pub async fn dial_at(
        &self,
        address: &SocketAddress,
        limit: Duration,
    ) -> Result<PluginStream, ConnectError> {
        self.link.dial_at(address, limit).await
    }

    /// The session that carries all connections with the plugin; `None` where each has a socket of its own.
    pub fn session(&self) -> Option<&Session> {
        match &*self.link {
            Link::Session(session) => Some(session),
            Link::Sockets(_) => None,
        }
    }

    /// Opens the stream by which the plugin's broker and ours speak to each other. Must be called within a tokio runtime.
    ///
    /// Call it once, and before anything that makes the plugin use its broker: a Go plugin with two such streams answers on
    /// either. It is opened at once, and what is sent does not wait for an answer. A plugin without a broker says so to the receiver.
    ///
    /// The stream ends with the receiver, with the last sender, or with the connection.
    pub fn broker(&self) -> (BrokerSender, BrokerReceiver) {
        broker::open(self.channel())
    }

    /// Asks for the health of the service `plugin`: go-plugin's ping.
    ///
    /// # Errors
    ///
    /// When there is no answer within `limit`, or none that is one.
    pub async fn health(&self, limit: Duration) -> Result<Health, CallError> {
        self.health_of(SERVICE, limit).await
    }

    /// Asks for the health of a service of the plugin's own; of the empty name, for that of all it serves.
    ///
    /// # Errors
    ///
    /// When there is no answer within `limit`, or none that is one.
    pub async fn health_of(&self, service: &str, limit: Duration) -> Result<Health, CallError> {
        let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
        request.set_timeout(limit);
        let mut client = HealthClient::new(self.channel());
        match limited("Health.Check", limit, client.check(request)).await {
            Ok(answer) => Ok(match answer.status() {
                ServingStatus::Serving => Health::Serving,
                // Meant for watchers, and clear enough.
                ServingStatus::ServiceUnknown => Health::Unimplemented,
                ServingStatus::NotServing | ServingStatus::Unknown => Health::NotServing,
            }),
            Err(CallError::Refused { code: Code::Unimplemented | Code::NotFound, .. }) => {
                Ok(Health::Unimplemented)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks whether its one process serves several mounts, told apart by the metadata `multiplex_id`. A plugin that
    /// does not know the question does not.
    ///
    /// # Errors
    ///
    /// When there is no answer within `limit`, or another error than that it does not know the question.
    pub async fn multiplexes(&self, limit: Duration) -> Result<bool, CallError> {
        let mut request = Request::new(MultiplexingSupportRequest {});
        request.set_timeout(limit);
        let mut client = PluginMultiplexingClient::new(self.channel());
        let call = client.multiplexing_support(request);
        match limited("PluginMultiplexing.MultiplexingSupport", limit, call).await {
            Ok(answer) => Ok(answer.supported),
            Err(CallError::Refused { code: Code::Unimplemented, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes one unary call with messages as they are: nothing is encoded or decoded.
    ///
    /// The metadata is sent in order and marked as secret, so that HPACK remembers none of it; keys that gRPC has for
    /// itself are replaced. Values of keys that end in `-bin` are Base64, as on the wire. The message may have any size
    /// that gRPC can carry, and is not copied: made by [`Bytes::from_owner`], it is dropped with its owner's `Drop`.
    ///
    /// # Errors
    ///
    /// When there is no answer within `limit`, or none that is one. A status other than OK *is* one.
    pub async fn call(
        &self,
        path: PathAndQuery,
        metadata: HeaderMap,
        message: Bytes,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        unary::call(self.channel(), path, metadata, message, limit).await
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
        // grpc-go's server does not stop before each of its connections has sent something, for up to two minutes.
        self.link.keep_none();
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
            Self::SessionEnded => "session_ended",
            Self::TooManyStreams => "too_many_streams",
            Self::Multiplexed => "multiplexed",
            Self::TimedOut { .. } => "connect_timed_out",
        }
    }
}
