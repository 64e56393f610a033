//! A container's side of the broker.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use go_plugin::{Address, BrokerError, BrokerMessage, Listener};
use plugward_relay::grpc::{Code, Status};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::bridge::{self, Bounds};
use super::complaints::Complaints;
use super::host::HostBroker;
use super::knocks::{self, Porter};
use super::offers::{MOST_SERVERS, Numbers, Offered, Offering};
use crate::errors::chain;
use crate::gateway::terms::{Backend, Broken, Memory};
use crate::plugin::{Conversation, Meeting, SendMessage};

/// Messages that wait for a plugin that reads slowly. More are refused.
const WAITING: usize = 2 * MOST_SERVERS;

/// The connections that a container's broker may have at a time, in either direction, where each is one of sockets.
const MOST_CONNECTIONS: usize = 1024;

/// How long it may take until a plugin is known to have ended whose broker has.
const DEATH_LIMIT: Duration = Duration::from_secs(2);

/// The broker of a container, from its first use to its end.
pub(in crate::gateway) struct ContainerBroker {
    conversation: Arc<dyn Conversation>,
    ways: Ways,
    to_plugin: mpsc::Sender<BrokerMessage>,
    offering: Offering,
    tasks: Tasks,
}

/// How the plugin comes to what it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    /// To a socket for each, of which it is told.
    Sockets,
    /// It knocks, for whatever number it was told in a call.
    Knocks,
}

/// What runs for a container's broker, and ends with it.
struct Tasks {
    stop: CancellationToken,
    /// How many connections there may be yet.
    connections: Arc<Semaphore>,
    _end: DropGuard,
}

/// What takes what the plugin says.
struct Receiving {
    conversation: Arc<dyn Conversation>,
    broke: Arc<dyn Fn(Broken) + Send + Sync>,
    /// The hosts that are to hear of the plugin's servers.
    hosts: Box<dyn Fn() -> Vec<Arc<HostBroker>> + Send + Sync>,
    /// Where the plugin's knocks go, if it is one that knocks.
    knocks: Option<mpsc::Sender<u32>>,
    /// Where sockets for hosts are made, and their group.
    sockets: (PathBuf, Option<u32>),
    bridges: TaskTracker,
    stop: CancellationToken,
    connections: Arc<Semaphore>,
    complaints: Complaints,
}

// === impl ContainerBroker ===

impl ContainerBroker {
    /// Opens the broker of a container. `memory` is told before anything is said on it; `hosts` are those that are to hear of the plugin's
    /// own servers, for which sockets are made in the directory of `sockets`, with its group.
    pub(in crate::gateway) fn open(
        backend: &Backend,
        numbers: Numbers,
        memory: &Arc<dyn Memory>,
        hosts: impl Fn() -> Vec<Arc<HostBroker>> + Send + Sync + 'static,
        sockets: (PathBuf, Option<u32>),
    ) -> Arc<Self> {
        let conversation = backend.conversation.clone();
        let brokering = conversation.broker();
        memory.broker_opened(&backend.place);
        let (to_plugin, messages) = mpsc::channel(WAITING);
        let offering = Offering::new(numbers);
        let stop = CancellationToken::new();
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let span = tracing::info_span!(
            parent: None, "broker", instance = %backend.instance, container = backend.place.name
        );
        let noting = {
            let (memory, place) = (memory.clone(), backend.place.clone());
            move || memory.broker_used(&place)
        };
        let sending = send(messages, brokering.to_plugin, offering.clone(), noting.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(sending).instrument(span.clone()));
        let (ways, knocks) = match brokering.meeting {
            Meeting::Sockets => (Ways::Sockets, None),
            Meeting::Streams(streams) => {
                let (knock, knocks) = mpsc::channel(knocks::WAITING);
                let (offering, to_plugin) = (offering.clone(), to_plugin.clone());
                let porter = Porter { offering, knocks, to_plugin, streams, broke: backend.broke.clone() };
                let answering = stop.clone().run_until_cancelled_owned(porter.run());
                tokio::spawn(answering.instrument(span.clone()));
                (Ways::Knocks, Some(knock))
            }
        };
        let receiving = Receiving {
            conversation: conversation.clone(),
            broke: backend.broke.clone(),
            hosts: Box::new(hosts),
            knocks,
            sockets,
            bridges: TaskTracker::new(),
            stop: stop.clone(),
            connections: connections.clone(),
            complaints: Complaints::default(),
        };
        let receiving = receiving.run(brokering.from_plugin, noting);
        tokio::spawn(stop.clone().run_until_cancelled_owned(receiving).instrument(span));
        let tasks = Tasks { _end: stop.clone().drop_guard(), stop, connections };
        Arc::new(Self { conversation, ways, to_plugin, offering, tasks })
    }

    /// Whether it goes over this conversation.
    pub(in crate::gateway) fn goes_over(&self, conversation: &Arc<dyn Conversation>) -> bool {
        Arc::ptr_eq(&self.conversation, conversation)
    }

    /// The host that keeps this one from using it, if only one may.
    pub(in crate::gateway) fn used_beside(&self, host: &Arc<HostBroker>) -> Option<Arc<HostBroker>> {
        self.offering.lock().other(host).cloned()
    }

