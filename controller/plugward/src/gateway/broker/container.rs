//! A container's side of the broker.

use std::path::PathBuf;
use std::sync::{Arc, Once};

use futures::FutureExt;
use go_plugin::BrokerMessage;
use plugward_relay::grpc::{Code, Status};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::bridge::{self, Bounds};
use super::complaints::Complaints;
use super::host::{HostBroker, TooMany};
use super::knocking::Knocker;
use super::knocks::{self, Hosts, Porter};
use super::offers::{MOST_SERVERS, Numbers, Offered, Offering};
use super::receiving::{Receiving, Ways};
use super::visits::Led;
use super::way::Way;
use crate::errors::chain;
use crate::gateway::terms::{Backend, Memory};
use crate::plugin::{Conversation, Meeting, SendMessage};

/// Messages that wait for a plugin that reads slowly. More are refused.
const WAITING: usize = 2 * MOST_SERVERS;

/// The connections that a container's broker may have at a time, in either direction, where each is one of sockets.
const MOST_CONNECTIONS: usize = 1024;

/// The broker of a container, from its first use to its end.
pub(in crate::gateway) struct ContainerBroker {
    conversation: Arc<dyn Conversation>,
    ways: Ways,
    to_plugin: mpsc::Sender<BrokerMessage>,
    offering: Offering,
    hosts: Hosts,
    /// That some hosts can dial nothing was said.
    said: Once,
    tasks: Tasks,
}

/// What runs for a container's broker, and ends with it.
struct Tasks {
    stop: CancellationToken,
    /// How many connections there may be yet.
    connections: Arc<Semaphore>,
    _end: DropGuard,
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
        let hosts: Hosts = Arc::new(hosts);
        let (knock, knocks) = mpsc::channel(knocks::WAITING);
        let ways = match brokering.meeting {
            Meeting::Sockets => Ways::Sockets(Arc::default()),
            Meeting::Streams(streams) => {
                let porter = Porter {
                    offering: offering.clone(),
                    hosts: hosts.clone(),
                    knocks,
                    to_plugin: to_plugin.clone(),
                    streams,
                    broke: backend.broke.clone(),
                };
                let answering = stop.clone().run_until_cancelled_owned(porter.run());
                tokio::spawn(answering.instrument(span.clone()));
                let plugin = conversation.clone();
                let turns = Box::new(move || {
                    let plugin = plugin.clone();
                    async move { plugin.turn().await }.boxed()
                });
                Ways::Knocks(Knocker::new(to_plugin.clone(), turns))
            }
        };
        let receiving = Receiving {
            conversation: conversation.clone(),
            broke: backend.broke.clone(),
            hosts: hosts.clone(),
            ways: ways.clone(),
            knocks: knock,
            sockets,
            bridges: TaskTracker::new(),
            stop: stop.clone(),
            connections: connections.clone(),
            complaints: Complaints::default(),
        };
        let receiving = receiving.run(brokering.from_plugin, noting);
        tokio::spawn(stop.clone().run_until_cancelled_owned(receiving).instrument(span));
        let tasks = Tasks { _end: stop.clone().drop_guard(), stop, connections };
        Arc::new(Self { conversation, ways, to_plugin, offering, hosts, said: Once::new(), tasks })
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
        host.concern();
        if host.is_silent() {
            let too_many = |error: TooMany| Status::new(Code::ResourceExhausted, error.to_string());
            host.mentions(id).map_err(too_many)?;
        }
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
            Ways::Knocks(_) => offers.insert(host, id, None).number,
            Ways::Sockets(_) => {
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
        if matches!(self.ways, Ways::Knocks(_)) && matches!(host.way, Way::Door(_)) {
            self.said.call_once(|| {
                tracing::info!(
                    mount = %host.mount,
                    "what this plugin offers over the broker its hosts cannot dial: the plugin shares its one connection, and they do not"
                );
            });
        }
        if self.offering.numbers() == Numbers::Opaque {
            // Its calls may name servers of which it does not tell.
            if host.is_silent() {
                return self.offering.lock().check(host);
            }
            for id in host.numbers() {
                self.offer(host, id)?;
            }
        }
        Ok(())
    }

    /// Leads a host that knocked to a server of the plugin's, which may be about to offer it.
    ///
    /// # Errors
    /// What the host is told if that cannot be.
    pub(in crate::gateway) async fn lead(&self, host: &Arc<HostBroker>, id: u32) -> Result<Led, String> {
        if !(self.hosts)().iter().any(|its| Arc::ptr_eq(its, host)) {
            return Err("another host uses the plugin's broker".to_owned());
        }
        let Tasks { stop, connections, .. } = &self.tasks;
        let finding = async {
            match &self.ways {
                Ways::Sockets(announced) => {
                    let address = announced.at(id, |address| self.conversation.offers(address)).await;
                    let place = connections.clone().try_acquire_owned();
                    let place = place.map_err(|_| "the plugin has too many connections of the broker")?;
                    let line = self.conversation.dial_at(&address).await.map_err(|error| error.message)?;
                    Ok((line, Some(place)))
                }
                Ways::Knocks(knocker) => {
                    let line = knocker.open(id).await.map_err(|error| chain(&error))?;
                    Ok((line, None))
                }
            }
        };
        let found: Option<Result<_, String>> = stop.run_until_cancelled(finding).await;
        let (line, place) = found.unwrap_or_else(|| Err("the plugin's broker has ended".to_owned()))?;
        Ok(Led { line, stop: stop.clone(), _place: place })
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
