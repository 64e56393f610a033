//! The brokers of an instance: which host's goes with which container's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use go_plugin::BrokerMessage;
use plugward_relay::grpc::{Code, Status};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::Instrument;

use super::{Berthed, Instance};
use crate::gateway::broker::{Client, ContainerBroker, HostBroker, Led, Numbers, answer_knocks};
use crate::gateway::mount::Mount;
use crate::gateway::seat::Serial;
use crate::gateway::terms::Broken;
use crate::names::MountName;

/// How long a host waits for another to go that is in its way. One that has ended its client and begun another at once comes before it is
/// known that it went; go-plugin waits for 5 s to hear of a server.
const GOES_WITHIN: Duration = Duration::from_secs(2);

/// The brokers of an instance.
#[derive(Default)]
pub(super) struct Brokers {
    hosts: Vec<Arc<HostBroker>>,
    containers: BTreeMap<Serial, Arc<ContainerBroker>>,
}

// === impl Instance ===

impl Instance {
    /// A host opened its broker's stream on a mount.
    pub(in crate::gateway) fn broker_begun(
        self: &Arc<Self>,
        mount: &Mount,
        client: Client,
    ) -> (Arc<HostBroker>, mpsc::Receiver<BrokerMessage>) {
        let (host, voices) = HostBroker::new(self.number(), &mount.name, client, mount.entrance());
        // With the stream a client begins anew, and its numbers do.
        mount.unbar(client);
        self.brokers().hosts.push(host.clone());
        self.seat_broker(&host);
        if host.is_silent() {
            let (instance, knocking) = (self.clone(), host.clone());
            let find = Box::new(move |id| {
                let (instance, host) = (instance.clone(), knocking.clone());
                async move { instance.broker_knocked(&host, id).await }.boxed()
            });
            tokio::spawn(answer_knocks(host.clone(), voices.knocks, find).in_current_span());
        }
        (host, voices.to_host)
    }

    /// A host knocks for a server of the plugin's.
    ///
    /// # Errors
    /// What it is told if it is not led there.
    async fn broker_knocked(self: &Arc<Self>, host: &Arc<HostBroker>, id: u32) -> Result<Led, String> {
        let broker = self.seat_of(host).and_then(|berthed| self.broker_of(&berthed));
        broker.ok_or("no container of the plugin is ready")?.lead(host, id).await
    }

    /// A host's stream is over: what it offered is gone, and what it had set up with that.
    pub(in crate::gateway) fn broker_over(self: &Arc<Self>, host: &Arc<HostBroker>) {
        host.end();
        self.brokers().hosts.retain(|other| !Arc::ptr_eq(other, host));
        self.change(|state| {
            if state.closed.is_some() {
                // It is we who end it, and the plugin that is left was set up.
                return;
            }
            state.seats.abandon(&host.mount, host);
            if state.seats.is_unprimed(&host.mount) {
                self.parts.memory.unprimed(&self.name, &host.mount);
            }
        });
    }

    /// A host says something to its broker: calls that it makes after that are not for a plugin whose own broker has ended.
    pub(in crate::gateway) fn broker_heard(self: &Arc<Self>, mount: &MountName) {
        let spent = |berthed: &Arc<Berthed>| berthed.backend.broker_spent && self.is_up(berthed.serial);
        if let Some(berthed) = self.seated(mount).filter(spent) {
            self.broke(&berthed, Broken::Broker);
        }
    }

