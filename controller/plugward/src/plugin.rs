//! The port to plugins: what the controller may do with a process that speaks go-plugin's protocol.
//!
//! It is small, and a trait, so that the simulation can stand in for plugins as it does for engines.

use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use go_plugin::external::http::uri::PathAndQuery;
use go_plugin::external::http::{HeaderMap, HeaderName, HeaderValue};
use go_plugin::external::rustls::ServerConfig;
use go_plugin::external::{Bytes, tonic::Code};
use go_plugin::{
    Address, Answer, BrokerClosed, BrokerError, BrokerMessage, CallError, ConnectError, Handshake, Health,
    Identity, IdentityError, Listener, Plugin, SocketAddress, SocketError, StdioChannel,
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

    /// Opens the stream by which the plugin's broker and ours speak to each other. A plugin has one in its life: when it ends,
    /// with this conversation at the latest, the plugin's broker has ended for good. Must be called within a tokio runtime.
    fn broker(&self) -> Brokering;

    /// Listens where the plugin can connect to, for a server that somebody offers it over the broker. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When no socket can be made there.
    fn offer(&self) -> Result<Box<dyn Offer>, PluginError>;

    /// Connects to a server that the plugin offers over the broker at this address.
    async fn dial_at(&self, address: &Address) -> Result<HostLine, PluginError>;

    /// Whether the plugin still has a socket at an address at which it offered a server.
    fn offers(&self, address: &Address) -> bool;
}

/// The two directions of a plugin's broker.
pub struct Brokering {
    /// Sends a message, when those before it are on their way. An error says that the stream has ended.
    pub to_plugin: SendMessage,
    /// Its messages, and last of all why there are no more.
    pub from_plugin: BoxStream<'static, Result<BrokerMessage, BrokerError>>,
}

/// See [`Brokering::to_plugin`].
pub type SendMessage =
    Box<dyn Fn(BrokerMessage) -> BoxFuture<'static, Result<(), BrokerClosed>> + Send + Sync>;

/// A socket of ours that the plugin connects to. It goes when this is dropped.
#[async_trait]
pub trait Offer: Send + Sync + 'static {
    /// Where it is, as the plugin sees it.
    fn address(&self) -> Address;

    /// The next connection, which has yet to prove that it is the plugin's. Dropping the future loses none.
    async fn accept(&self) -> Result<Proving, PluginError>;
}

/// A connection that the plugin made, once it proved that it is its.
pub type Proving = BoxFuture<'static, Result<HostLine, PluginError>>;

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
    /// The group of the shared directory, where it matters.
    pub group: Option<u32>,
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
        let (ours, theirs) = match &address.handshake.server_certificate {
            Some(certificate) => {
                let unusable = |error: IdentityError| PluginError::permanent(chain(&error));
                let identity = Identity::from_pem(address.identity.reveal()).map_err(unusable)?;
                let ours = identity.client_config(certificate).map_err(unusable)?;
                let theirs = identity.server_config(certificate).map_err(unusable)?;
                (Some(Arc::new(ours)), Some(Arc::new(theirs)))
            }
            None => (None, None),
        };
        let plugin = Plugin::connect(&socket, ours, CALL_LIMIT).await?;
        let (directory, group) = (address.directory.clone(), address.group);
        Ok(Arc::new(SocketConversation { plugin, directory, group, server: theirs }))
    }
}

struct SocketConversation {
    plugin: Plugin,
    /// The shared directory on our side.
    directory: PathBuf,
    /// Its group, where it matters.
    group: Option<u32>,
    /// How connections of the plugin are met.
    server: Option<Arc<ServerConfig>>,
}

