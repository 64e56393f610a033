//! An instance as the gateway has it: its seats, its mounts, and the connections of hosts, behind one lock.
//!
//! What is decided here is decided by [`Seats`]; what follows from it (drains, calls that are made again, connections that look again for
//! where to go) is set going when the change is complete.

mod brokers;
mod controller;
mod hosts;
mod priming;
mod sessions;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use litemap::LiteMap;
use plugward_api::Name;
use plugward_relay::HoldBudget;
use plugward_relay::grpc::Status;
use tokio::sync::watch;

use self::brokers::Brokers;
use self::hosts::Connection;
pub(super) use self::hosts::{Id, Line};
pub(super) use self::priming::{PrimingCall, Seated};
use super::mount::Mount;
use super::priming::{PrimingRules, Unkept};
use super::relays::Relays;
use super::replay;
use super::seat::{Order, Seats, Serial};
use super::stdio::Output;
use super::terms::{Backend, Hold, Memory, Prospect, ServiceSight, Terms};
use crate::clock::Clock;
use crate::metrics::{Metrics, Requests};
use crate::names::{MountName, SlotName};
use crate::plan::Place;
use crate::session::Wake;

/// What all instances share.
pub(super) struct Parts {
    pub(super) relays: Relays,
    pub(super) clock: Clock,
    pub(super) wake: Wake,
    pub(super) memory: Arc<dyn Memory>,
    pub(super) metrics: Metrics,
    /// Where sockets are made by which hosts reach servers that plugins offer them, and their group.
    pub(super) offers: (PathBuf, Option<u32>),
}

/// One instance.
pub(super) struct Instance {
    pub(super) name: Name,
    pub(super) parts: Arc<Parts>,
    /// What its calls may cost together while they wait.
    pub(super) budget: Arc<HoldBudget>,
    rules: RwLock<PrimingRules>,
    /// Its record was deleted.
    refused: AtomicBool,
    /// Whether hosts may attach, or could: then their requests are counted.
    attached: AtomicBool,
    /// The requests of all sessions that are over.
    session_requests: Arc<Requests>,
    state: Mutex<State>,
    brokers: Mutex<Brokers>,
    /// What its plugins write.
    pub(super) output: Output,
    /// Where connections go, or how likely that is, changed.
    changed: watch::Sender<()>,
}

pub(super) struct State {
    seats: Seats,
    /// `None` before the first.
    terms: Option<Terms>,
    /// Why new calls are refused.
    refusal: Option<String>,
    /// With what new connections are closed.
    closed: Option<Status>,
    prospects: LiteMap<SlotName, Prospect>,
    mounts: LiteMap<MountName, Arc<Mount>>,
    berths: LiteMap<Serial, Arc<Berthed>>,
    /// Containers that are not known any more, and that nobody was told of.
    forgotten: Vec<Place>,
    connections: LiteMap<Id, Connection>,
    /// Mounts whose last priming was not kept, and why.
    unkept: LiteMap<MountName, Unkept>,
    /// The last number that was given to a container or a connection.
    numbers: u64,
}

/// A container that the gateway was told of.
#[derive(Debug)]
pub(super) struct Berthed {
    pub(super) serial: Serial,
    pub(super) backend: Backend,
}

/// The bytes of the calls that wait for one instance, as a multiple of what one connection may keep: so many connections with large
/// requests may wait.
const LARGE_CONNECTIONS: usize = 16;

/// What is allowed for the head of each call that waits, besides.
const HEAD: usize = 4 << 10;

/// The bytes that the calls of one instance may keep together while they wait.
fn held_bytes(hold: Hold) -> usize {
    let bodies = hold.max_bytes.saturating_mul(LARGE_CONNECTIONS);
    bodies.saturating_add(hold.max_requests.saturating_mul(HEAD))
}

// === impl Instance ===

impl Instance {
    pub(super) fn new(name: Name, parts: Arc<Parts>, terms: &Terms) -> Arc<Self> {
        Arc::new(Self {
            name,
            parts,
            budget: HoldBudget::new(terms.hold.max_requests, held_bytes(terms.hold)),
            rules: RwLock::new(terms.priming.clone()),
            refused: AtomicBool::new(false),
            attached: AtomicBool::new(false),
            session_requests: Arc::default(),
            state: Mutex::new(State {
                seats: Seats::default(),
                terms: None,
                refusal: None,
                closed: None,
                prospects: LiteMap::new(),
                mounts: LiteMap::new(),
                berths: LiteMap::new(),
                forgotten: Vec::new(),
                connections: LiteMap::new(),
                unkept: LiteMap::new(),
                numbers: 0,
            }),
            brokers: Mutex::default(),
            output: Output::default(),
            changed: watch::Sender::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is changed under it is changed by code that has no way out between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change, and sees to what follows from it.
    fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let before = state.sights();
        let result = change(&mut state);
        let orders = state.seats.take_orders();
        let State { seats, berths, mounts, forgotten, .. } = &mut *state;
        berths.retain(|serial, berthed| {
            let known = seats.knows(*serial);
            forgotten.extend((!known).then(|| berthed.backend.place.clone()));
            known
        });
        for mount in mounts.values() {
            mount.admit_all_to(seats.admits_all(&mount.name));
        }
        for (_, connection) in state.connections.iter_mut() {
            if std::mem::take(&mut connection.waits) || connection.line.is_none() {
                connection.control.reconsider();
            }
        }
        let seen = before != state.sights();
        drop(state);
        self.changed.send_replace(());
        self.settle_brokers();
        for order in orders {
            match order {
                Order::Tell(serial, mount) => replay::spawn(self, serial, mount),
                Order::Drain(serial) => self.drain(serial),
            }
        }
        if seen {
            (self.parts.wake)(&self.name);
        }
        result
    }
}

// === impl State ===

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn slot(&self, mount: &MountName) -> Option<&SlotName> {
        self.terms.as_ref()?.mounts.get(mount)
    }

    fn hold(&self) -> Hold {
        // Before the first terms there are no mounts, and no calls.
        self.terms
            .as_ref()
            .map_or(Hold { timeout: Duration::ZERO, max_requests: 0, max_bytes: 0 }, |terms| terms.hold)
    }

    fn drain_timeout(&self) -> Duration {
        self.terms.as_ref().map_or(Duration::ZERO, |terms| terms.drain_timeout)
    }

    fn sights(&self) -> Vec<(Place, ServiceSight)> {
        let places = self.seats.places();
        places
            .into_iter()
            .map(|place| {
                let sight = self.seats.sight(&place);
                (place, sight)
            })
            .collect()
    }
}