    /// A host offers a server.
    ///
    /// # Errors
    /// What it is told if it may not.
    pub(in crate::gateway) async fn broker_announced(
        self: &Arc<Self>,
        host: &Arc<HostBroker>,
        id: u32,
        socket: std::path::PathBuf,
    ) -> Result<(), Status> {
        let rivals = self.rivals_of(host);
        if timeout(GOES_WITHIN, join_all(rivals.iter().map(|rival| rival.over()))).await.is_err() {
            return Err(Status::new(
                Code::FailedPrecondition,
                "another client of the same process uses its broker on this mount, and their calls cannot be told apart: \
                 give each client a mount of its own",
            ));
        }
        host.announce(id, socket).map_err(|error| Status::new(Code::ResourceExhausted, error.to_string()))?;
        for broker in self.brokers_behind(host) {
            // What it may not is told where it goes from now on.
            let _ = broker.announced(host, id);
        }
        let Some(broker) = self.seat_of(host).and_then(|berthed| self.broker_of(&berthed)) else {
            return Ok(());
        };
        if let Some(other) = broker.used_beside(host).filter(|other| other.mount == host.mount) {
            // If it stays this one is refused.
            let _ = timeout(GOES_WITHIN, other.over()).await;
        }
        let announced = broker.announced(host, id);
        match (&announced, self.mount(&host.mount)) {
            (Ok(()), Some(mount)) => mount.unbar(host.client()),
            (Err(status), _) => self.bar(host, status.clone()),
            (Ok(()), None) => {}
        }
        announced
    }

    /// The brokers of containers that a host's connections go to though its mount is served by another: what it calls before it has
    /// heard that is theirs.
    fn brokers_behind(&self, host: &HostBroker) -> Vec<Arc<ContainerBroker>> {
        let brokers = self.brokers();
        let state = self.lock();
        let seated = state.seats.seated(&host.mount);
        let its = state.connections.values().filter(|connection| {
            // A session has one host.
            connection.mount == host.mount && host.mount.declared().is_none()
                || connection.is_of(&host.mount, host.client())
        });
        let behind: BTreeSet<Serial> = its.filter_map(|connection| connection.line).collect();
        let behind = behind.into_iter().filter(|serial| Some(*serial) != seated);
        behind.filter_map(|serial| brokers.containers.get(&serial).cloned()).collect()
    }

    /// Refuses the calls of a host that may not use its broker: the plugin would take the servers that they name for those of
    /// the host that does.
    fn bar(&self, host: &HostBroker, status: Status) {
        if let Some(mount) = self.mount(&host.mount) {
            mount.bar(host.client(), status);
        }
    }

    fn mount(&self, name: &MountName) -> Option<Arc<Mount>> {
        self.lock().mounts.get(name).cloned()
    }

    /// Other clients of a host's process that use their brokers on its mount.
    fn rivals_of(&self, host: &Arc<HostBroker>) -> Vec<Arc<HostBroker>> {
        let brokers = self.brokers();
        let others = brokers.hosts.iter().filter(|other| {
            !Arc::ptr_eq(other, host) && host.is_of(&other.mount, other.client()) && other.is_used()
        });
        others.cloned().collect()
    }

    /// The broker of a host, by which its calls are to be served: the one that it uses, if it has several.
    pub(in crate::gateway) fn host_broker(
        &self,
        mount: &MountName,
        client: Client,
    ) -> Option<Arc<HostBroker>> {
        let brokers = self.brokers();
        let mut its = brokers.hosts.iter().filter(|host| host.is_of(mount, client));
        its.clone().find(|host| host.is_used()).or_else(|| its.next()).cloned()
    }

    /// Offers a host's server to the plugin of a container. Gives its number there.
    ///
    /// # Errors
    /// What the host is told if that cannot be.
    pub(in crate::gateway) fn offer(
        self: &Arc<Self>,
        berthed: &Arc<Berthed>,
        host: &Arc<HostBroker>,
        id: u32,
    ) -> Result<u32, Status> {
        if host.is_over() {
            return Err(Status::unavailable("the host that offered the plugin a server has gone"));
        }
        match self.broker_of(berthed) {
            Some(broker) => broker.offer(host, id),
            None => {
                Err(Status::unavailable("the plugin's broker has ended: its container is being replaced"))
            }
        }
    }

