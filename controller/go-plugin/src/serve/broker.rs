//! The plugin's broker: further servers in both directions, each on a socket of its own.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{Stream, stream};
use rustls::{ClientConfig, ServerConfig};
use tokio::{
    net::UnixStream,
    sync::{Mutex as Queue, Notify, mpsc},
    task::JoinSet,
    time::{self, Instant},
};
use tokio_rustls::TlsConnector;
use tonic::{Request, Response, Status, Streaming, service::Routes};
use tracing::debug;

use super::{ACCEPT_PAUSE, Arrived, TLS_LIMIT, serve_connection};
use crate::{
    Address, BrokerMessage, Channel, ConnectError, ListenError, Listener, PluginStream,
    proto::plugin::{
        ConnInfo,
        grpc_broker_server::{GrpcBroker, GrpcBrokerServer},
    },
};

/// How long an announcement and the wish to connect wait for each other. go-plugin's own figure.
const RENDEZVOUS: Duration = Duration::from_secs(5);

/// How many announcements wait at most.
const ANNOUNCEMENTS: usize = 1024;

/// How many of ours wait for the host to read them.
const WAITING: usize = 16;

/// Offers further servers to the host, and connects to those that the host offers. Cheap to clone.
///
/// Each is known by a number that the two sides exchange in messages of their own. Each side counts its own.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

struct Shared {
    settings: OnceLock<Settings>,
    last_id: AtomicU32,
    announce: mpsc::Sender<ConnInfo>,
    /// Where the service takes them from.
    announced: Arc<Queue<mpsc::Receiver<ConnInfo>>>,
    arrived: Mutex<HashMap<u32, Announcement>>,
    arrival: Notify,
}

/// What the host wants, once it is known.
pub(super) struct Settings {
    pub(super) directory: PathBuf,
    pub(super) group: Option<u32>,
    pub(super) tls: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>,
}

struct Announcement {
    address: Address,
    until: Instant,
}

/// A server that is offered to the host. Dropped, it accepts no more connections.
pub struct Brokered {
    id: u32,
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
}