/// A socket in the shared directory.
struct SharedSocket {
    listener: Listener,
    server: Option<Arc<ServerConfig>>,
}

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
        match self.plugin.health(CALL_LIMIT).await {
            // Plugins without a health service answer, and work with every host.
            Ok(Health::Serving | Health::Unimplemented) => Ok(()),
            Ok(Health::NotServing) => Err(PluginError::transient("the plugin says that it does not serve")),
            Err(error) => Err(error.into()),
        }
    }

    async fn shutdown(&self) -> Result<(), PluginError> {
        Ok(self.plugin.shutdown(CALL_LIMIT).await?)
    }

    fn stdio(&self) -> BoxStream<'static, (StdioChannel, Bytes)> {
        self.plugin.stdio().boxed()
    }

    async fn closed(&self) {
        self.plugin.closed().await;
    }

    async fn health_of(&self, service: &str) -> Result<ServiceHealth, PluginError> {
        Ok(match self.plugin.health_of(service, CALL_LIMIT).await? {
            Health::Serving => ServiceHealth::Serving,
            Health::NotServing => ServiceHealth::NotServing,
            Health::Unimplemented => ServiceHealth::UnknownService,
        })
    }

    async fn multiplexes(&self) -> Result<bool, PluginError> {
        Ok(self.plugin.multiplexes(CALL_LIMIT).await?)
    }

    async fn call(&self, call: UnaryCall) -> Result<UnaryAnswer, PluginError> {
        let path = PathAndQuery::try_from(call.path.as_str())
            .map_err(|_| PluginError::permanent(format!("{:?} is no method", call.path)))?;
        let metadata = call.headers()?;
        let message = Bytes::from_owner(Lent(call.message));
        Ok(self.plugin.call(path, metadata, message, call.limit).await?.into())
    }

    async fn dial(&self) -> Result<HostLine, PluginError> {
        Ok(Box::new(self.plugin.dial(CALL_LIMIT).await?))
    }

    fn broker(&self) -> Brokering {
        let (sender, receiver) = self.plugin.broker();
        let to_plugin = move |message| {
            let sender = sender.clone();
            async move { sender.send(message).await }.boxed()
        };
        let from_plugin = stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver = receiver?;
            let message = receiver.recv().await;
            // Of a message that means nothing others may follow.
            let goes_on = matches!(&message, Ok(_) | Err(BrokerError::Message(_)));
            Some((message, goes_on.then_some(receiver)))
        });
        Brokering { to_plugin: Box::new(to_plugin), from_plugin: from_plugin.boxed() }
    }

    fn offer(&self) -> Result<Box<dyn Offer>, PluginError> {
        let listener = Listener::bind(&self.directory, self.group)
            .map_err(|error| PluginError::transient(chain(&error)))?;
        Ok(Box::new(SharedSocket { listener, server: self.server.clone() }))
    }

    async fn dial_at(&self, address: &Address) -> Result<HostLine, PluginError> {
        let address = self.translate(address)?;
        Ok(Box::new(self.plugin.dial_at(&address, CALL_LIMIT).await?))
    }

    fn offers(&self, address: &Address) -> bool {
        self.translate(address).is_ok_and(|address| {
            address.path().symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
        })
    }
}

impl SocketConversation {
    /// Where an address of the plugin's is on our side.
    fn translate(&self, address: &Address) -> Result<SocketAddress, PluginError> {
        SocketAddress::translate(address, Path::new(PLUGIN_SIDE_DIRECTORY), &self.directory)
            .map_err(|error| PluginError::permanent(chain(&error)))
    }
}

#[async_trait]
impl Offer for SharedSocket {
    fn address(&self) -> Address {
        self.listener.address_in(PLUGIN_SIDE_DIRECTORY)
    }

    async fn accept(&self) -> Result<Proving, PluginError> {
        let inbound = self.listener.accept().await.map_err(|error| PluginError::transient(chain(&error)))?;
        let server = self.server.clone();
        let proving = async move {
            let line: HostLine = Box::new(inbound.secured(server, CALL_LIMIT).await?);
            Ok(line)
        };
        Ok(proving.boxed())
    }
}

#[cfg(test)]
mod tests;
