//! Sessions: mounts that hosts bring along, and take with them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plugward_relay::driver::Control;
use plugward_relay::grpc::Status;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Berthed, Instance, State};
use crate::gateway::arrivals::Arrivals;
use crate::gateway::door::Door;
use crate::gateway::mount::Mount;
use crate::gateway::priming::{KeptPriming, Role};
use crate::gateway::terms::{Joined, NotJoined, Terms};
use crate::names::{MountName, SessionId, SlotName};
use crate::plan::Place;

/// How long a session waits for what nothing is done about: it may be that something is about to be, as after a controller has begun.
const HOPELESS_FOR: Duration = Duration::from_secs(10);

/// A session that was taken out, and its host's connections.
struct Parted {
    mount: Arc<Mount>,
    controls: Vec<Control>,
}

impl Instance {
    /// Takes in a session. Its calls go where those of mounts do that have no container of their own, if it `shares` one and there is one,
    /// and else to a container of its own as soon as there is one.
    ///
    /// # Errors
    /// When the instance is not served yet, or not any more, or has that session.
    pub(in crate::gateway) fn join(
        self: &Arc<Self>,
        id: &SessionId,
        door: Door,
        shares: bool,
        told: Option<Vec<KeptPriming>>,
    ) -> Result<(), NotJoined> {
        let name = MountName::Session(id.clone());
        let mount =
            Mount::session(&self.name, id.clone(), self.parts.clock, self.session_requests.clone(), door);
        self.attached.store(true, Ordering::Relaxed);
        self.change(|state| {
            if state.refusal.is_some() || state.closed.is_some() {
                return Err(NotJoined::Refused);
            }
            if state.mounts.contains_key(&name) {
                return Err(NotJoined::Known);
            }
            let shared = shares && state.seats.is_shared(&SlotName::Shared);
            let State { terms, mounts, seats, .. } = state;
            let Some(terms) = terms else { return Err(NotJoined::Unserved) };
            let slot = if shared { SlotName::Shared } else { SlotName::Mount(name.clone()) };
            terms.mounts.insert(name.clone(), slot);
            mounts.insert(name.clone(), mount);
            let memory = &self.parts.memory;
            seats.assign(&terms.mounts, &terms.priming, |mount| memory.last_primed(&self.name, mount));
            if let Some(told) = told {
                seats.restore(&name, told);
            }
            Ok(())
        })
    }

    /// Hosts may come from now on.
    pub(in crate::gateway) fn admit(self: &Arc<Self>, id: &SessionId, listener: Arrivals) {
        let name = MountName::Session(id.clone());
        let mount = self.lock().mounts.get(&name).cloned();
        if let Some(mount) = mount {
            mount.listen(self, listener);
        }
    }

    /// Waits until a container would serve a session's calls, as a call that waits would.
    ///
    /// # Errors
    /// Why none does, when that is known, or at the `deadline`.
    pub(in crate::gateway) async fn joined(
        self: &Arc<Self>,
        id: &SessionId,
        deadline: Instant,
    ) -> Result<Joined, Status> {
        let name = MountName::Session(id.clone());
        let Some(mount) = self.lock().mounts.get(&name).cloned() else {
            return Err(Status::unavailable("the session has ended"));
        };
        // It is needed, as it would be for a call.
        let mut needed = mount.traffic.begin();
        needed.waits();
        let mut changes = self.changes();
        let began = Instant::now();
        let mut hopeless_since = None;
        loop {
            changes.mark_unchanged();
            if let Some(refusal) = self.refusal(&mount) {
                return Err(refusal);
            }
            if let Some(berthed) = self.route(&name, false) {
                return Ok(self.seat_taken(&name, &berthed));
            }
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            let is_hopeless = self.outlook(&mount, None, |outlook| {
                let outlook = outlook.holding(left);
                outlook.may_go_on(Role::Prelude, left, u32::MAX)?;
                Ok::<_, Status>(outlook.is_hopeless())
            })??;
            hopeless_since = is_hopeless.then(|| hopeless_since.unwrap_or(now));
            let until = hopeless_since.map_or(deadline, |since| deadline.min(since + HOPELESS_FOR));
            self.needed(&name);
            if timeout_at(until, changes.changed()).await.is_err() {
                let waited = began.elapsed();
                return Err(self
                    .outlook(&mount, None, |outlook| outlook.holding(waited).waited())
                    .unwrap_or_else(|refusal| refusal));
            }
        }
    }

    fn seat_taken(&self, name: &MountName, berthed: &Berthed) -> Joined {
        let slot = self.lock().slot(name).cloned().unwrap_or(SlotName::Shared);
        Joined { slot, protocol_version: berthed.backend.protocol_version }
    }

