//! The port to plugins: what the controller may do with a process that speaks go-plugin's protocol.
//!
//! It is small, and a trait, so that the simulation can stand in for plugins as it does for engines.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use go_plugin::external::http::uri::PathAndQuery;
use go_plugin::external::http::{HeaderMap, HeaderName, HeaderValue};
use go_plugin::external::{Bytes, tonic::Code};
use go_plugin::{
    Answer, CallError, ConnectError, Handshake, Health, Identity, Plugin, SocketAddress, SocketError,
    StdioChannel,
};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::errors::chain;
use crate::names::PLUGIN_SIDE_DIRECTORY;
use crate::slot::StoredIdentity;

/// Reaches plugins.
#[async_trait]
pub trait Plugins: Send + Sync + 'static {
    /// Connects to a plugin that has printed its handshake line.
    async fn connect(&self, address: &PluginAddress) -> Result<Arc<dyn Conversation>, PluginError>;
}

/// A connection to one plugin. It is never silently made anew. Its questions and calls each have a time limit.
#[async_trait]
pub trait Conversation: Send + Sync + 'static {
    /// Whether the plugin says that it serves.
    async fn health(&self) -> Result<(), PluginError>;

    /// Asks the plugin to end. That it often ends before it answers is no error.
    async fn shutdown(&self) -> Result<(), PluginError>;

    /// What the plugin writes to its standard streams after the handshake, in pieces. Taken once.
    fn stdio(&self) -> BoxStream<'static, (StdioChannel, Bytes)>;

    /// Resolves when the connection has ended.
    async fn closed(&self);

    /// What the plugin says of the health of a service of its own (`grpc.health.v1.Health/Check`).
    async fn health_of(&self, service: &str) -> Result<ServiceHealth, PluginError>;

    /// Whether one process serves several mounts: `PluginMultiplexing/MultiplexingSupport`. A plugin without that
    /// service does not.
    async fn multiplexes(&self) -> Result<bool, PluginError>;

    /// One unary call with messages as they are, over our own connection. `Err` says that there was no answer; a
    /// status other than OK is an answer.
    async fn call(&self, call: UnaryCall) -> Result<UnaryAnswer, PluginError>;

    /// A connection of its own for a host: the plugin's side of a relay.
    async fn dial(&self) -> Result<HostLine, PluginError>;
}

/// What a plugin says of one of its services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceHealth {
    /// It serves.
    Serving,
    /// It does not, or does not know.
    NotServing,
    /// There is no such service, or nobody to ask for its health.
    UnknownService,
}

/// A unary call. What it carries may be secret: no `Debug` shows it, and the message is cleared when its last owner
/// drops it.
#[derive(Clone)]
pub struct UnaryCall {
    /// Service and method: `/package.Service/Method`.
    pub path: String,
    /// Keys and values as they are on the wire: the value of a key that ends in `-bin` is Base64.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// The protobuf message alone, without the five bytes that gRPC puts before it.
    pub message: Arc<Zeroizing<Vec<u8>>>,
    /// How long the answer may take.
    pub limit: Duration,
}

/// The answer to a unary call. What it carries may be secret: no `Debug` shows it.
pub struct UnaryAnswer {
    /// gRPC's status code; 0 is OK.
    pub code: i32,
    /// What the plugin says of an error, in its own words.
    pub status_message: String,
    /// The protobuf message; empty where the status is not OK.
    pub message: Zeroizing<Vec<u8>>,
}

/// A byte stream to a plugin, TLS and all.
pub type HostLine = Box<dyn Duplex>;

/// What can be read and written.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Duplex for T {}

/// Where and how a plugin is reached.
#[derive(Debug, Clone)]
pub struct PluginAddress {
    /// The shared directory on our side.
    pub directory: PathBuf,
    /// What the plugin said of itself.
    pub handshake: Handshake,
    /// With what we prove who we are.
    pub identity: StoredIdentity,
}

/// A plugin did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    /// Whether trying again is of no use.
    pub permanent: bool,
    /// What went wrong, for people.
    pub message: String,
}

/// Plugins on real sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketPlugins;

/// How long one call to a plugin may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);

// === impl PluginError ===

impl PluginError {
    /// An error that may pass.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { permanent: false, message: message.into() }
    }

    /// An error that stays.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { permanent: true, message: message.into() }
    }
}

impl From<CallError> for PluginError {
    fn from(error: CallError) -> Self {
        // No other process would take it either.
        let permanent = matches!(error, CallError::TooLarge { .. });
        Self { permanent, message: chain(&error) }
    }
}

