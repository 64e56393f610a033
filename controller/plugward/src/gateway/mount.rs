//! A mount: its listener, and the connections of its hosts.
//!
//! A mount has at most [`CONNECTIONS`] connections. A host beyond that is not accepted until another leaves: it waits in the listener's
//! queue, where its connect has succeeded. Closing on it instead would be worse: a gRPC host that is closed before it sees SETTINGS takes the
//! address for broken, and stays away for longer each time.
//!
//! A host whose connection was ended for what it did is accepted again, and kept waiting: longer each time, and not for long.

mod shared;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use go_plugin::ConnectError;
use plugward_api::Name;
use plugward_relay::driver::Relay;
use plugward_relay::grpc::Status;
use plugward_runtime::Backoff;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::arrivals::Arrivals;
use super::broker::{Client, Entrance, HostStreams};
use super::door::Door;
use super::instance::Instance;
use super::multiplex::HostId;
use super::program::Host;
use super::seat::Serial;
use super::traffic::Traffic;
use crate::clock::Clock;
use crate::errors::chain;
use crate::metrics::Requests;
use crate::names::{MountName, SessionId};

/// A mount that is served.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) name: MountName,
    pub(super) traffic: Arc<Traffic>,
    /// Its calls that are over.
    pub(super) requests: Arc<Requests>,
    /// How its host is met, if it is a session's.
    pub(super) door: Option<Door>,
    /// The one connection of a session's host that multiplexes, from when it proved whose it is.
    streams: OnceLock<Arc<HostStreams>>,
    /// The id under which a plugin that multiplexes has its hosts that send none.
    pub(super) id: String,
    /// The container that all of its calls may go to, or zero.
    admitted: AtomicU64,
    /// No host is accepted any more.
    closed: CancellationToken,
    /// Has the listener.
    accepting: TaskTracker,
    /// It is not among the mounts of its instance any more.
    deleted: AtomicBool,
    places: Arc<Semaphore>,
    penalties: Mutex<HashMap<i32, Penalty>>,
    /// Clients whose calls may name servers that would be taken for another host's, and what they are told.
    barred: Mutex<Vec<(Client, Status)>>,
    /// Whether there are any.
    bars: AtomicBool,
}

/// What a host's process has to wait for before it is served again.
#[derive(Clone, Copy, Debug)]
struct Penalty {
    violations: u32,
    until: Instant,
}

/// The connections of one mount at a time. Each takes two descriptors.
pub(super) const CONNECTIONS: usize = 64;

/// The clients whose calls are refused: of more, those that were refused the longest are taken for gone.
const MOST_BARRED: usize = 256;

/// The pause after the system gave no connection, as it does while too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a session's host may take to prove that a connection is its.
const SECURED: Duration = Duration::from_secs(10);

/// How long a host waits that broke the rules once, and at most.
const PENALTIES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A host that broke no rule for so long broke none.
const FORGIVEN: Duration = Duration::from_secs(60);

// === impl Mount ===

impl Mount {
    /// One that is declared.
    pub(super) fn declared(instance: &Name, name: Name, clock: Clock) -> Arc<Self> {
        Self::new(instance, name.into(), clock, Arc::default(), None)
    }

    /// A session's, whose requests are counted with those of others.
    pub(super) fn session(
        instance: &Name,
        id: SessionId,
        clock: Clock,
        requests: Arc<Requests>,
        door: Door,
    ) -> Arc<Self> {
        Self::new(instance, id.into(), clock, requests, Some(door))
    }

