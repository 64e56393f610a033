//! A host's side of the broker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use go_plugin::BrokerMessage;
use plugward_relay::grpc::Status;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::complaints::Complaints;
use super::knocking::KnockError;
use super::reach::ReachError;
use super::visits;
use super::way::{Entrance, Way};
use crate::gateway::door::Door;
use crate::names::MountName;
use crate::plugin::HostLine;

/// How many servers a host may offer at a time.
const MOST_SERVERS: usize = 1024;

/// Messages that wait for a host that reads slowly. What is beyond is lost: a host that does not read does not dial either.
const WAITING: usize = 64;

/// How long a plugin's connection to a server waits that its host has yet to tell of: as long as go-plugin's broker does.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(5);

/// Who connected to a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Client {
    /// Its process. One of another PID namespace has none that we can see.
    pub(in crate::gateway) pid: Option<i32>,
    /// Its user.
    pub(in crate::gateway) uid: Option<u32>,
}

/// The stream that a host opened, from its begin to its end.
#[derive(Debug)]
pub(in crate::gateway) struct HostBroker {
    /// Tells it from all others of the instance.
    pub(super) number: u64,
    pub(in crate::gateway) mount: MountName,
    client: Client,
    to_host: mpsc::Sender<BrokerMessage>,
    pub(super) way: Way,
    /// What it knocks for, if it shares its one connection.
    knocks: mpsc::Sender<u32>,
    /// The servers that the host offers, by their numbers.
    servers: Mutex<BTreeMap<u32, Server>>,
    /// Tells of new ones.
    announced: Notify,
    /// Whether it ever offered one.
    used: AtomicBool,
    refusal: Mutex<Option<Status>>,
    ended: CancellationToken,
    complaints: Complaints,
}

/// A server of a host's.
#[derive(Debug)]
struct Server {
    /// Where it is. `None`: it is knocked for.
    socket: Option<PathBuf>,
    /// When it was told of last.
    told: Instant,
}

/// What a host is to be told, and what it knocks for.
#[derive(Debug)]
pub(in crate::gateway) struct Voices {
    pub(in crate::gateway) to_host: mpsc::Receiver<BrokerMessage>,
    pub(in crate::gateway) knocks: mpsc::Receiver<u32>,
}

/// A host offers more servers than it may.
#[derive(Debug, thiserror::Error)]
#[error("the host offers more than {MOST_SERVERS} servers over the broker at a time")]
pub(in crate::gateway) struct TooMany;

// === impl Client ===

impl Client {
    /// Whether it is of a process that we can see, and of this one.
    pub(in crate::gateway) fn is_of_process(self, pid: Option<i32>) -> bool {
        self.pid.is_some() && self.pid == pid
    }
}

// === impl HostBroker ===

impl HostBroker {
    /// The broker of a host's new stream, and what is said there.
    pub(in crate::gateway) fn new(
        number: u64,
        mount: &MountName,
        client: Client,
        entrance: Entrance,
    ) -> (Arc<Self>, Voices) {
        let (to_host, messages) = mpsc::channel(WAITING);
        let (knocks, knocked) = mpsc::channel(visits::WAITING);
        let broker = Self {
            number,
            mount: mount.clone(),
            client,
            way: Way::new(entrance, &to_host),
            to_host,
            knocks,
            servers: Mutex::default(),
            announced: Notify::new(),
            used: AtomicBool::new(false),
            refusal: Mutex::default(),
            ended: CancellationToken::new(),
            complaints: Complaints::default(),
        };
        (Arc::new(broker), Voices { to_host: messages, knocks: knocked })
    }

    /// Whether the host shares its one connection: it does not tell of its servers, but is knocked at for them.
    pub(in crate::gateway) const fn is_silent(&self) -> bool {
        matches!(self.way, Way::Streams { .. })
    }

    /// How it is met, if it is a session's.
    pub(super) const fn door(&self) -> Option<&Door> {
        self.way.door()
    }

    /// Something is about to be said over the broker that concerns this host, or was: its session cannot go on with another controller.
    pub(in crate::gateway) fn concern(&self) {
        if let Some(door) = self.door() {
            door.hand.brokered();
        }
    }

    /// The host offers a server.
    ///
    /// # Errors
    /// When it offers too many.
    pub(in crate::gateway) fn announce(&self, id: u32, socket: PathBuf) -> Result<(), TooMany> {
        self.tells_of(id, Some(socket))
    }

    /// A call of the host's speaks of a server for which it is knocked at.
    ///
    /// # Errors
    /// When it offers too many.
    pub(super) fn mentions(&self, id: u32) -> Result<(), TooMany> {
        self.tells_of(id, None)
    }

    fn tells_of(&self, id: u32, socket: Option<PathBuf>) -> Result<(), TooMany> {
        let mut servers = self.servers();
        if servers.len() >= MOST_SERVERS && !servers.contains_key(&id) {
            // Hosts do not say that a server is gone.
            servers.retain(|_, server| self.may_have(server));
            if self.door().is_some()
                && servers.len() >= MOST_SERVERS
                && let Some(oldest) = servers.iter().min_by_key(|(_, server)| server.told).map(|(id, _)| *id)
            {
                // Of one that cannot be looked at nothing is known but that it has told of so many since.
                servers.remove(&oldest);
            }
        }
        if servers.len() >= MOST_SERVERS && !servers.contains_key(&id) {
            return Err(TooMany);
        }
        servers.insert(id, Server { socket, told: Instant::now() });
        drop(servers);
        self.uses();
        self.announced.notify_waiters();
        Ok(())
    }

