//! A container's side of the broker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use go_plugin::{Address, BrokerError, BrokerMessage, Listener};
use plugward_relay::grpc::{Code, Status};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::bridge;
use super::complaints::Complaints;
use super::host::HostBroker;
use crate::errors::chain;
use crate::gateway::terms::{Backend, Broken, Memory};
use crate::plugin::{Conversation, SendMessage};

/// The sockets that one container may have for its broker at a time, in either direction.
const MOST_SOCKETS: usize = 1024;

/// How long it may take until a plugin is known to have ended whose broker has.
const DEATH_LIMIT: Duration = Duration::from_secs(2);

/// How the numbers of hosts' servers reach the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Numbers {
    /// In messages that are known, and can be changed: each server gets a number of its own.
    Known,
    /// In messages that nobody knows: as they are.
    Opaque,
}

/// The broker of a container, from its first use to its end.
pub(in crate::gateway) struct ContainerBroker {
    conversation: Arc<dyn Conversation>,
    numbers: Numbers,
    to_plugin: mpsc::UnboundedSender<BrokerMessage>,
    offers: Arc<Mutex<Offers>>,
    tasks: Tasks,
}

/// What is offered to the plugin.
#[derive(Default)]
struct Offers {
    /// The only host whose numbers pass as they are.
    owner: Option<Arc<HostBroker>>,
    /// By host and its number.
    offered: BTreeMap<(u64, u32), Offered>,
    last: u32,
}

/// A server of a host's that the plugin was offered.
struct Offered {
    /// Its number at the plugin.
    number: u32,
    /// Where the plugin finds it.
    address: Address,
}

/// What runs for a container's broker, and ends with it.
struct Tasks {
    bridges: TaskTracker,
    stop: CancellationToken,
    _end: DropGuard,
}

/// What takes what the plugin says.
struct Receiving {
    conversation: Arc<dyn Conversation>,
    broke: Arc<dyn Fn(Broken) + Send + Sync>,
    /// The hosts that are to hear of the plugin's servers.
    hosts: Box<dyn Fn() -> Vec<Arc<HostBroker>> + Send + Sync>,
    /// Where sockets for hosts are made, and their group.
    sockets: (PathBuf, Option<u32>),
    bridges: TaskTracker,
    stop: CancellationToken,
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
        let (to_plugin, messages) = mpsc::unbounded_channel();
        let (bridges, stop) = (TaskTracker::new(), CancellationToken::new());
        let span = tracing::info_span!(
            parent: None, "broker", instance = %backend.instance, container = backend.place.name
        );
        let noting = {
            let (memory, place) = (memory.clone(), backend.place.clone());
            move || memory.broker_used(&place)
        };
        let sending = send(messages, brokering.to_plugin, noting.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(sending).instrument(span.clone()));
        let receiving = Receiving {
            conversation: conversation.clone(),
            broke: backend.broke.clone(),
            hosts: Box::new(hosts),
            sockets,
            bridges: bridges.clone(),
            stop: stop.clone(),
            complaints: Complaints::default(),
        };
        let receiving = receiving.run(brokering.from_plugin, noting);
        tokio::spawn(stop.clone().run_until_cancelled_owned(receiving).instrument(span));
        let tasks = Tasks { bridges, _end: stop.clone().drop_guard(), stop };
        Arc::new(Self { conversation, numbers, to_plugin, offers: Arc::default(), tasks })
    }

    /// Whether it goes over this conversation.
    pub(in crate::gateway) fn goes_over(&self, conversation: &Arc<dyn Conversation>) -> bool {
        Arc::ptr_eq(&self.conversation, conversation)
    }

    /// The other host that uses it, if only one may, and that one is there.
    pub(in crate::gateway) fn used_beside(&self, host: &Arc<HostBroker>) -> Option<Arc<HostBroker>> {
        let opaque = self.numbers == Numbers::Opaque;
        lock(&self.offers).other(host).filter(|_| opaque).cloned()
    }

    /// Offers a host's server to the plugin, unless that was done. Gives its number there.
    ///
    /// # Errors
    /// What the host is told if that cannot be.
    pub(in crate::gateway) fn offer(&self, host: &Arc<HostBroker>, id: u32) -> Result<u32, Status> {
        let mut offers = lock(&self.offers);
        if let Some(offered) = offers.offered.get(&(host.number, id)) {
            return Ok(offered.number);
        }
        if self.numbers == Numbers::Opaque {
            offers.claim(host)?;
        }
        if self.tasks.bridges.len() >= MOST_SOCKETS {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!("the plugin is offered more than {MOST_SOCKETS} servers over the broker at a time"),
            ));
        }
        let unavailable =
            |error| Status::unavailable(format!("the plugin cannot be offered a server: {error}"));
        let offer = self.conversation.offer().map_err(unavailable)?;
        let number = match self.numbers {
            Numbers::Opaque => id,
            Numbers::Known => offers.last + 1,
        };
        offers.last = number.max(offers.last);
        offers.offered.insert((host.number, id), Offered { number, address: offer.address() });
        self.announce(number, offer.address());
        let (host, stop, offers) = (host.clone(), self.tasks.stop.clone(), self.offers.clone());
        self.tasks.bridges.spawn(async move {
            bridge::to_host(offer, host.clone(), id, stop).await;
            host.forget(id);
            lock(&offers).offered.remove(&(host.number, id));
        });
        Ok(number)
    }

    /// A host whose numbers pass as they are tells of a server: the plugin is offered it, again if it was before, since it
    /// takes each word of one for one connection.
    ///
    /// # Errors
    /// What the host is told if that cannot be.
    pub(in crate::gateway) fn announced(&self, host: &Arc<HostBroker>, id: u32) -> Result<(), Status> {
        if self.numbers == Numbers::Known {
            return Ok(());
        }
        let before = lock(&self.offers)
            .offered
            .get(&(host.number, id))
            .map(|offered| (offered.number, offered.address.clone()));
        match before {
            Some((number, address)) => self.announce(number, address),
            None => {
                self.offer(host, id)?;
            }
        }
        Ok(())
    }

    fn announce(&self, number: u32, address: Address) {
        // A receiver that is gone went with the stream, of which the plugin's broker is told by its end.
        let _ = self.to_plugin.send(BrokerMessage::Announce { id: number, address });
    }

    /// A host whose numbers pass as they are is served by this container now: the plugin is offered what it has to offer.
    ///
    /// # Errors
    /// What the host is told if another one has the broker.
    pub(in crate::gateway) fn welcome(&self, host: &Arc<HostBroker>) -> Result<(), Status> {
        if self.numbers == Numbers::Opaque {
            for id in host.numbers() {
                self.offer(host, id)?;
            }
        }
        Ok(())
    }
}

