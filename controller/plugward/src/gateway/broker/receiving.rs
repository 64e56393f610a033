//! What a plugin says to its broker, and who is to hear of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use go_plugin::{Address, BrokerError, BrokerMessage, Listener};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::announced::Announced;
use super::bridge::{self, Bounds, DoorSocket};
use super::complaints::Complaints;
use super::host::HostBroker;
use super::knocking::Knocker;
use super::knocks::Hosts;
use super::offers::MOST_SERVERS;
use super::way::{self, Way};
use crate::errors::chain;
use crate::gateway::door::Door;
use crate::gateway::terms::Broken;
use crate::plugin::Conversation;

/// How long it may take until a plugin is known to have ended whose broker has.
const DEATH_LIMIT: Duration = Duration::from_secs(2);

/// How the plugin comes to what it is offered, and others to what it offers.
#[derive(Clone, Debug)]
pub(super) enum Ways {
    /// To a socket for each, of which it is told, and tells.
    Sockets(Arc<Announced>),
    /// It knocks, for whatever number it was told in a call, and is knocked at.
    Knocks(Arc<Knocker>),
}

/// What takes what the plugin says.
pub(super) struct Receiving {
    pub(super) conversation: Arc<dyn Conversation>,
    pub(super) broke: Arc<dyn Fn(Broken) + Send + Sync>,
    /// The hosts that are to hear of the plugin's servers.
    pub(super) hosts: Hosts,
    pub(super) ways: Ways,
    /// Where the plugin's knocks go.
    pub(super) knocks: mpsc::Sender<u32>,
    /// Where sockets for hosts are made, and their group.
    pub(super) sockets: (PathBuf, Option<u32>),
    pub(super) bridges: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) connections: Arc<Semaphore>,
    pub(super) complaints: Complaints,
}

// === impl Receiving ===

impl Receiving {
    /// Takes its messages until there are no more.
    pub(super) async fn run(
        self,
        mut from_plugin: futures::stream::BoxStream<'static, Result<BrokerMessage, BrokerError>>,
        noting: impl Fn(),
    ) {
        while let Some(message) = from_plugin.next().await {
            match message {
                Ok(message) => {
                    noting();
                    self.take(message);
                }
                Err(BrokerError::Message(error)) => {
                    if let Some(times) = self.complaints.another("means nothing") {
                        tracing::warn!(
                            error = chain(&error),
                            times,
                            "a message of the plugin's broker is dropped"
                        );
                    }
                }
                Err(BrokerError::Unimplemented) => {
                    tracing::debug!("the plugin has no broker");
                    return;
                }
                Err(error @ (BrokerError::Failed(_) | BrokerError::Ended)) => {
                    // Mostly because the plugin has: then there is nothing to say of its broker.
                    if timeout(DEATH_LIMIT, self.conversation.closed()).await.is_err() {
                        tracing::warn!(
                            error = chain(&error),
                            "the plugin's broker has ended, and the plugin has not"
                        );
                        (self.broke)(Broken::Broker);
                    }
                    return;
                }
            }
        }
    }

    fn take(&self, message: BrokerMessage) {
        match (message, &self.ways) {
            (BrokerMessage::Announce { id, address }, Ways::Sockets(announced)) => {
                self.announce(id, address, announced);
            }
            (BrokerMessage::Knock { id }, Ways::Knocks(_)) => {
                if self.knocks.try_send(id).is_err() {
                    self.complain(id, "the plugin knocks for more servers at a time than are answered");
                }
            }
            (BrokerMessage::Announce { id, .. }, Ways::Knocks(_)) => {
                self.complain(
                    id,
                    "the plugin offers a server on a socket, and was asked to share its connection",
                );
            }
            (BrokerMessage::Knock { id }, Ways::Sockets(_)) => {
                self.complain(
                    id,
                    "the plugin knocks for a server, and was not asked to share its connection",
                );
            }
            (BrokerMessage::Ack { id, error }, ways) => {
                let expected = matches!(ways, Ways::Knocks(knocker) if knocker.answered(id, error));
                if !expected {
                    self.complain(id, "the plugin lets in who has not knocked");
                }
            }
        }
    }

    /// Tells what the plugin does wrong.
    fn complain(&self, id: u32, what: &'static str) {
        if let Some(times) = self.complaints.another(what) {
            tracing::warn!(id, what, times, "the plugin breaks the rules of its broker");
        }
    }

    /// Lets hosts know of a server of the plugin's: those that have sockets by one of ours, and others when they knock.
    fn announce(&self, id: u32, address: Address, announced: &Announced) {
        let hosts = (self.hosts)();
        if hosts.is_empty() || !self.conversation.offers(&address) {
            if let Some(times) = self.complaints.another("is nobody's") {
                let told = hosts.len();
                tracing::warn!(
                    id,
                    ?address,
                    told,
                    times,
                    "a server that the plugin offers is nobody's, or not in its directory"
                );
            }
            return;
        }
        let too_many = "the plugin offers too many servers at a time: this one is not passed on";
        let mut at_mounts = Vec::new();
        let mut is_silent = false;
        for host in hosts {
            host.concern();
            match &host.way {
                Way::Paths => at_mounts.push(host),
                Way::Streams { .. } => is_silent = true,
                Way::Door(_) if self.bridges.len() >= MOST_SERVERS => self.complain(id, too_many),
                Way::Door(door) => {
                    let (door, bounds) = (door.clone(), self.bounds());
                    let (conversation, address) = (self.conversation.clone(), address.clone());
                    let leading = lead_through(door, conversation, (id, address), host, bounds);
                    self.bridges.spawn(leading.in_current_span());
                }
            }
        }
        if is_silent && !announced.add(id, address.clone(), |address| self.conversation.offers(address)) {
            self.complain(id, too_many);
        }
        if at_mounts.is_empty() {
            return;
        }
        if self.bridges.len() >= MOST_SERVERS {
            return self.complain(id, too_many);
        }
        let (directory, group) = &self.sockets;
        match Listener::bind(directory, *group) {
            Ok(listener) => {
                let path = Address::Unix(listener.path().display().to_string());
                for host in &at_mounts {
                    host.tell(BrokerMessage::Announce { id, address: path.clone() });
                }
                let conversation = self.conversation.clone();
                let bounds = self.bounds();
                self.bridges.spawn(bridge::to_plugin(listener, conversation, address, at_mounts, bounds));
            }
            Err(error) => {
                if let Some(times) = self.complaints.another("gets no socket") {
                    tracing::warn!(error = chain(&error), times, "hosts cannot be offered a plugin's server");
                }
            }
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds { stop: self.stop.clone(), connections: self.connections.clone() }
    }
}

/// Offers a session's host a server of the plugin's, where the host finds it, and leads those who connect.
async fn lead_through(
    door: Door,
    plugin: Arc<dyn Conversation>,
    (id, address): (u32, Address),
    host: Arc<HostBroker>,
    bounds: Bounds,
) {
    let offered = tokio::select! {
        offered = way::offer(&door) => offered,
        () = host.over() => return,
        () = bounds.stop.cancelled() => return,
    };
    match offered {
        Ok(socket) => {
            let path = Address::Unix(socket.path.display().to_string());
            host.tell(BrokerMessage::Announce { id, address: path });
            let socket = DoorSocket { socket, door };
            bridge::to_plugin_through(socket, plugin, address, host, bounds).await;
        }
        Err(error) => {
            if let Some(times) = host.complaint("gets no socket") {
                tracing::warn!(
                    error = chain(&error),
                    times,
                    "a session's host cannot be offered a plugin's server"
                );
            }
        }
    }
}
