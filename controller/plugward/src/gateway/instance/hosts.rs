//! What hosts' connections ask of an instance, and say.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use plugward_relay::Limits;
use plugward_relay::driver::Control;
use plugward_relay::grpc::Status;
use tokio::sync::watch;

use super::{Berthed, Instance};
use crate::gateway::broker::{Client, HostBroker};
use crate::gateway::method::Method;
use crate::gateway::mount::Mount;
use crate::gateway::outlook::Outlook;
use crate::gateway::priming::PrimingRules;
use crate::gateway::seat::{Route, Serial};
use crate::gateway::terms::Prospect;
use crate::names::{MountName, SlotName};

/// The number of a host's connection.
pub(in crate::gateway) type Id = u64;

/// A host's connection.
pub(super) struct Connection {
    pub(super) mount: MountName,
    /// The host's process, if it has one that we can see.
    pid: Option<i32>,
    pub(super) control: Control,
    /// The container that it goes to.
    pub(super) line: Option<Serial>,
    /// It goes to a container, and has a call that waits until that was told what is kept.
    pub(super) waits: bool,
}

/// A host's connection to a container. When it goes, the container has one less.
pub(in crate::gateway) struct Line {
    instance: Arc<Instance>,
    id: Id,
    serial: Serial,
}

// === impl Connection ===

impl Connection {
    /// Whether it is of a process that uses this mount.
    pub(super) fn is_of(&self, mount: &MountName, client: Client) -> bool {
        self.mount == *mount && client.is_of_process(self.pid)
    }

    /// Whether it is of the host that has this broker.
    pub(super) fn is_of_host(&self, host: &HostBroker) -> bool {
        // A session has one host.
        self.mount == host.mount && (self.mount.session().is_some() || host.client().is_of_process(self.pid))
    }
}

// === impl Instance ===

impl Instance {
    /// What a path is.
    pub(in crate::gateway) fn method(&self, path: &[u8]) -> Method {
        Method::of(path, &self.rules())
    }

    /// By which calls hosts make the plugin usable.
    pub(super) fn rules(&self) -> RwLockReadGuard<'_, PrimingRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for changes of where connections go.
    pub(in crate::gateway) fn changes(&self) -> watch::Receiver<()> {
        let mut changes = self.changed.subscribe();
        changes.mark_unchanged();
        changes
    }

    /// Why no call of this mount is taken, if so.
    pub(in crate::gateway) fn refusal(&self, mount: &Mount) -> Option<Status> {
        if self.refused.load(Ordering::Acquire) {
            let reason = self.lock().refusal.clone().unwrap_or_default();
            return Some(Status::unavailable(format!("plugin instance {}: {reason}", self.name)));
        }
        mount.is_deleted().then(|| self.mount_deleted(mount))
    }

    pub(super) fn mount_deleted(&self, mount: &Mount) -> Status {
        Status::unavailable(format!("mount {} of plugin instance {}: deleted", mount.name, self.name))
    }

