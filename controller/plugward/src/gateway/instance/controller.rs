//! What the controller says of an instance, and asks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use plugward_api::Name;
use plugward_relay::driver::Control;
use plugward_relay::grpc::Status;

use super::hosts::Connection;
use super::{Berthed, Instance, held_bytes};
use crate::gateway::mount::Mount;
use crate::gateway::seat::Serial;
use crate::gateway::terms::{Backend, Broken, Demand, Prospect, ServiceSight, Terms};
use crate::metrics::{MountTraffic, Requests};
use crate::names::{MountName, SlotName};
use crate::plan::Place;

impl Instance {
    /// Takes new terms. Gives the mounts that are not served any more.
    pub(in crate::gateway) fn serve(self: &Arc<Self>, terms: &Terms) -> Vec<Arc<Mount>> {
        {
            let state = self.lock();
            if state.terms.as_ref() == Some(state.with_sessions(terms).as_ref()) && state.refusal.is_none() {
                return Vec::new();
            }
        }
        if terms.attach {
            self.attached.store(true, Ordering::Relaxed);
        }
        self.budget.resize(terms.hold.max_requests, held_bytes(terms.hold));
        self.rules.write().unwrap_or_else(PoisonError::into_inner).clone_from(&terms.priming);
        let (gone, moved) = self.change(|state| {
            self.refused.store(false, Ordering::Release);
            state.refusal = None;
            let terms = state.with_sessions(terms);
            let before = state.terms.replace(terms.as_ref().clone());
            state.prospects.retain(|slot, _| terms.mounts.values().any(|used| used == slot));
            let memory = &self.parts.memory;
            state.seats.assign(&terms.mounts, &terms.priming, |mount| memory.last_primed(&self.name, mount));
            let mut gone: Vec<Arc<Mount>> = Vec::new();
            state.mounts.retain(|name, mount| {
                let served = terms.mounts.contains_key(name);
                gone.extend((!served).then(|| mount.clone()));
                served
            });
            for mount in &gone {
                mount.delete();
                memory.unprimed(&self.name, &mount.name);
                state.unkept.remove(&mount.name);
            }
            let before = before.map(|terms| terms.mounts).unwrap_or_default();
            let moved = |(name, slot)| terms.mounts.get(&name).filter(|now| **now != slot).map(|_| name);
            (gone, before.into_iter().filter_map(moved).collect::<Vec<MountName>>())
        });
        self.move_hosts(
            |connection| connection.line.is_some() && moved.contains(&connection.mount),
            Status::unavailable(
                "the mount's plugin moved to another container, and this call did not end in time",
            ),
            false,
        );
        for mount in &gone {
            self.move_hosts(|connection| connection.mount == mount.name, self.mount_deleted(mount), true);
        }
        gone
    }

    /// Which slot serves which mount.
    pub(in crate::gateway) fn routes(&self) -> BTreeMap<MountName, SlotName> {
        let state = self.lock();
        let mounts = state.terms.iter().flat_map(|terms| terms.mounts.iter());
        mounts.map(|(mount, slot)| (mount.clone(), slot.clone())).collect()
    }

    /// The declared mounts that are to be served and are not yet.
    pub(in crate::gateway) fn unserved(&self) -> Vec<Name> {
        let state = self.lock();
        let names = state.terms.iter().flat_map(|terms| terms.mounts.keys());
        let names = names.filter(|name| !state.mounts.contains_key(*name));
        names.filter_map(MountName::declared).cloned().collect()
    }

    /// A mount is served from now on.
    pub(in crate::gateway) fn add(self: &Arc<Self>, mount: &Arc<Mount>) {
        self.change(|state| state.mounts.insert(mount.name.clone(), mount.clone()));
    }

    /// Says what calls may expect of a slot.
    pub(in crate::gateway) fn prospect(self: &Arc<Self>, slot: &SlotName, prospect: Prospect) {
        if self.lock().prospects.get(slot) != Some(&prospect) {
            self.change(|state| state.prospects.insert(slot.clone(), prospect));
        }
    }

    /// Refuses new calls, and withdraws all containers.
    pub(in crate::gateway) fn refuse(self: &Arc<Self>, reason: &str) {
        if self.lock().refusal.as_deref() == Some(reason) {
            return;
        }
        self.change(|state| {
            state.refusal = Some(reason.to_owned());
            self.refused.store(true, Ordering::Release);
            state.seats.withdraw_all();
        });
    }

    /// A conversation stands. Gives the containers that are not known any more since this was last said.
    pub(in crate::gateway) fn up(self: &Arc<Self>, backend: Backend) -> Vec<Place> {
        let known = self.lock().berths.values().any(|berthed| {
            berthed.backend.place == backend.place
                && Arc::ptr_eq(&berthed.backend.conversation, &backend.conversation)
        });
        if known && self.sight(&backend.place) != ServiceSight::None {
            return Vec::new();
        }
        self.change(|state| {
            let new = state.number();
            let serial =
                state.seats.up(&backend.slot, backend.start, &backend.place, backend.multiplexes, new);
            state.berths.insert(serial, Arc::new(Berthed { serial, backend }));
        });
        std::mem::take(&mut self.lock().forgotten)
    }

