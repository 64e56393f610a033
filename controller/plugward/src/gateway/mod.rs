//! The gateway: hosts reach every plugin through a socket that stays, and do not notice that plugins come and go.
//!
//! ```text
//! host ── mount socket ──▶ relay ── mTLS ──▶ the container on the seat of the mount's slot
//!                            │
//!                        Instance: seats, what is kept of the priming, who is connected
//!                            ▲
//!                        reconcile: terms, prospects; up, down, withdraw
//! ```
//!
//! # The tour
//!
//! - [`Gateway`] is what the controller has of it. What it is told may be told again: it is told how things are.
//! - [`terms`] is what is said both ways.
//! - `seat` decides, and is pure: who is on the seat of a slot, who follows, what a container has been told, and which call may go to which.
//! - `priming` keeps the calls by which hosts made the plugin usable, and `replay` makes them again on the next container.
//! - `broker` leads plugins to what hosts offer them, and hosts to what plugins do; `backend` knows the messages of Vault's backends, and `made`
//!   makes the calls for hosts that set those up; `stdio` passes on what plugins write.
//! - `mount` accepts hosts; `relays` has the threads that serve them; `program` is the [relay](plugward_relay)'s program for one host's connection; `method` says which calls are the
//!   plugin's, `served` serves the others; `multiplex` has the ids, `outlook` what calls that wait may expect, `traffic` the counts.
//! - `instance` holds all of an instance together.
//!
//! # A host's connection
//!
//! It is bound at its first call that is the plugin's, to one connection to one container, and never to another. When that container goes,
//! or another takes the seat, the connection is drained, the HTTP/2 way; the host's next one goes to the successor. So *no call is served
//! by two containers*, and a switch is no more than "new connections go there".
//!
//! # Guarantees
//!
//! - A call reaches a container only if that was told the last that the call's user had told its predecessors: looked at when the call goes,
//!   not when it came.
//! - At most one container of a slot gets new connections.
//! - A call that waits is answered: by the plugin, or with `UNAVAILABLE` and the reason, in its own time and in that of `hold`.
//! - Nothing that hosts tell plugins is logged, stored, or in any `Debug`; what is kept of it is in memory, and cleared when it goes.

mod arrivals;
mod attaching;
mod backend;
mod broker;
mod door;
mod followed;
mod instance;
mod made;
mod method;
mod mount;
mod multiplex;
mod outlook;
mod priming;
mod program;
mod relays;
mod replay;
mod seat;
mod served;
pub mod sockets;
mod stdio;
pub mod terms;
#[cfg(test)]
mod tests;
mod traffic;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use go_plugin::StdioChannel;
use plugward_api::Name;
use plugward_engine::ContainerId;
use plugward_relay::driver::Control;
use plugward_relay::grpc::Status;
use tokio::time::timeout;

pub use self::arrivals::Arrivals;
pub use self::door::{Door, Hand, OfferedSocket};
use self::instance::{Instance, Parts};
use self::mount::Mount;
pub use self::priming::{KeptPriming, PrimingRules};
pub use self::relays::Relays;
use self::sockets::{SocketError, Sockets};
pub use self::terms::{
    Backend, Broken, Demand, Hold, Joined, Memory, NotJoined, Prospect, ServiceSight, Terms,
};
use crate::clock::Clock;
use crate::metrics::{Metrics, MountTraffic};
use crate::names::{MountName, SlotName};
use crate::plan::Place;
use crate::session::Wake;

/// What accepts hosts, and hands their calls to the containers that serve them.
///
/// It asks for a reconcile of an instance when a [sight](Self::sight) of it changes, and when a call begins to wait where there is no
/// container. That calls come and go it does not tell: who wants to know since when there were none asks [`demand`](Self::demand).
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

struct Shared {
    sockets: Sockets,
    parts: Arc<Parts>,
    table: Mutex<Table>,
    /// No socket is opened any more. Who opens some holds this, so that none is after it was said.
    closing: RwLock<bool>,
}

#[derive(Default)]
struct Table {
    instances: BTreeMap<Name, Arc<Instance>>,
    /// Whose container is whose.
    owners: HashMap<ContainerKey, Name>,
}

/// A container on an engine, by the IDs of both.
type ContainerKey = (Arc<str>, ContainerId);

/// How long hosts may take to hear that their connections are closed.
const CLOSING: Duration = Duration::from_secs(2);

// === impl Gateway ===