fn lock(offers: &Mutex<Offers>) -> MutexGuard<'_, Offers> {
    // Each change is complete when it could be interrupted.
    offers.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Offers ===

impl Offers {
    /// The host that uses the broker, if it is another than this.
    fn other(&self, host: &HostBroker) -> Option<&Arc<HostBroker>> {
        self.owner.as_ref().filter(|owner| owner.number != host.number && !owner.is_over())
    }

    /// Makes a host the one that uses the broker.
    fn claim(&mut self, host: &Arc<HostBroker>) -> Result<(), Status> {
        if self.other(host).is_some() {
            return Err(Status::new(
                Code::FailedPrecondition,
                "another host uses the broker of this plugin's container, and their servers could not be told apart: \
                 set `multiplexing: Disabled`, and give each host a mount of its own",
            ));
        }
        self.owner = Some(host.clone());
        Ok(())
    }
}

/// Sends what is to be said to the plugin. That something was is noted first: a controller that ends then is followed by one that
/// must not take this plugin's broker for unused.
async fn send(
    mut messages: mpsc::UnboundedReceiver<BrokerMessage>,
    to_plugin: SendMessage,
    noting: impl Fn(),
) {
    while let Some(message) = messages.recv().await {
        noting();
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
        match message {
            BrokerMessage::Announce { id, address } => self.announce(id, address),
            // Neither side multiplexes its broker here, so neither asks the other for a stream.
            BrokerMessage::Knock { id } | BrokerMessage::Ack { id, .. } => {
                if let Some(times) = self.complaints.another("multiplexes") {
                    tracing::warn!(id, times, "the plugin multiplexes its broker, and was not asked to");
                }
            }
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
        if self.bridges.len() >= MOST_SOCKETS {
            if let Some(times) = self.complaints.another("is one too many") {
                tracing::warn!(
                    id,
                    times,
                    "the plugin offers more than {MOST_SOCKETS} servers: this one is not passed on"
                );
            }
            return;
        }
        let (directory, group) = &self.sockets;
        match Listener::bind(directory, *group) {
            Ok(listener) => {
                let path = Address::Unix(listener.path().display().to_string());
                for host in &hosts {
                    host.tell(BrokerMessage::Announce { id, address: path.clone() });
                }
                let (conversation, stop) = (self.conversation.clone(), self.stop.clone());
                self.bridges.spawn(bridge::to_plugin(listener, conversation, address, hosts, stop));
            }
            Err(error) => {
                if let Some(times) = self.complaints.another("gets no socket") {
                    tracing::warn!(error = chain(&error), times, "hosts cannot be offered a plugin's server");
                }
            }
        }
    }
}
