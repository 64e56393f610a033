//! Plugins on real sockets.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use go_plugin::external::http::uri::PathAndQuery;
use go_plugin::external::http::{HeaderMap, HeaderName, HeaderValue};
use go_plugin::external::rustls::ServerConfig;
use go_plugin::external::{Bytes, tonic::Code};
use go_plugin::{
    Address, Answer, BrokerError, CallError, ConnectError, Health, Identity, IdentityError, Inbound,
    ListenError, Listener, Plugin, SocketAddress, SocketError, StdioChannel,
};
use zeroize::Zeroizing;

use super::{
    Brokering, Conversation, HostLine, Meeting, Offer, PluginAddress, PluginError, Plugins, Proving,
    ServiceHealth, StreamTurn, UnaryAnswer, UnaryCall,
};
use crate::errors::chain;
use crate::names::PLUGIN_SIDE_DIRECTORY;

/// Plugins on real sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketPlugins;

/// How long one call to a plugin may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);

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
        let plugin = if address.shared {
            Plugin::connect_multiplexed(&socket, ours, CALL_LIMIT).await
        } else {
            Plugin::connect(&socket, ours, CALL_LIMIT).await
        }?;
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

    fn warm(&self) {
        self.plugin.warm();
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
        Brokering {
            to_plugin: Box::new(to_plugin),
            from_plugin: from_plugin.boxed(),
            meeting: self.meeting(),
        }
    }

    fn offer(&self) -> Result<Box<dyn Offer>, PluginError> {
        if self.plugin.session().is_some() {
            return Err(PluginError::permanent("the plugin has one connection, and connects to no socket"));
        }
        let unusable = |error: ListenError| PluginError::transient(chain(&error));
        let listener = Listener::bind(&self.directory, self.group).map_err(unusable)?;
        // Nobody else comes to the directory.
        listener.open_to_all().map_err(unusable)?;
        Ok(Box::new(SharedSocket { listener, server: self.server.clone() }))
    }

    async fn dial_at(&self, address: &Address) -> Result<HostLine, PluginError> {
        let address = self.translate(address)?;
        Ok(Box::new(self.plugin.dial_at(&address, CALL_LIMIT).await?))
    }

    async fn turn(&self) -> Option<StreamTurn> {
        let turn = self.plugin.session()?.turn().await;
        Some(Box::new(move || {
            let opening = async move {
                let line: HostLine = Box::new(turn.open_stream(CALL_LIMIT).await?);
                Ok(line)
            };
            opening.boxed()
        }))
    }

    fn offers(&self, address: &Address) -> bool {
        self.translate(address).is_ok_and(|address| {
            address.path().symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
        })
    }
}

impl SocketConversation {
    fn meeting(&self) -> Meeting {
        let Some(session) = self.plugin.session() else { return Meeting::Sockets };
        let server = self.server.clone();
        let streams = stream::unfold(session.inbound(), |inbounds| async move {
            let mut inbounds = inbounds?;
            Some((inbounds.accept().await?, Some(inbounds)))
        });
        Meeting::Streams(streams.map(move |stream| prove(stream, server.clone())).boxed())
    }

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
        Ok(prove(inbound, self.server.clone()))
    }
}

/// Lets a connection prove that it is the plugin's.
fn prove(inbound: Inbound, server: Option<Arc<ServerConfig>>) -> Proving {
    let proving = async move {
        let line: HostLine = Box::new(inbound.secured(server, CALL_LIMIT).await?);
        Ok(line)
    };
    proving.boxed()
}

// === conversions ===

impl From<CallError> for PluginError {
    fn from(error: CallError) -> Self {
        // No other process would take it either.
        let permanent = matches!(error, CallError::TooLarge { .. });
        Self { permanent, no_socket: false, message: chain(&error) }
    }
}

impl From<ConnectError> for PluginError {
    fn from(error: ConnectError) -> Self {
        // Something else lies where its socket should be. All else may change.
        let permanent = matches!(error, ConnectError::Socket(SocketError::NotASocket { .. }));
        let no_socket = matches!(error, ConnectError::Socket(SocketError::Missing { .. }));
        Self { permanent, no_socket, message: chain(&error) }
    }
}

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

#[cfg(test)]
mod tests;