    /// A conversation ended.
    pub(in crate::gateway) fn down(self: &Arc<Self>, place: &Place) {
        self.change(|state| state.seats.down(place));
    }

    /// A container is of no use to anyone any more: it is given no more calls from now on, and is replaced.
    pub(in crate::gateway) fn broke(self: &Arc<Self>, berthed: &Berthed, what: Broken) {
        (berthed.backend.broke)(what);
        self.down(&berthed.backend.place);
    }

    /// A spare takes the place of a slot's container.
    pub(in crate::gateway) fn promote(self: &Arc<Self>, place: &Place, slot: &SlotName, start: u64) {
        self.change(|state| state.seats.promote(place, slot, start));
    }

    /// The slot that a container is in.
    pub(in crate::gateway) fn slot_of(&self, place: &Place) -> Option<SlotName> {
        self.lock().seats.located(place).map(|(slot, _)| slot)
    }

    /// A container gets no new connections.
    pub(in crate::gateway) fn withdraw(self: &Arc<Self>, place: &Place) {
        self.change(|state| state.seats.withdraw(place));
    }

    /// Closes all connections, and those that come yet.
    pub(in crate::gateway) fn close(&self, status: &Status) {
        let mut state = self.lock();
        state.closed = Some(status.clone());
        for mount in state.mounts.values() {
            mount.close();
        }
        for connection in state.connections.values() {
            connection.control.close(status.clone());
        }
    }

    pub(in crate::gateway) fn sight(&self, place: &Place) -> ServiceSight {
        self.lock().seats.sight(place)
    }

    pub(in crate::gateway) fn mounts_served(&self, place: &Place) -> usize {
        self.lock().seats.mounts_served(place)
    }

    pub(in crate::gateway) fn demand(&self, slot: &SlotName) -> Option<Demand> {
        let state = self.lock();
        let mounts = state.mounts.values().filter(|mount| state.slot(&mount.name) == Some(slot));
        mounts.map(|mount| mount.traffic.demand()).reduce(Demand::and)
    }

    /// How its mounts stand, for those who count: each declared one, and all sessions together.
    pub(in crate::gateway) fn traffic(&self) -> Vec<MountTraffic> {
        let traffic = |name: Option<Name>, demand: Demand, requests: &Arc<Requests>| MountTraffic {
            instance: self.name.clone(),
            mount: name,
            waiting: demand.waiting,
            in_flight: demand.in_flight,
            requests: requests.clone(),
        };
        let (declared, sessions): (Vec<_>, Vec<_>) =
            self.mounts().into_iter().partition(|mount| mount.name.declared().is_some());
        let mut found: Vec<MountTraffic> = declared
            .iter()
            .map(|mount| traffic(mount.name.declared().cloned(), mount.traffic.demand(), &mount.requests))
            .collect();
        if self.attached.load(Ordering::Relaxed) {
            let none = Demand { waiting: 0, in_flight: 0, idle_since: self.parts.clock.now() };
            let demand = sessions.iter().map(|mount| mount.traffic.demand()).fold(none, Demand::and);
            found.push(traffic(None, demand, &self.session_requests));
        }
        found
    }

    pub(in crate::gateway) fn unkept(&self) -> BTreeMap<MountName, String> {
        self.lock().unkept.iter().map(|(mount, why)| (mount.clone(), why.to_string())).collect()
    }

    pub(in crate::gateway) fn mounts(&self) -> Vec<Arc<Mount>> {
        self.lock().mounts.values().cloned().collect()
    }

    pub(super) fn drain(self: &Arc<Self>, serial: Serial) {
        let (hosts, limit) = {
            let state = self.lock();
            let hosts =
                state.connections.values().filter(|connection| connection.line == Some(serial)).count();
            (hosts, state.drain_timeout())
        };
        if let Some(berthed) = self.berthed(serial) {
            let container = &berthed.backend.place.name;
            tracing::info!(instance = %self.name, container, hosts, ?limit, "moving hosts away from a container");
        }
        let status = Status::unavailable(format!(
            "the plugin's container was replaced, and this call did not end within {limit:?}"
        ));
        self.move_hosts(move |connection| connection.line == Some(serial), status, false);
    }

    /// Moves connections elsewhere: their calls have the drain timeout to end, then they end with `status`, and the connections with them
    /// if they are not wanted any more.
    fn move_hosts(self: &Arc<Self>, which: impl Fn(&Connection) -> bool, status: Status, for_good: bool) {
        let (controls, limit) = {
            let state = self.lock();
            let controls: Vec<Control> = state
                .connections
                .values()
                .filter(|connection| which(connection))
                .map(|connection| connection.control.clone())
                .collect();
            (controls, state.drain_timeout())
        };
        if controls.is_empty() {
            return;
        }
        for control in &controls {
            control.drain();
        }
        let late = move || {
            for control in &controls {
                if for_good { control.close(status.clone()) } else { control.abandon(status.clone()) }
            }
        };
        if limit.is_zero() {
            return late();
        }
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            late();
        });
    }
}