/// Why a brokered server is not there.
#[derive(Debug, thiserror::Error)]
pub enum BrokeringError {
    /// The plugin does not serve yet.
    #[error("the plugin does not listen yet, and has no broker before it does")]
    TooEarly,
    /// The socket for it cannot be made.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The host did not announce it.
    #[error("the host announced no server of number {id} within {RENDEZVOUS:?}")]
    TimedOut {
        /// The number.
        id: u32,
    },
    /// The host's socket cannot be connected to.
    #[error("the host's socket {path} cannot be connected to")]
    Socket {
        /// Where the host says it is.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host listens on TCP.
    #[error("the host announced a server on TCP ({address}), and only Unix sockets can be reached")]
    Tcp {
        /// Where it says it is.
        address: String,
    },
    /// The connection cannot be used.
    #[error("the host's server of number {id} cannot be spoken to")]
    Connect {
        /// The number.
        id: u32,
        /// Why.
        #[source]
        source: ConnectError,
    },
}

// === impl Broker ===

impl Default for Broker {
    fn default() -> Self {
        let (announce, announced) = mpsc::channel(WAITING);
        Self(Arc::new(Shared {
            settings: OnceLock::new(),
            last_id: AtomicU32::new(0),
            announce,
            announced: Arc::new(Queue::new(announced)),
            arrived: Mutex::default(),
            arrival: Notify::new(),
        }))
    }
}

impl Broker {
    /// A number that this plugin has offered nothing under yet.
    pub fn next_id(&self) -> u32 {
        self.0.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Offers a server to the host, under this number or the [next](Self::next_id) one: makes a socket and announces it. Tell the
    /// number to the host, which has five seconds to connect.
    ///
    /// Waits while the host does not read announcements. One that the host never reads, it never finds.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made, or the plugin does not listen yet.
    pub async fn accept(&self, id: Option<u32>) -> Result<Brokered, BrokeringError> {
        let settings = self.settings()?;
        let id = id.unwrap_or_else(|| self.next_id());
        let listener = Listener::bind_as_plugin(&settings.directory, settings.group)?;
        let address = Address::Unix(listener.path().display().to_string());
        // It cannot fail: the receiver is ours.
        let _ = self.0.announce.send(BrokerMessage::Announce { id, address }.into()).await;
        Ok(Brokered { id, listener, tls: settings.tls.as_ref().map(|(server, _)| Arc::clone(server)) })
    }

    /// Connects to a server of the host's, which it has announced within the last five seconds or does within the next.
    ///
    /// An announcement is used up by it.
    ///
    /// # Errors
    ///
    /// Says that there is no announcement, or which step of connecting failed.
    pub async fn dial(&self, id: u32) -> Result<Channel, BrokeringError> {
        let settings = self.settings()?;
        let announced = time::timeout(RENDEZVOUS, self.announcement(id)).await;
        let path = match announced.map_err(|_| BrokeringError::TimedOut { id })? {
            Address::Unix(path) => path,
            Address::Tcp(address) => return Err(BrokeringError::Tcp { address }),
        };
        let connecting = UnixStream::connect(&path).await;
        let socket = connecting.map_err(|source| BrokeringError::Socket { path, source })?;
        let tls = settings.tls.as_ref().map(|(_, client)| TlsConnector::from(Arc::clone(client)));
        let starting = async {
            let stream = PluginStream::dialled(socket, tls.as_ref()).await?;
            Channel::over(stream).await
        };
        let started = time::timeout(TLS_LIMIT, starting).await;
        started
            .unwrap_or(Err(ConnectError::TimedOut { limit: TLS_LIMIT }))
            .map_err(|source| BrokeringError::Connect { id, source })
    }

    /// Says what the host wants, as soon as it is known.
    pub(super) fn configure(&self, settings: Settings) {
        // A plugin listens once.
        let _ = self.0.settings.set(settings);
    }

    pub(super) fn service(&self) -> GrpcBrokerServer<impl GrpcBroker> {
        GrpcBrokerServer::new(self.clone())
    }

    fn settings(&self) -> Result<&Settings, BrokeringError> {
        self.0.settings.get().ok_or(BrokeringError::TooEarly)
    }

    async fn announcement(&self, id: u32) -> Address {
        loop {
            let mut arrival = std::pin::pin!(self.0.arrival.notified());
            // From here on, none is missed.
            arrival.as_mut().enable();
            if let Some(found) = self.arrived().remove(&id).filter(|found| found.until > Instant::now()) {
                return found.address;
            }
            arrival.await;
        }
    }

    /// As in go-plugin, a second announcement of a number changes nothing while the first one waits.
    fn arrive(&self, id: u32, address: Address) {
        let now = Instant::now();
        let mut arrived = self.arrived();
        arrived.retain(|_, announcement| announcement.until > now);
        let room = arrived.len() < ANNOUNCEMENTS;
        match arrived.entry(id) {
            Entry::Vacant(place) if room => {
                place.insert(Announcement { address, until: now + RENDEZVOUS });
            }
            Entry::Vacant(_) | Entry::Occupied(_) => debug!(id, "an announcement too many"),
        }
        drop(arrived);
        self.0.arrival.notify_waiters();
    }

    fn arrived(&self) -> MutexGuard<'_, HashMap<u32, Announcement>> {
        self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl GrpcBroker for Broker {
    type StartStreamStream = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    /// Between two hosts that both ask, an announcement goes to one of them.
    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let announced = stream::unfold(Arc::clone(&self.0.announced), async |announced| {
            let message = announced.lock().await.recv().await?;
            Some((Ok(message), announced))
        });
        let broker = self.clone();
        let mut messages = request.into_inner();
        let reading = async move {
            while let Ok(Some(message)) = messages.message().await {
                match BrokerMessage::try_from(message) {
                    Ok(BrokerMessage::Announce { id, address }) => broker.arrive(id, address),
                    Ok(other) => debug!(message = ?other, "the host knocks where nothing is multiplexed"),
                    Err(error) => debug!(%error, "the host's broker says what means nothing"),
                }
            }
        };
        // Both directions end with either, as a Go plugin's do.
        let announced = stream::StreamExt::take_until(announced, Box::pin(reading));
        Ok(Response::new(Box::pin(announced)))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

// === impl Brokered ===

impl Brokered {
    /// The number to tell the host.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The next connection. It is the host's once it is [`secured`](Arrived::secured). Dropping the future loses none.
    pub async fn accept(&self) -> Arrived {
        loop {
            match self.listener.accept().await {
                Ok(connection) => return Arrived { connection, tls: self.tls.clone() },
                Err(error) => {
                    debug!(%error, "no brokered connection accepted");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves these services until the future is dropped. Connections end with it, too.
    pub async fn serve(self, services: Routes) {
        let services = services.prepare();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                arrived = self.accept() => {
                    connections.spawn(serve_connection(arrived, services.clone()));
                }
                Some(_) = connections.join_next() => (),
            }
        }
    }
}

impl fmt::Debug for Brokered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brokered").field("id", &self.id).finish_non_exhaustive()
    }
}

// === impl BrokeringError ===

impl BrokeringError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TooEarly => "brokering_too_early",
            Self::Listen(error) => error.as_str(),
            Self::TimedOut { .. } => "brokering_timed_out",
            Self::Socket { .. } => "brokering_socket",
            Self::Tcp { .. } => "brokering_tcp",
            Self::Connect { .. } => "brokering_connect",
        }
    }
}