    /// A session is over: what its host still has under way ends with `status`, at once or when the drain timeout is over or the host is `gone`.
    pub(in crate::gateway) async fn part(
        self: &Arc<Self>,
        id: &SessionId,
        status: &Status,
        gracefully: bool,
        gone: impl Future<Output = ()>,
    ) {
        let limit = self.lock().drain_timeout();
        let Some(Parted { mount, controls }) = self.take_out(id) else { return };
        if gracefully {
            controls.iter().for_each(Control::drain);
            // Not until they are closed: hosts have streams that never end by themselves.
            let done = async {
                tokio::select! {
                    () = mount.traffic.idle() => {}
                    () = gone => {}
                }
            };
            let _ = timeout(limit, done).await;
        }
        for control in controls {
            control.close(status.clone());
        }
    }

    /// A session is over, and its host's connections end with `status`.
    pub(in crate::gateway) fn remove(self: &Arc<Self>, id: &SessionId, status: &Status) {
        if let Some(parted) = self.take_out(id) {
            parted.controls.iter().for_each(|control| control.close(status.clone()));
        }
    }

    /// Takes a session out.
    fn take_out(self: &Arc<Self>, id: &SessionId) -> Option<Parted> {
        let name = MountName::Session(id.clone());
        let parted = self.change(|state| {
            let mount = state.mounts.remove(&name)?;
            mount.delete();
            state.unkept.remove(&name);
            let State { terms, seats, .. } = state;
            if let Some(terms) = terms {
                terms.mounts.remove(&name);
                seats.assign(&terms.mounts, &terms.priming, |_| None);
            }
            self.parts.memory.unprimed(&self.name, &name);
            let its = state.connections.values().filter(|connection| connection.mount == name);
            let controls = its.map(|connection| connection.control.clone()).collect();
            Some(Parted { mount, controls })
        })?;
        // Its container may be nobody's any more.
        (self.parts.wake)(&self.name);
        Some(parted)
    }

    /// How many calls of a session are over.
    pub(in crate::gateway) fn session_requests(&self, id: &SessionId) -> u64 {
        let name = MountName::Session(id.clone());
        self.lock().mounts.get(&name).map_or(0, |mount| mount.traffic.over())
    }

    /// Waits for a container that serves a session, other than this.
    pub(in crate::gateway) async fn session_container(&self, id: &SessionId, last: Option<&Place>) -> Place {
        let name = MountName::Session(id.clone());
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let place = self.seated(&name).map(|berthed| berthed.backend.place.clone());
            if let Some(place) = place.filter(|place| Some(place) != last) {
                return place;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Tells a session's hand what is settled of it.
    pub(in crate::gateway) fn settle(&self, mount: &MountName) {
        let state = self.lock();
        Self::tell_settled(&state, mount);
    }

    /// The slot of each session, as it is now.
    pub(in crate::gateway) fn session_slot(&self, id: &SessionId) -> Option<SlotName> {
        self.lock().slot(&MountName::Session(id.clone())).cloned()
    }

    /// Tells a session's hand what another controller would have to know of its priming.
    pub(super) fn tell_settled(state: &State, mount: &MountName) {
        let door = state.mounts.get(mount).and_then(|mount| mount.door.as_ref());
        if let Some(door) = door {
            door.hand.settled(state.seats.storable(mount));
        }
    }

    /// Says to a session's hand that what it was told last does not hold any more.
    pub(super) fn tell_unsettled(state: &State, mount: &MountName) {
        let door = state.mounts.get(mount).and_then(|mount| mount.door.as_ref());
        if let Some(door) = door {
            door.hand.unsettled();
        }
    }
}

impl State {
    /// New terms with the sessions that there are: each where it is to be, or where it is.
    pub(super) fn with_sessions<'a>(&self, terms: &'a Terms) -> Cow<'a, Terms> {
        let mut mounts = terms.mounts.keys().chain(self.mounts.keys());
        if !mounts.any(|name| name.session().is_some()) {
            return Cow::Borrowed(terms);
        }
        let mut terms = terms.clone();
        // Others have ended, or not come back yet.
        terms.mounts.retain(|name, _| name.session().is_none() || self.mounts.contains_key(name));
        for name in self.mounts.keys().filter(|name| name.session().is_some()) {
            if !terms.mounts.contains_key(name)
                && let Some(slot) = self.slot(name)
            {
                let slot = slot.clone();
                terms.mounts.insert(name.clone(), slot);
            }
        }
        Cow::Owned(terms)
    }
}