impl From<ConnectError> for PluginError {
    fn from(error: ConnectError) -> Self {
        // Something else lies where its socket should be. All else may change.
        let permanent = matches!(error, ConnectError::Socket(SocketError::NotASocket { .. }));
        Self { permanent, message: chain(&error) }
    }
}

// === impl UnaryCall ===

impl UnaryCall {
    /// The metadata as headers.
    fn headers(&self) -> Result<HeaderMap, PluginError> {
        let mut headers = HeaderMap::with_capacity(self.metadata.len());
        for (key, value) in &self.metadata {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::from_bytes(value)) else {
                return Err(PluginError::permanent(format!("the metadata {key:?} cannot be sent")));
            };
            headers.append(name, value);
        }
        Ok(headers)
    }
}

impl fmt::Debug for UnaryCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnaryCall")
            .field("path", &self.path)
            .field("message_bytes", &self.message.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

// === impl UnaryAnswer ===

impl UnaryAnswer {
    /// Whether the status is OK.
    pub fn is_ok(&self) -> bool {
        self.code == Code::Ok as i32
    }
}

impl From<Answer> for UnaryAnswer {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Message(message) => {
                Self { code: Code::Ok.into(), status_message: String::new(), message }
            }
            Answer::Status { code, message } => {
                Self { code: code.into(), status_message: message, message: Zeroizing::default() }
            }
        }
    }
}

impl fmt::Debug for UnaryAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnaryAnswer")
            .field("code", &self.code)
            .field("message_bytes", &self.message.len())
            .finish_non_exhaustive()
    }
}

// === impl SocketPlugins ===

#[async_trait]
impl Plugins for SocketPlugins {
    async fn connect(&self, address: &PluginAddress) -> Result<Arc<dyn Conversation>, PluginError> {
        let socket = SocketAddress::translate(
            &address.handshake.address,
            Path::new(PLUGIN_SIDE_DIRECTORY),
            &address.directory,
        )
        .map_err(|error| PluginError::permanent(chain(&error)))?;
        let settings = match &address.handshake.server_certificate {
            Some(certificate) => {
                let identity = Identity::from_pem(address.identity.reveal())
                    .map_err(|error| PluginError::permanent(chain(&error)))?;
                let settings = identity
                    .client_config(certificate)
                    .map_err(|error| PluginError::permanent(chain(&error)))?;
                Some(Arc::new(settings))
            }
            None => None,
        };
        Ok(Arc::new(SocketConversation(Plugin::connect(&socket, settings, CALL_LIMIT).await?)))
    }
}

struct SocketConversation(Plugin);

/// The message of a call, lent to the connection that sends it.
struct Lent(Arc<Zeroizing<Vec<u8>>>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[async_trait]
impl Conversation for SocketConversation {
    async fn health(&self) -> Result<(), PluginError> {
        match self.0.health(CALL_LIMIT).await {
            // Plugins without a health service answer, and work with every host.
            Ok(Health::Serving | Health::Unimplemented) => Ok(()),
            Ok(Health::NotServing) => Err(PluginError::transient("the plugin says that it does not serve")),
            Err(error) => Err(error.into()),
        }
    }

    async fn shutdown(&self) -> Result<(), PluginError> {
        Ok(self.0.shutdown(CALL_LIMIT).await?)
    }

    fn stdio(&self) -> BoxStream<'static, (StdioChannel, Bytes)> {
        self.0.stdio().boxed()
    }

    async fn closed(&self) {
        self.0.closed().await;
    }

    async fn health_of(&self, service: &str) -> Result<ServiceHealth, PluginError> {
        Ok(match self.0.health_of(service, CALL_LIMIT).await? {
            Health::Serving => ServiceHealth::Serving,
            Health::NotServing => ServiceHealth::NotServing,
            Health::Unimplemented => ServiceHealth::UnknownService,
        })
    }

    async fn multiplexes(&self) -> Result<bool, PluginError> {
        Ok(self.0.multiplexes(CALL_LIMIT).await?)
    }

    async fn call(&self, call: UnaryCall) -> Result<UnaryAnswer, PluginError> {
        let path = PathAndQuery::try_from(call.path.as_str())
            .map_err(|_| PluginError::permanent(format!("{:?} is no method", call.path)))?;
        let metadata = call.headers()?;
        let message = Bytes::from_owner(Lent(call.message));
        Ok(self.0.call(path, metadata, message, call.limit).await?.into())
    }

    async fn dial(&self) -> Result<HostLine, PluginError> {
        Ok(Box::new(self.0.dial(CALL_LIMIT).await?))
    }
}

#[cfg(test)]
mod tests;
