//! The port to plugins: what the controller may do with a process that speaks go-plugin's protocol.
//!
//! It is small, and a trait, so that the simulation can stand in for plugins as it does for engines.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use go_plugin::external::{Bytes, tonic::Code};
use go_plugin::{Address, BrokerClosed, BrokerError, BrokerMessage, Handshake, StdioChannel};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

pub use self::sockets::SocketPlugins;
use crate::slot::StoredIdentity;

mod sockets;

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

    /// Makes ready what the first [`dial`](Self::dial) would wait for, so far as that can be. Must be called within a tokio runtime.
    fn warm(&self);

    /// Opens the stream by which the plugin's broker and ours speak to each other. A plugin has one in its life: when it ends,
    /// with this conversation at the latest, the plugin's broker has ended for good. Must be called within a tokio runtime.
    fn broker(&self) -> Brokering;

    /// Listens where the plugin can connect to, for a server that somebody offers it over the broker. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When no socket can be made there, or the plugin would not connect to one.
    fn offer(&self) -> Result<Box<dyn Offer>, PluginError>;

    /// Connects to a server that the plugin offers over the broker at this address.
    async fn dial_at(&self, address: &Address) -> Result<HostLine, PluginError>;

    /// Waits until nobody else is about to open a stream of the one connection that the plugin takes: the next one is whoever's this
    /// is, who may knock for it first. `None` if the plugin takes others.
    async fn turn(&self) -> Option<StreamTurn>;

    /// Whether the plugin still has a socket at an address at which it offered a server.
    fn offers(&self, address: &Address) -> bool;
}

/// The two directions of a plugin's broker.
pub struct Brokering {
    /// Sends a message, when those before it are on their way. An error says that the stream has ended.
    pub to_plugin: SendMessage,
    /// Its messages, and last of all why there are no more.
    pub from_plugin: BoxStream<'static, Result<BrokerMessage, BrokerError>>,
    /// How the plugin's connections come to servers that it is offered.
    pub meeting: Meeting,
}

/// How a plugin's connections come to servers that it is offered over the broker.
pub enum Meeting {
    /// Each server has a socket, of which the plugin is told: an [`Offer`].
    Sockets,
    /// As streams of the one connection. The plugin knocks for a server, and if it is let in, its next stream belongs to that. They
    /// end with the connection.
    Streams(BoxStream<'static, Proving>),
}

/// The right to open the next stream of a connection: opens the one that was knocked for. It is opened even if nobody waits for it any more.
pub type StreamTurn = Box<dyn FnOnce() -> BoxFuture<'static, Result<HostLine, PluginError>> + Send>;

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
    /// Whether the plugin takes one connection only, which all share: then there is one try, and it ends with that.
    pub shared: bool,
}

/// A plugin did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    /// Whether trying again is of no use.
    pub permanent: bool,
    /// Whether there is no socket where its handshake says that one is.
    pub no_socket: bool,
    /// What went wrong, for people.
    pub message: String,
}

// === impl PluginError ===

impl PluginError {
    /// An error that may pass.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { permanent: false, no_socket: false, message: message.into() }
    }

    /// An error that stays.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { permanent: true, no_socket: false, message: message.into() }
    }
}

// === impl UnaryCall ===

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

impl fmt::Debug for UnaryAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnaryAnswer")
            .field("code", &self.code)
            .field("message_bytes", &self.message.len())
            .finish_non_exhaustive()
    }
}