    fn new(
        instance: &Name,
        name: MountName,
        clock: Clock,
        requests: Arc<Requests>,
        door: Option<Door>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: HostId::NONE.at_plugin(instance, &name),
            name,
            traffic: Traffic::new(clock),
            requests,
            door,
            streams: OnceLock::new(),
            admitted: AtomicU64::new(0),
            closed: CancellationToken::new(),
            accepting: TaskTracker::new(),
            deleted: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            penalties: Mutex::default(),
            barred: Mutex::default(),
            bars: AtomicBool::new(false),
        })
    }

    /// Serves the hosts that connect, until it is [closed](Self::close).
    pub(super) fn listen(self: &Arc<Self>, instance: &Arc<Instance>, listener: Arrivals) {
        let span = tracing::info_span!(parent: None, "mount", instance = %instance.name, mount = %self.name);
        let accepting = self.clone().accept(instance.clone(), listener);
        let closed = self.closed.clone();
        self.accepting.spawn(async move { closed.run_until_cancelled(accepting).await }.instrument(span));
        self.accepting.close();
    }

    /// No host is accepted any more.
    pub(super) fn close(&self) {
        self.closed.cancel();
        // A session has no listener before its container is ready.
        self.accepting.close();
    }

    /// Waits, once it is [closed](Self::close), until its listener is.
    pub(super) async fn silent(&self) {
        self.accepting.wait().await;
    }

    /// It is not among the mounts of its instance any more.
    pub(super) fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        self.close();
    }

    /// Whether it is not among the mounts of its instance any more.
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// How its hosts are met.
    pub(super) fn entrance(&self) -> Entrance {
        match (self.door.clone(), self.streams.get()) {
            (None, _) => Entrance::Mount,
            (Some(door), None) => Entrance::Door(door),
            (Some(door), Some(streams)) => Entrance::Streams(door, streams.clone()),
        }
    }

    /// All calls may go to this container, whoever makes them. Zero: each is to be looked at.
    pub(super) fn admit_all_to(&self, serial: Serial) {
        self.admitted.store(serial, Ordering::Release);
    }

    /// Whether all calls may go to this container.
    pub(super) fn admits_all_to(&self, serial: Serial) -> bool {
        self.admitted.load(Ordering::Acquire) == serial
    }

    /// A client's calls are refused from now on. That it has no connection for a while does not say that it has ended.
    pub(super) fn bar(&self, client: Client, status: Status) {
        self.change_bars(|barred| {
            barred.retain(|(other, _)| *other != client);
            if barred.len() >= MOST_BARRED {
                barred.remove(0);
            }
            barred.push((client, status));
        });
    }

    /// A client's calls are not refused any more.
    pub(super) fn unbar(&self, client: Client) {
        if self.bars.load(Ordering::Acquire) {
            self.change_bars(|barred| barred.retain(|(other, _)| *other != client));
        }
    }

    /// Why a client's calls are refused, if they are.
    pub(super) fn barrier(&self, client: Client) -> Option<Status> {
        if !self.bars.load(Ordering::Acquire) {
            return None;
        }
        let barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner);
        barred.iter().find(|(other, _)| *other == client).map(|(_, status)| status.clone())
    }

    fn change_bars(&self, change: impl FnOnce(&mut Vec<(Client, Status)>)) {
        let mut barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut barred);
        self.bars.store(!barred.is_empty(), Ordering::Release);
    }

    /// A host broke the rules.
    pub(super) fn penalise(&self, pid: i32) {
        let now = Instant::now();
        let mut penalties = self.penalties.lock().unwrap_or_else(PoisonError::into_inner);
        penalties.retain(|_, penalty| penalty.until + FORGIVEN > now);
        let violations = penalties.get(&pid).map_or(0, |penalty| penalty.violations);
        // These make a backoff.
        let wait =
            Backoff::new(PENALTIES.0, PENALTIES.1).map_or(PENALTIES.1, |backoff| backoff.ceiling(violations));
        penalties.insert(pid, Penalty { violations: violations.saturating_add(1), until: now + wait });
    }

    /// Until when a host is kept waiting.
    fn penalty(&self, pid: i32) -> Option<Instant> {
        let penalties = self.penalties.lock().unwrap_or_else(PoisonError::into_inner);
        penalties.get(&pid).map(|penalty| penalty.until)
    }

    async fn accept(self: Arc<Self>, instance: Arc<Instance>, listener: Arrivals) {
        loop {
            if self.places.available_permits() == 0 {
                tracing::warn!(connections = CONNECTIONS, "no more hosts are accepted until one leaves");
            }
            // It is never closed.
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok(host) => self.clone().serve(instance.clone(), host, place),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a host");
                    // In a box: thousands of mounts should not hold room for what hardly ever is.
                    Box::pin(sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
    }

    /// Serves one host's connection, in a task of its own.
    fn serve(self: Arc<Self>, instance: Arc<Instance>, host: UnixStream, place: OwnedSemaphorePermit) {
        let peer = host.peer_cred().ok();
        // A process of another PID namespace has none that we can see.
        let pid = peer.and_then(|peer| peer.pid()).filter(|pid| *pid > 0);
        let client = Client { pid, uid: peer.map(|peer| peer.uid()) };
        let span = tracing::debug_span!("host", pid = client.pid, uid = client.uid);
        let relays = instance.parts.relays.clone();
        let host = match host.into_std() {
            Ok(host) => host,
            Err(error) => return tracing::warn!(%error, "cannot serve a host"),
        };
        let serving = async move {
            // It belongs to the thread that relays it.
            let host = match UnixStream::from_std(host) {
                Ok(host) => host,
                Err(error) => return tracing::warn!(%error, "cannot serve a host"),
            };
            if let Some(until) = self.penalty(client.pid.unwrap_or_default()) {
                sleep_until(until).await;
            }
            match self.door.clone() {
                None => self.relay(&instance, host, client).await,
                Some(door) => self.enter(&instance, host, client, &door).await,
            }
            drop(place);
        };
        relays.spawn(serving.instrument(span));
    }

    /// Serves the connection of a session's host, once that has proved whose it is.
    async fn enter(self: Arc<Self>, instance: &Arc<Instance>, host: UnixStream, client: Client, door: &Door) {
        if !door.admits(client.uid) {
            return tracing::warn!(
                user = door.user,
                by = client.uid,
                "a connection to a session of another user is closed"
            );
        }
        if door.multiplexed {
            return self.share(instance, host, client, door).await;
        }
        match door.peer.accept(host, SECURED).await {
            Ok(stream) => self.relay(instance, stream, client).await,
            Err(error) => strange(&error),
        }
    }

    /// Relays one connection to its end.
    async fn relay<H>(self: Arc<Self>, instance: &Arc<Instance>, host: H, client: Client)
    where
        H: AsyncRead + AsyncWrite + Unpin,
    {
        let id = instance.number();
        let name = self.name.clone();
        let program = Host::new(instance.clone(), self, id, client);
        let (relay, control) = Relay::new(host, program, instance.limits(), instance.budget.clone());
        instance.connected(id, &name, client.pid, control);
        relay.run().await;
        instance.disconnected(id);
    }
}

/// Tells of a connection that did not prove to be a session's host's.
fn strange(error: &ConnectError) {
    tracing::warn!(error = chain(error), "a connection to a session is not its host's: it is closed");
}