    /// Lets a container that is about to be told what a mount's hosts had told know of what they offer.
    pub(in crate::gateway) fn show_brokers(self: &Arc<Self>, berthed: &Arc<Berthed>, mount: &MountName) {
        let hosts = self.brokers().hosts.clone();
        for host in hosts.iter().filter(|host| host.mount == *mount && host.is_used()) {
            self.welcome(berthed, host);
        }
    }

    /// After any change: hosts are known where their mounts are served, and no broker outlives its container.
    pub(super) fn settle_brokers(self: &Arc<Self>) {
        let hosts = {
            let mut brokers = self.brokers();
            if brokers.hosts.is_empty() && brokers.containers.is_empty() {
                return;
            }
            let state = self.lock();
            brokers.containers.retain(|serial, broker| {
                let berthed = state.berths.get(serial);
                berthed.is_some_and(|berthed| broker.goes_over(&berthed.backend.conversation))
                    && state.seats.is_up(*serial)
            });
            brokers.hosts.clone()
        };
        for host in &hosts {
            self.seat_broker(host);
        }
    }

    /// Lets the container that serves a host's mount know of what the host offers.
    fn seat_broker(self: &Arc<Self>, host: &Arc<HostBroker>) {
        // One whose broker has ended may never need it.
        let may_use = |berthed: &Arc<Berthed>| !berthed.backend.broker_spent || host.is_used();
        // One that has gone must not be the one to have the container's.
        if !host.is_over()
            && let Some(berthed) = self.seat_of(host).filter(may_use)
        {
            self.welcome(&berthed, host);
        }
    }

    /// The container that serves a host's mount, if its conversation stands.
    fn seat_of(&self, host: &HostBroker) -> Option<Arc<Berthed>> {
        self.seated(&host.mount).filter(|berthed| self.is_up(berthed.serial))
    }

    /// Lets a container know of what a host offers, or the host that it may not offer that.
    fn welcome(self: &Arc<Self>, berthed: &Arc<Berthed>, host: &Arc<HostBroker>) {
        if let Some(broker) = self.broker_of(berthed)
            && let Err(status) = broker.welcome(host)
        {
            self.bar(host, status.clone());
            host.refuse(status);
        }
    }

    /// The broker of a container, opened if it is not. `None` if it has ended already: then the container is told to be broken.
    fn broker_of(self: &Arc<Self>, berthed: &Arc<Berthed>) -> Option<Arc<ContainerBroker>> {
        let backend = &berthed.backend;
        if backend.broker_spent {
            self.broke(berthed, Broken::Broker);
            return None;
        }
        let mut brokers = self.brokers();
        if let Some(broker) = brokers.containers.get(&berthed.serial)
            && broker.goes_over(&backend.conversation)
        {
            return Some(broker.clone());
        }
        let numbers = if self.rules().are_made_here() { Numbers::Known } else { Numbers::Opaque };
        let (instance, serial) = (Arc::downgrade(self), berthed.serial);
        let hosts = move || instance.upgrade().map(|instance| instance.hosts_of(serial)).unwrap_or_default();
        let broker =
            ContainerBroker::open(backend, numbers, &self.parts.memory, hosts, self.parts.offers.clone());
        brokers.containers.insert(berthed.serial, broker.clone());
        Some(broker)
    }

    /// The hosts that a container serves, for some calls yet perhaps, and that may dial what its plugin offers: those that use their brokers, if
    /// any does.
    fn hosts_of(&self, serial: Serial) -> Vec<Arc<HostBroker>> {
        let mut hosts = self.brokers().hosts.clone();
        let state = self.lock();
        hosts.retain(|host| {
            let mut connections = state.connections.values();
            state.seats.seated(&host.mount) == Some(serial)
                || connections
                    .any(|connection| connection.line == Some(serial) && connection.is_of_host(host))
        });
        if hosts.iter().any(|host| host.is_used()) {
            hosts.retain(|host| host.is_used());
        }
        hosts
    }

    fn brokers(&self) -> MutexGuard<'_, Brokers> {
        // Each change is complete when it could be interrupted.
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