impl Gateway {
    /// One that serves nothing yet.
    pub fn new(
        sockets: Sockets,
        relays: Relays,
        clock: Clock,
        wake: Wake,
        memory: Arc<dyn Memory>,
        metrics: Metrics,
    ) -> Self {
        let offers = sockets.offers();
        let parts = Arc::new(Parts { relays, clock, wake, memory, metrics, offers });
        let (table, closing) = (Mutex::default(), RwLock::default());
        Self { shared: Arc::new(Shared { sockets, parts, table, closing }) }
    }

    /// Serves an instance on these terms. Its sockets are there from now on; those of mounts that it has no more go, and their calls have the
    /// drain timeout to end. Gives the mounts whose socket cannot be had: they are tried again when this is said again.
    ///
    /// Once the gateway [shuts down](Self::shut_down) mounts that are new get no socket: hosts would be accepted to be closed, and come again at once.
    pub fn serve(&self, instance: &Name, terms: &Terms) -> BTreeMap<Name, SocketError> {
        let instance = {
            let mut table = self.lock();
            let new = || Instance::new(instance.clone(), self.shared.parts.clone(), terms);
            table.instances.entry(instance.clone()).or_insert_with(new).clone()
        };
        for mount in instance.serve(terms) {
            self.close_socket(&instance, &mount);
        }
        let mut errors = BTreeMap::new();
        let closing = self.shared.closing.read().unwrap_or_else(PoisonError::into_inner);
        let unserved = if *closing { Vec::new() } else { instance.unserved() };
        for name in unserved {
            match self.shared.sockets.open(&instance.name, &name) {
                Ok(listener) => {
                    let mount = Mount::declared(&instance.name, name, self.shared.parts.clock);
                    instance.add(&mount);
                    mount.listen(&instance, Arrivals::Ours(listener));
                }
                Err(error) => {
                    errors.insert(name, error);
                }
            }
        }
        errors
    }

    /// Removes the sockets that an earlier controller left, except those of `wanted` mounts: instance and mount.
    pub fn sweep(&self, wanted: &BTreeSet<(Name, Name)>) {
        self.shared.sockets.sweep(wanted);
    }

    /// Whether it was ever told how to serve an instance.
    pub fn serves(&self, instance: &Name) -> bool {
        self.lock().instances.contains_key(instance)
    }

    /// Which slot serves which mount of an instance, as it was told last.
    pub fn routes(&self, instance: &Name) -> BTreeMap<MountName, SlotName> {
        self.get(instance).map(|instance| instance.routes()).unwrap_or_default()
    }

    /// Says what calls may expect of a slot that has no container which could serve them.
    pub fn prospect(&self, instance: &Name, slot: &SlotName, prospect: Prospect) {
        if let Some(instance) = self.get(instance) {
            instance.prospect(slot, prospect);
        }
    }

    /// New calls are answered with `UNAVAILABLE` and `reason`, and all containers are withdrawn. The sockets stay until the instance is
    /// [forgotten](Self::forget). [Terms](Self::serve) undo it, for containers that come up later.
    pub fn refuse(&self, instance: &Name, reason: &str) {
        if let Some(instance) = self.get(instance) {
            instance.refuse(reason);
        }
    }

    /// The sockets of an instance go, and its hosts' connections are closed.
    pub fn forget(&self, instance: &Name) {
        let Some(instance) = self.lock().remove(instance) else { return };
        instance.close(&Status::unavailable(format!("plugin instance {}: deleted", instance.name)));
        for mount in instance.mounts() {
            self.close_socket(&instance, &mount);
            self.shared.parts.memory.unprimed(&instance.name, &mount.name);
        }
    }

    /// A conversation stands with a container. Told again after [`down`](Self::down), it goes on as it was.
    pub fn up(&self, backend: Backend) {
        let Some(instance) = self.get(&backend.instance) else { return };
        self.lock().owners.insert(container(&backend.place), instance.name.clone());
        for place in instance.up(backend) {
            self.lock().owners.remove(&container(&place));
        }
    }

    /// The conversation with a container ended: its process did, or it is connected again and comes [up](Self::up). To be said, too, of a
    /// container that was removed.
    pub fn down(&self, place: &Place) {
        if let Some(instance) = self.of(place) {
            instance.down(place);
        }
    }

    /// A container's plugin wrote something, which hosts may want to hear.
    pub fn wrote(&self, place: &Place, channel: StdioChannel, data: &Bytes) {
        if let Some(instance) = self.of(place) {
            instance.output.wrote(channel, data, || instance.slot_of(place));
        }
    }

    /// A spare takes the place of a slot's container, as the start of this number. When the conversation with the one that
    /// serves ends, that has happened already, and this changes nothing.
    pub fn promote(&self, place: &Place, slot: &SlotName, start: u64) {
        if let Some(instance) = self.of(place) {
            instance.promote(place, slot, start);
        }
    }

