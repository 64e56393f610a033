//! Connections from one side to a server of the other, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use go_plugin::{Address, Inbound, Listener, Peer};
use tokio::io::copy_bidirectional;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::complaints::Complaints;
use super::host::HostBroker;
use super::offers::TOLD_WITHIN;
use crate::errors::chain;
use crate::gateway::door::{Door, OfferedSocket};
use crate::plugin::{Conversation, HostLine, Offer, Proving};

/// How often to look whether a server is still there, at the least: nobody tells of its end.
const LOOK: Duration = Duration::from_secs(5);

/// How soon to look first, and after a connection has ended: many servers are for one, and are ended right after it. From then on
/// ever less often.
const LOOK_FIRST: Duration = Duration::from_millis(10);

/// The pause after the system gave no connection, as it does while too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections to one server at a time: as many as a mount has. Others wait to be accepted.
const MOST_CONNECTIONS: usize = 64;

/// How long a host may take to prove that a connection is its, where it has to.
pub(super) const SECURED: Duration = Duration::from_secs(5);

/// What ends bridges, and bounds them together.
pub(super) struct Bounds {
    pub(super) stop: CancellationToken,
    /// The connections that all bridges of a container may have.
    pub(super) connections: Arc<Semaphore>,
}

/// One end of a bridge: who connects there is led to the other side.
trait Bridgehead: Sync {
    type Arrival: Send;

    /// The next connection. Dropping the future loses none.
    fn accept(&self) -> impl Future<Output = Result<Self::Arrival, String>> + Send;

    /// Connects it to the other side.
    fn bridge(&mut self, arrival: Self::Arrival) -> BoxFuture<'static, Result<(HostLine, HostLine), String>>;

    /// Whether the other side has nothing there any more.
    fn is_over(&mut self) -> bool;
}

/// A socket of ours for a plugin, and the host's server that it leads to.
struct ToHost {
    offer: Box<dyn Offer>,
    host: Arc<HostBroker>,
    id: u32,
    began: Instant,
    /// Whether the host has told of its server.
    seen: bool,
}

/// A socket of ours for hosts, and the plugin's server that it leads to.
struct ToPlugin<S> {
    socket: S,
    plugin: Arc<dyn Conversation>,
    address: Address,
}

/// A socket by which hosts come.
trait HostSocket: Sync + Send {
    /// The next connection. Dropping the future loses none.
    fn accept(&self) -> impl Future<Output = Result<Inbound, String>> + Send;

    /// How one is known to be a host's.
    fn peer(&self) -> Peer;
}

/// One in a session's host's namespaces.
pub(super) struct DoorSocket {
    pub(super) socket: OfferedSocket,
    pub(super) door: Door,
}

/// Leads a plugin's connections to a server of a host, until either is gone.
pub(super) async fn to_host(offer: Box<dyn Offer>, host: Arc<HostBroker>, id: u32, bounds: Bounds) {
    let leading = lead(ToHost { offer, host: host.clone(), id, began: Instant::now(), seen: false }, &bounds);
    tokio::select! {
        () = leading => {}
        () = host.over() => {}
    }
}

/// Leads the connections of mounts' hosts to a server of a plugin, until that is gone, or all of the hosts that were told of it.
pub(super) async fn to_plugin(
    listener: Listener,
    plugin: Arc<dyn Conversation>,
    address: Address,
    told: Vec<Arc<HostBroker>>,
    bounds: Bounds,
) {
    lead_to_plugin(ToPlugin { socket: listener, plugin, address }, told, bounds).await;
}

/// The same for the host of a session.
pub(super) async fn to_plugin_through(
    socket: DoorSocket,
    plugin: Arc<dyn Conversation>,
    address: Address,
    told: Arc<HostBroker>,
    bounds: Bounds,
) {
    lead_to_plugin(ToPlugin { socket, plugin, address }, vec![told], bounds).await;
}

async fn lead_to_plugin<S: HostSocket>(head: ToPlugin<S>, told: Vec<Arc<HostBroker>>, bounds: Bounds) {
    // The plugin may live on for long, and keep what nobody can ask for any more.
    tokio::select! {
        () = lead(head, &bounds) => {}
        _ = join_all(told.iter().map(|host| host.over())) => {}
    }
}

