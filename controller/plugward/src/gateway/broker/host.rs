//! A host's side of the broker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use go_plugin::BrokerMessage;
use plugward_relay::grpc::Status;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::complaints::Complaints;
use super::reach::{self, ReachError};

use crate::names::MountName;

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
    /// Where the servers are that the host offers, by their numbers.
    servers: Mutex<BTreeMap<u32, PathBuf>>,
    /// Tells of new ones.
    announced: Notify,
    /// Whether it ever offered one.
    used: AtomicBool,
    refusal: Mutex<Option<Status>>,
    ended: CancellationToken,
    complaints: Complaints,
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
    /// The broker of a host's new stream, and the messages that go to the host.
    pub(in crate::gateway) fn new(
        number: u64,
        mount: &MountName,
        client: Client,
    ) -> (Arc<Self>, mpsc::Receiver<BrokerMessage>) {
        let (to_host, messages) = mpsc::channel(WAITING);
        let broker = Self {
            number,
            mount: mount.clone(),
            client,
            to_host,
            servers: Mutex::default(),
            announced: Notify::new(),
            used: AtomicBool::new(false),
            refusal: Mutex::default(),
            ended: CancellationToken::new(),
            complaints: Complaints::default(),
        };
        (Arc::new(broker), messages)
    }

    /// The host offers a server.
    ///
    /// # Errors
    /// When it offers too many.
    pub(in crate::gateway) fn announce(&self, id: u32, socket: PathBuf) -> Result<(), TooMany> {
        let mut servers = self.servers();
        if servers.len() >= MOST_SERVERS {
            // Hosts do not say that a server is gone.
            servers.retain(|_, socket| reach::is_there(socket));
        }
        if servers.len() >= MOST_SERVERS && !servers.contains_key(&id) {
            return Err(TooMany);
        }
        servers.insert(id, socket);
        drop(servers);
        self.used.store(true, Ordering::Release);
        self.announced.notify_waiters();
        Ok(())
    }

    /// The numbers of the servers that the host offers and still has.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let servers = self.servers();
        servers.iter().filter(|(_, socket)| reach::is_there(socket)).map(|(id, _)| *id).collect()
    }

    /// The host has a server no more.
    pub(super) fn forget(&self, id: u32) {
        let mut servers = self.servers();
        if servers.get(&id).is_some_and(|socket| !reach::is_there(socket)) {
            servers.remove(&id);
        }
    }

    /// Whether the host has told of this server, and still has it.
    pub(super) fn has(&self, id: u32) -> bool {
        self.socket(id).is_some_and(|socket| reach::is_there(&socket))
    }

    /// Connects to one of the host's servers, which it may be about to tell of.
    pub(super) async fn connect(&self, id: u32) -> Result<UnixStream, ReachError> {
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
        reach::connect(&socket, self.client.uid).await
    }

    /// Tells the host something, unless too much waits for it already.
    pub(super) fn tell(&self, message: BrokerMessage) {
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
    }

    /// Whether the host's stream is over.
    pub(in crate::gateway) fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Resolves when the host's stream is over.
    pub(in crate::gateway) async fn over(&self) {
        self.ended.cancelled().await;
    }

    /// Whether it is another stream of a process that has this one, on the same mount.
    pub(in crate::gateway) fn is_of(&self, mount: &MountName, client: Client) -> bool {
        self.mount == *mount && client.is_of_process(self.client.pid)
    }

    /// Whether the host ever offered a server.
    pub(in crate::gateway) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    fn socket(&self, id: u32) -> Option<PathBuf> {
        self.servers().get(&id).map(|socket: &PathBuf| Path::to_owned(socket))
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<u32, PathBuf>> {
        // Each change is one insert or removal: a panic leaves none half done.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