    /// The slot that a container is in, as the gateway sees it: a spare's may have changed.
    pub fn slot_of(&self, place: &Place) -> Option<SlotName> {
        self.of(place)?.slot_of(place)
    }

    /// A container gets no new calls, ever. Those under way have the drain timeout to end, then they are failed.
    pub fn withdraw(&self, place: &Place) {
        if let Some(instance) = self.of(place) {
            instance.withdraw(place);
        }
    }

    /// How a container serves.
    pub fn sight(&self, place: &Place) -> ServiceSight {
        self.of(place).map_or(ServiceSight::None, |instance| instance.sight(place))
    }

    /// Waits until no call is under way in a container that was [withdrawn](Self::withdraw).
    pub async fn drained(&self, place: &Place) {
        let Some(instance) = self.of(place) else { return };
        let mut changes = instance.changes();
        while instance.sight(place) == ServiceSight::Draining && changes.changed().await.is_ok() {}
    }

    /// What hosts want of a slot. `None` if none of its mounts is served.
    pub fn demand(&self, instance: &Name, slot: &SlotName) -> Option<Demand> {
        self.get(instance)?.demand(slot)
    }

    /// How the mounts stand that are served, for those who count.
    pub fn traffic(&self) -> Vec<MountTraffic> {
        let instances: Vec<Arc<Instance>> = self.lock().instances.values().cloned().collect();
        instances.iter().flat_map(|instance| instance.traffic()).collect()
    }

    /// How many mounts' new connections go to a container.
    pub fn mounts_served(&self, place: &Place) -> usize {
        self.of(place).map_or(0, |instance| instance.mounts_served(place))
    }

    /// The mounts whose last priming call could not be kept, and why: after a restart of the plugin their hosts have to make it again.
    pub fn unkept(&self, instance: &Name) -> BTreeMap<MountName, String> {
        self.get(instance).map(|instance| instance.unkept()).unwrap_or_default()
    }

    /// Accepts no more hosts, lets calls end for as long as `limit`, and closes all connections. The plugins run on.
    pub async fn shut_down(&self, limit: Duration) {
        self.open_no_more();
        let instances: Vec<Arc<Instance>> = self.lock().instances.values().cloned().collect();
        let mounts: Vec<Arc<Mount>> = instances.iter().flat_map(|instance| instance.mounts()).collect();
        for mount in &mounts {
            mount.close();
        }
        join_all(mounts.iter().map(|mount| mount.silent())).await;
        for instance in &instances {
            instance.drain_all();
        }
        let quiet = async {
            // A call that waits is over when it was served, so that its connection is counted by then.
            join_all(mounts.iter().map(|mount| mount.traffic.idle())).await;
            join_all(instances.iter().map(|instance| instance.without_lines())).await;
        };
        if timeout(limit, quiet).await.is_err() {
            let calls: usize = mounts.iter().map(|mount| mount.traffic.calls()).sum();
            tracing::warn!(calls, ?limit, "calls did not end in time and are failed");
        }
        let mut controls = Vec::new();
        for instance in &instances {
            instance.close(&Status::unavailable("plugward is shutting down"));
            controls.extend(instance.controls());
        }
        // A host that does not listen is not waited for.
        let _ = timeout(CLOSING, join_all(controls.iter().map(Control::over))).await;
    }

    /// Closes everything at once: the controller ends.
    pub fn close(&self) {
        self.open_no_more();
        let instances: Vec<Arc<Instance>> = self.lock().instances.values().cloned().collect();
        for instance in instances {
            instance.mounts().iter().for_each(|mount| mount.close());
            instance.close(&Status::unavailable("plugward is shutting down"));
        }
    }

    fn close_socket(&self, instance: &Instance, mount: &Mount) {
        if let MountName::Declared(name) = &mount.name {
            self.shared.sockets.close(&instance.name, name);
        }
    }

    fn open_no_more(&self) {
        *self.shared.closing.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn get(&self, instance: &Name) -> Option<Arc<Instance>> {
        self.lock().instances.get(instance).cloned()
    }

    /// Whose container this is.
    fn of(&self, place: &Place) -> Option<Arc<Instance>> {
        let table = self.lock();
        table.instances.get(table.owners.get(&container(place))?).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each change is an insert or a remove, and an owner without an instance is none.
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn container(place: &Place) -> ContainerKey {
    (place.engine.id.clone(), place.id.clone())
}

// === impl Table ===

impl Table {
    fn remove(&mut self, instance: &Name) -> Option<Arc<Instance>> {
        self.owners.retain(|_, owner| owner != instance);
        self.instances.remove(instance)
    }
}