/// Leads who connects, until the other side has nothing there any more, or it is stopped. With this, what is under way ends.
async fn lead(mut head: impl Bridgehead, bounds: &Bounds) {
    let mut connections = JoinSet::new();
    let complaints = Arc::new(Complaints::default());
    let leading = async {
        let mut pause = LOOK_FIRST;
        let mut look = Instant::now() + pause;
        loop {
            tokio::select! {
                arrived = head.accept(), if connections.len() < MOST_CONNECTIONS => {
                    match arrived {
                        Ok(arrival) => match bounds.connections.clone().try_acquire_owned() {
                            Ok(place) => {
                                let bridge = carry(head.bridge(arrival), complaints.clone());
                                connections.spawn(hold(place, bridge).in_current_span());
                            }
                            Err(_) => {
                                if let Some(times) = complaints.another("is one too many") {
                                    tracing::warn!(times, "a connection of the broker is one too many");
                                }
                            }
                        },
                        Err(error) => {
                            tracing::debug!(error, "no connection of the broker is accepted");
                            sleep(ACCEPT_PAUSE).await;
                        }
                    }
                    continue;
                }
                Some(_) = connections.join_next() => pause = LOOK_FIRST,
                // However often somebody comes.
                () = sleep_until(look) => pause = LOOK.min(pause * 2),
            }
            if head.is_over() {
                return;
            }
            look = Instant::now() + pause;
        }
    };
    bounds.stop.run_until_cancelled(leading).await;
}

/// Keeps a place as long as something goes on.
async fn hold(place: OwnedSemaphorePermit, task: impl Future<Output = ()>) {
    task.await;
    drop(place);
}

/// Carries what each side of a bridge says to the other, until either has gone away.
pub(super) async fn carry(
    bridge: BoxFuture<'static, Result<(HostLine, HostLine), String>>,
    complaints: Arc<Complaints>,
) {
    match bridge.await {
        // That one side has gone away is how all of them end.
        Ok((mut from, mut to)) => drop(copy_bidirectional(&mut from, &mut to).await),
        Err(error) => {
            if let Some(times) = complaints.another("leads nowhere") {
                tracing::warn!(error, times, "a connection of the broker leads nowhere");
            }
        }
    }
}

/// A plugin's connection once it has proved that it is its, and only then the server that it leads to.
pub(super) async fn pair(
    proving: Proving,
    server: impl Future<Output = Result<HostLine, String>> + Send,
) -> Result<(HostLine, HostLine), String> {
    let plugin = proving.await.map_err(|error| error.message)?;
    Ok((plugin, server.await?))
}

impl Bridgehead for ToHost {
    type Arrival = Proving;

    async fn accept(&self) -> Result<Proving, String> {
        self.offer.accept().await.map_err(|error| error.message)
    }

    fn bridge(&mut self, proving: Proving) -> BoxFuture<'static, Result<(HostLine, HostLine), String>> {
        self.seen |= self.host.has(self.id);
        let (host, id) = (self.host.clone(), self.id);
        pair(proving, async move { host.connect(id).await.map_err(|error| chain(&error)) }).boxed()
    }

    fn is_over(&mut self) -> bool {
        let there = self.host.has(self.id);
        self.seen |= there;
        !there && (self.seen || self.began.elapsed() > TOLD_WITHIN)
    }
}

impl<S: HostSocket> Bridgehead for ToPlugin<S> {
    type Arrival = Inbound;

    fn accept(&self) -> impl Future<Output = Result<Inbound, String>> + Send {
        self.socket.accept()
    }

    fn bridge(&mut self, host: Inbound) -> BoxFuture<'static, Result<(HostLine, HostLine), String>> {
        let (peer, plugin, address) = (self.socket.peer(), self.plugin.clone(), self.address.clone());
        let bridge = async move {
            let host: HostLine = Box::new(peer.accept(host, SECURED).await.map_err(|error| chain(&error))?);
            let server = plugin.dial_at(&address).await.map_err(|error| error.message)?;
            Ok((host, server))
        };
        bridge.boxed()
    }

    fn is_over(&mut self) -> bool {
        !self.plugin.offers(&self.address)
    }
}

impl HostSocket for Listener {
    async fn accept(&self) -> Result<Inbound, String> {
        Self::accept(self).await.map_err(|error| error.to_string())
    }

    fn peer(&self) -> Peer {
        // Who can come to it is one of the hosts.
        Peer::plain()
    }
}

impl HostSocket for DoorSocket {
    async fn accept(&self) -> Result<Inbound, String> {
        loop {
            let host = self.socket.listener.accept().await.map_err(|error| error.to_string())?;
            let by = host.peer_cred().ok().map(|peer| peer.uid());
            if self.door.admits(by) {
                return Ok(host.into());
            }
            tracing::debug!(by, "a connection of the broker is another user's: it is closed");
        }
    }

    fn peer(&self) -> Peer {
        self.door.peer.clone()
    }
}
