//! Connections from one side to a server of the other, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use go_plugin::{Address, Inbound, Listener};
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::host::HostBroker;
use super::offers::TOLD_WITHIN;
use crate::errors::chain;
use crate::plugin::{Conversation, HostLine, Offer, Proving};

/// How often to look whether a server is still there: nobody tells of its end.
const LOOK: Duration = Duration::from_secs(5);

/// The pause after the system gave no connection, as it does while too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a host's connection may take to be accepted. It has nothing to prove.
const SECURED: Duration = Duration::from_secs(5);

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
struct ToPlugin {
    listener: Listener,
    plugin: Arc<dyn Conversation>,
    address: Address,
}

/// Leads a plugin's connections to a server of a host, until either is gone.
pub(super) async fn to_host(offer: Box<dyn Offer>, host: Arc<HostBroker>, id: u32, stop: CancellationToken) {
    let leading = lead(ToHost { offer, host: host.clone(), id, began: Instant::now(), seen: false }, &stop);
    tokio::select! {
        () = leading => {}
        () = host.over() => {}
    }
}

/// Leads hosts' connections to a server of a plugin, until that is gone.
pub(super) async fn to_plugin(
    listener: Listener,
    plugin: Arc<dyn Conversation>,
    address: Address,
    stop: CancellationToken,
) {
    lead(ToPlugin { listener, plugin, address }, &stop).await;
}

/// Leads who connects, until the other side has nothing there any more, or it is stopped. With this, what is under way ends.
async fn lead(mut head: impl Bridgehead, stop: &CancellationToken) {
    let mut connections = JoinSet::new();
    let leading = async {
        loop {
            tokio::select! {
                arrived = head.accept() => {
                    match arrived {
                        Ok(arrival) => {
                            connections.spawn(carry(head.bridge(arrival)).in_current_span());
                        }
                        Err(error) => {
                            tracing::debug!(error, "no connection of the broker is accepted");
                            sleep(ACCEPT_PAUSE).await;
                        }
                    }
                    continue;
                }
                // Many servers are for one connection.
                Some(_) = connections.join_next() => {}
                () = sleep(LOOK) => {}
            }
            if head.is_over() {
                return;
            }
        }
    };
    stop.run_until_cancelled(leading).await;
}

/// Carries what each side of a bridge says to the other, until either has gone away.
pub(super) async fn carry(bridge: BoxFuture<'static, Result<(HostLine, HostLine), String>>) {
    match bridge.await {
        // That one side has gone away is how all of them end.
        Ok((mut from, mut to)) => drop(copy_bidirectional(&mut from, &mut to).await),
        Err(error) => tracing::warn!(error, "a connection of the broker leads nowhere"),
    }
}

/// A plugin's connection once it has proved that it is its, and only then the server that it leads to.
pub(super) async fn pair(
    proving: Proving,
    server: impl Future<Output = Result<UnixStream, String>> + Send,
) -> Result<(HostLine, HostLine), String> {
    let plugin = proving.await.map_err(|error| error.message)?;
    Ok((plugin, Box::new(server.await?)))
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

impl Bridgehead for ToPlugin {
    type Arrival = Inbound;

    async fn accept(&self) -> Result<Inbound, String> {
        self.listener.accept().await.map_err(|error| error.to_string())
    }

    fn bridge(&mut self, host: Inbound) -> BoxFuture<'static, Result<(HostLine, HostLine), String>> {
        let (plugin, address) = (self.plugin.clone(), self.address.clone());
        let bridge = async move {
            let host: HostLine = Box::new(host.secured(None, SECURED).await.map_err(|error| chain(&error))?);
            let server = plugin.dial_at(&address).await.map_err(|error| error.message)?;
            Ok((host, server))
        };
        bridge.boxed()
    }

    fn is_over(&mut self) -> bool {
        !self.plugin.offers(&self.address)
    }
}