    /// What stands between a mount's calls and a plugin: nothing, where their connection goes to a container.
    ///
    /// # Errors
    ///
    /// Why none is taken at all.
    pub(in crate::gateway) fn outlook<R>(
        &self,
        mount: &Mount,
        line: Option<Serial>,
        look: impl FnOnce(Outlook<'_>) -> R,
    ) -> Result<R, Status> {
        if let Some(refusal) = self.refusal(mount) {
            return Err(refusal);
        }
        let state = self.lock();
        let coming = Prospect::Coming;
        let prospect = state.slot(&mount.name).and_then(|slot| state.prospects.get(slot));
        let route = state.seats.route(&mount.name).unwrap_or(Route::Empty);
        let is_being_told =
            |line| matches!(route, Route::Telling) && state.seats.seated(&mount.name) == Some(line);
        Ok(look(Outlook {
            route: line.filter(|line| !is_being_told(*line)).map_or(route, Route::To),
            prospect: prospect.unwrap_or(&coming),
            hold: state.hold(),
            now: self.parts.clock.now(),
        }))
    }

    /// The limits of a new connection.
    pub(in crate::gateway) fn limits(&self) -> Limits {
        Limits { hold_bytes: self.lock().hold().max_bytes, ..Limits::default() }
    }

    /// The container to which a mount's new connections go. `urgent`: one that waits has a call that a plugin answers in any state.
    pub(in crate::gateway) fn route(&self, mount: &MountName, urgent: bool) -> Option<Arc<Berthed>> {
        let state = self.lock();
        let serial = match state.seats.route(mount)? {
            Route::To(serial) => serial,
            Route::Failing(_) if urgent => state.seats.seated(mount)?,
            Route::Failing(_) | Route::Telling | Route::Empty => return None,
        };
        state.berths.get(&serial).cloned()
    }

    /// The container on a mount's seat.
    pub(in crate::gateway) fn seated(&self, mount: &MountName) -> Option<Arc<Berthed>> {
        let state = self.lock();
        state.berths.get(&state.seats.seated(mount)?).cloned()
    }

    /// Whether a slot serves a mount.
    pub(in crate::gateway) fn is_served_by(&self, mount: &MountName, slot: &SlotName) -> bool {
        self.lock().slot(mount) == Some(slot)
    }

    /// Whether a container's conversation stands.
    pub(in crate::gateway) fn is_up(&self, serial: Serial) -> bool {
        self.lock().seats.is_up(serial)
    }

    /// A call of a mount begins to wait: somebody has to see to it, if there is no container.
    pub(in crate::gateway) fn needed(&self, mount: &MountName) {
        if self.lock().seats.seated(mount).is_none() {
            (self.parts.wake)(&self.name);
        }
    }

    /// A container as it is now.
    pub(in crate::gateway) fn berthed(&self, serial: Serial) -> Option<Arc<Berthed>> {
        self.lock().berths.get(&serial).cloned()
    }

    /// A number for a host's connection.
    pub(in crate::gateway) fn number(&self) -> Id {
        self.lock().number()
    }

    /// A host connected.
    pub(in crate::gateway) fn connected(
        &self,
        id: Id,
        mount: &MountName,
        pid: Option<i32>,
        control: Control,
    ) {
        let mut state = self.lock();
        if let Some(status) = &state.closed {
            control.close(status.clone());
        } else if !state.mounts.contains_key(mount) {
            // It went while the host proved who it is.
            control.close(Status::unavailable("the session is over"));
        }
        state
            .connections
            .insert(id, Connection { mount: mount.clone(), pid, control, line: None, waits: false });
    }

    /// A host's connection is over.
    pub(in crate::gateway) fn disconnected(&self, id: Id) {
        self.lock().connections.remove(&id);
    }

    /// A host's connection goes to a container from now on, if new ones of its mount still do.
    pub(in crate::gateway) fn bind(
        self: &Arc<Self>,
        id: Id,
        mount: &MountName,
        berthed: &Berthed,
        urgent: bool,
    ) -> Option<Line> {
        let serial = berthed.serial;
        let mut state = self.lock();
        let goes = match state.seats.route(mount)? {
            Route::To(to) => to == serial,
            Route::Failing(_) => urgent && state.seats.seated(mount) == Some(serial),
            Route::Telling | Route::Empty => false,
        };
        let connection = state.connections.get_mut(&id).filter(|_| goes)?;
        connection.line = Some(serial);
        state.seats.line_begun(serial);
        Some(Line { instance: self.clone(), id, serial })
    }

    /// Moves the other connections of a host away, after it said that it needs its plugin no more.
    pub(in crate::gateway) fn leave(self: &Arc<Self>, id: Id, mount: &MountName, pid: Option<i32>) {
        let state = self.lock();
        for (other, connection) in &state.connections {
            let same = *other == id || pid.is_some() && connection.pid == pid && connection.mount == *mount;
            if same {
                connection.control.drain();
            }
        }
    }

    /// Moves all hosts away, before the gateway ends.
    pub(in crate::gateway) fn drain_all(&self) {
        for connection in self.lock().connections.values() {
            connection.control.drain();
        }
    }

    /// Waits until no connection goes to a container.
    pub(in crate::gateway) async fn without_lines(&self) {
        let mut changes = self.changes();
        while self.lock().connections.values().any(|connection| connection.line.is_some()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The controls of all connections.
    pub(in crate::gateway) fn controls(&self) -> Vec<Control> {
        self.lock().connections.values().map(|connection| connection.control.clone()).collect()
    }
}

// === impl Line ===

impl Drop for Line {
    fn drop(&mut self) {
        self.instance.change(|state| {
            if let Some(connection) = state.connections.get_mut(&self.id) {
                connection.line = None;
            }
            state.seats.line_ended(self.serial);
        });
    }
}