    /// Offers a host's server to the plugin. Gives its number there.
    ///
    /// # Errors
    /// What the host is told if that cannot be.
    pub(in crate::gateway) fn offer(&self, host: &Arc<HostBroker>, id: u32) -> Result<u32, Status> {
        let mut offers = self.offering.lock();
        if let Some(offered) = offers.get(host, id) {
            // A call that is made again is about it, and the last one may have used the word of it up.
            if self.offering.numbers() == Numbers::Known {
                self.announce(offered)?;
            }
            return Ok(offered.number);
        }
        offers.admit(host)?;
        let number = match self.ways {
            Ways::Knocks => offers.insert(host, id, None).number,
            Ways::Sockets => {
                let unavailable =
                    |error| Status::unavailable(format!("the plugin cannot be offered a server: {error}"));
                let offer = self.conversation.offer().map_err(unavailable)?;
                let offered = offers.insert(host, id, Some(offer.address()));
                let number = offered.number;
                self.announce(offered).inspect_err(|_| offers.remove(host, id))?;
                let (host, offering) = (host.clone(), self.offering.clone());
                let Tasks { stop, connections, .. } = &self.tasks;
                let bounds = Bounds { stop: stop.clone(), connections: connections.clone() };
                tokio::spawn(async move {
                    bridge::to_host(offer, host.clone(), id, bounds).await;
                    host.forget(id);
                    offering.lock().remove(&host, id);
                });
                number
            }
        };
        self.offering.tell();
        Ok(number)
    }

    /// A host whose numbers pass as they are tells of a server: the plugin is offered it, again if it was before, since it
    /// takes each word of one for one connection.
    ///
    /// # Errors
    /// What the host is told if that cannot be.
    pub(in crate::gateway) fn announced(&self, host: &Arc<HostBroker>, id: u32) -> Result<(), Status> {
        if self.offering.numbers() == Numbers::Known {
            return Ok(());
        }
        if let Some(offered) = self.offering.lock().get(host, id) {
            return self.announce(offered);
        }
        self.offer(host, id).map(drop)
    }

    /// Tells the plugin where a server is, unless that is about to be told anyway: a host that repeats itself faster than the plugin
    /// reads is heard once.
    fn announce(&self, offered: &mut Offered) -> Result<(), Status> {
        let Some(address) = offered.address.clone().filter(|_| !offered.waiting) else { return Ok(()) };
        match self.to_plugin.try_send(BrokerMessage::Announce { id: offered.number, address }) {
            Ok(()) => {
                offered.waiting = true;
                Ok(())
            }
            // A receiver that is gone went with the stream, of which the plugin's broker is told by its end.
            Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Status::new(
                Code::ResourceExhausted,
                "the plugin does not read what servers it is offered over the broker",
            )),
        }
    }

    /// A host whose numbers pass as they are is served by this container now: the plugin is offered what it has to offer.
    ///
    /// # Errors
    /// What the host is told if another one has the broker.
    pub(in crate::gateway) fn welcome(&self, host: &Arc<HostBroker>) -> Result<(), Status> {
        if self.offering.numbers() == Numbers::Opaque {
            for id in host.numbers() {
                self.offer(host, id)?;
            }
        }
        Ok(())
    }
}

/// Sends what is to be said to the plugin. That something was is noted first: a controller that ends then is followed by one that
/// must not take this plugin's broker for unused.
async fn send(
    mut messages: mpsc::Receiver<BrokerMessage>,
    to_plugin: SendMessage,
    offering: Offering,
    noting: impl Fn(),
) {
    while let Some(message) = messages.recv().await {
        noting();
        if let BrokerMessage::Announce { id, .. } = &message {
            offering.lock().told(*id);
        }
        if to_plugin(message).await.is_err() {
            return;
        }
    }
}

// === impl Receiving ===

impl Receiving {
    async fn run(
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
        match (message, &self.knocks) {
            (BrokerMessage::Announce { id, address }, None) => self.announce(id, address),
            (BrokerMessage::Knock { id }, Some(knocks)) => {
                if knocks.try_send(id).is_err() {
                    self.complain(id, "the plugin knocks for more servers at a time than are answered");
                }
            }
            (BrokerMessage::Announce { id, .. }, Some(_)) => {
                self.complain(
                    id,
                    "the plugin offers a server on a socket, and was asked to share its connection",
                );
            }
            (BrokerMessage::Knock { id }, None) => {
                self.complain(
                    id,
                    "the plugin knocks for a server, and was not asked to share its connection",
                );
            }
            (BrokerMessage::Ack { id, .. }, _) => {
                self.complain(id, "the plugin lets in who has not knocked");
            }
        }
    }

    /// Tells what the plugin does wrong.
    fn complain(&self, id: u32, what: &'static str) {
        if let Some(times) = self.complaints.another(what) {
            tracing::warn!(id, what, times, "the plugin breaks the rules of its broker");
        }
    }

    /// Tells hosts of a server of the plugin's.
    fn announce(&self, id: u32, address: Address) {
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
        if self.bridges.len() >= MOST_SERVERS {
            return self
                .complain(id, "the plugin offers too many servers at a time: this one is not passed on");
        }
        let (directory, group) = &self.sockets;
        match Listener::bind(directory, *group) {
            Ok(listener) => {
                let path = Address::Unix(listener.path().display().to_string());
                for host in &hosts {
                    host.tell(BrokerMessage::Announce { id, address: path.clone() });
                }
                let bounds = Bounds { stop: self.stop.clone(), connections: self.connections.clone() };
                let conversation = self.conversation.clone();
                self.bridges.spawn(bridge::to_plugin(listener, conversation, address, hosts, bounds));
            }
            Err(error) => {
                if let Some(times) = self.complaints.another("gets no socket") {
                    tracing::warn!(error = chain(&error), times, "hosts cannot be offered a plugin's server");
                }
            }
        }
    }
}