    /// The host has something to offer, or had.
    pub(super) fn uses(&self) {
        self.used.store(true, Ordering::Release);
    }

    fn may_have(&self, server: &Server) -> bool {
        server.socket.as_deref().is_none_or(|socket| self.way.may_have(socket))
    }

    /// The numbers of the servers that the host offers and still has.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let servers = self.servers();
        servers.iter().filter(|(_, server)| self.may_have(server)).map(|(id, _)| *id).collect()
    }

    /// The host has a server no more.
    pub(super) fn forget(&self, id: u32) {
        let mut servers = self.servers();
        if servers.get(&id).is_some_and(|server| !self.may_have(server)) {
            servers.remove(&id);
        }
    }

    /// Whether the host has told of this server, and still has it.
    pub(super) fn has(&self, id: u32) -> bool {
        self.servers().get(&id).is_some_and(|server| self.may_have(server))
    }

    /// Connects to one of the host's servers, which it may be about to tell of.
    pub(super) async fn connect(&self, id: u32) -> Result<HostLine, ReachError> {
        if let Way::Streams { knocker, .. } = &self.way {
            self.concern();
            let opened = knocker.open(id).await;
            if matches!(opened, Err(KnockError::Refused { .. })) {
                self.servers().remove(&id);
            }
            return opened.map_err(|source| ReachError::Knock { id, source });
        }
        let told = async {
            loop {
                let announced = self.announced.notified();
                tokio::pin!(announced);
                announced.as_mut().enable();
                if let Some(socket) = self.socket(id) {
                    return socket;
                }
                announced.await;
            }
        };
        let socket = timeout(ANNOUNCED_WITHIN, told).await.map_err(|_| ReachError::NotAnnounced { id })?;
        let connected = self.way.connect(&socket, self.client.uid).await;
        if let Err(ReachError::Dial { .. }) = &connected {
            let mut servers = self.servers();
            // It may have told of another meanwhile.
            if servers.get(&id).is_some_and(|server| server.socket.as_ref() == Some(&socket)) {
                servers.remove(&id);
            }
        }
        connected
    }

    /// The host knocks for a server of the plugin's. False: it knocks for too many at a time.
    pub(in crate::gateway) fn knocks(&self, id: u32) -> bool {
        self.knocks.try_send(id).is_ok()
    }

    /// The host answers a knock. False: nobody has knocked.
    pub(in crate::gateway) fn answered(&self, id: u32, error: Option<String>) -> bool {
        match &self.way {
            Way::Streams { knocker, .. } => knocker.answered(id, error),
            Way::Paths | Way::Door(_) => false,
        }
    }

    /// Lets the host in to what it knocked for, or says why it does not. Waits for a host that reads slowly. False: it has gone.
    pub(super) async fn answer(&self, id: u32, error: Option<String>) -> bool {
        tokio::select! {
            sent = self.to_host.send(BrokerMessage::Ack { id, error }) => sent.is_ok(),
            () = self.over() => false,
        }
    }

    /// What the host does wrong, to be told with how often it did, if so.
    pub(in crate::gateway) fn complaint(&self, what: &'static str) -> Option<u64> {
        self.complaints.another(what)
    }

    /// Tells the host something, unless too much waits for it already.
    pub(super) fn tell(&self, message: BrokerMessage) {
        self.concern();
        if self.to_host.try_send(message).is_err()
            && let Some(times) = self.complaints.another("does not read")
        {
            let pid = self.client.pid;
            tracing::debug!(mount = %self.mount, pid, times, "a host does not read what its broker is told");
        }
    }

    /// Who it is.
    pub(in crate::gateway) const fn client(&self) -> Client {
        self.client
    }

    /// The host may not use its broker: its stream is to end with this.
    pub(in crate::gateway) fn refuse(&self, status: Status) {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(status);
        self.end();
    }

    /// Why the host may not use its broker, if so.
    pub(in crate::gateway) fn refusal(&self) -> Option<Status> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The host's stream is over.
    pub(in crate::gateway) fn end(&self) {
        self.ended.cancel();
        if let Way::Streams { knocker, .. } = &self.way {
            knocker.end();
        }
    }

    /// Whether the host's stream is over.
    pub(in crate::gateway) fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Resolves when the host's stream is over.
    pub(in crate::gateway) async fn over(&self) {
        self.ended.cancelled().await;
    }

    /// Whether it is another stream of a process that has this one, on the same mount. A session has one host, whose process may not be
    /// one that we can see.
    pub(in crate::gateway) fn is_of(&self, mount: &MountName, client: Client) -> bool {
        self.mount == *mount && (self.door().is_some() || client.is_of_process(self.client.pid))
    }

    /// Whether the host ever offered a server.
    pub(in crate::gateway) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    fn socket(&self, id: u32) -> Option<PathBuf> {
        self.servers().get(&id)?.socket.clone()
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<u32, Server>> {
        // Each change is one insert or removal: a panic leaves none half done.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
