//! The port to plugins: what the controller may do with a process that speaks go-plugin's protocol.
//!
//! It is small, and a trait, so that the simulation can stand in for plugins as it does for engines.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use go_plugin::external::Bytes;
use go_plugin::{
    ConnectError, Handshake, Health, Identity, Plugin, SocketAddress, SocketError, StdioChannel,
};

use crate::errors::chain;
use crate::names::PLUGIN_SIDE_DIRECTORY;
use crate::slot::StoredIdentity;

/// Reaches plugins.
#[async_trait]
pub trait Plugins: Send + Sync + 'static {
    /// Connects to a plugin that has printed its handshake line.
    async fn connect(&self, address: &PluginAddress) -> Result<Arc<dyn Conversation>, PluginError>;
}

/// A connection to one plugin. It is never silently made anew.
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
}

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
        let plugin = Plugin::connect(&socket, settings, CALL_LIMIT)
            .await
            .map_err(|error| PluginError { permanent: stays(&error), message: chain(&error) })?;
        Ok(Arc::new(SocketConversation(plugin)))
    }
}

/// Whether a connection that failed so will fail again.
const fn stays(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Socket(SocketError::NotASocket { .. }))
}

struct SocketConversation(Plugin);

#[async_trait]
impl Conversation for SocketConversation {
    async fn health(&self) -> Result<(), PluginError> {
        match self.0.health(CALL_LIMIT).await {
            // Plugins without a health service answer, and work with every host.
            Ok(Health::Serving | Health::Unimplemented) => Ok(()),
            Ok(Health::NotServing) => Err(PluginError::transient("the plugin says that it does not serve")),
            Err(error) => Err(PluginError::transient(chain(&error))),
        }
    }

    async fn shutdown(&self) -> Result<(), PluginError> {
        self.0.shutdown(CALL_LIMIT).await.map_err(|error| PluginError::transient(chain(&error)))
    }

    fn stdio(&self) -> BoxStream<'static, (StdioChannel, Bytes)> {
        self.0.stdio().boxed()
    }

    async fn closed(&self) {
        self.0.closed().await;
    }
}
