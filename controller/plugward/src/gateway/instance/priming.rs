//! What is said of the priming: by calls on their way to a container, and by those who tell containers what is kept.

use std::sync::Arc;

use plugward_relay::Stop;
use plugward_relay::grpc::Status;

use super::{Berthed, Id, Instance};
use crate::gateway::backend;
use crate::gateway::multiplex::HostId;
use crate::gateway::outlook;
use crate::gateway::priming::{KeptCall, Role, Telling, Unkept};
use crate::gateway::replay;
use crate::gateway::seat::{Primed, Serial, Work};
use crate::gateway::terms::Broken;
use crate::names::MountName;

/// A host's own call that concerns the priming, on its way at a container.
pub(in crate::gateway) struct PrimingCall {
    instance: Arc<Instance>,
    mount: MountName,
    serial: Serial,
    /// The number of the container's start.
    start: u64,
    host: HostId,
    method: String,
    /// How it ended, until that was said.
    primed: Option<Primed>,
}

/// A container that a host's call is made to, which keeps its seat until the call is over.
pub(in crate::gateway) struct Seated {
    pub(in crate::gateway) berthed: Arc<Berthed>,
    pub(in crate::gateway) priming: PrimingCall,
}

// === impl Instance ===

impl Instance {
    /// The container that a call is to be made to that concerns the priming, if there is one.
    pub(in crate::gateway) fn take_seat(
        self: &Arc<Self>,
        mount: &MountName,
        host: &HostId,
        method: &str,
        role: Role,
    ) -> Option<Seated> {
        let berthed = self.route(mount, true)?;
        if berthed.backend.broker_spent && method == backend::SETUP {
            self.broke(&berthed, Broken::Broker);
            return None;
        }
        let host = if berthed.backend.multiplexes { host.clone() } else { HostId::NONE };
        let priming = self.priming(berthed.serial, mount, host, method.to_owned(), role)?;
        // From now on it keeps its seat, if it had not lost it.
        let is_seated = self.seated(mount).is_some_and(|seated| seated.serial == berthed.serial);
        is_seated.then_some(Seated { berthed, priming })
    }

    /// Whether a call of a connection may go to the container that this goes to.
    ///
    /// # Errors
    ///
    /// What becomes of it if not. If it is to wait, the connection is asked again when something changed.
    pub(in crate::gateway) fn admits(
        &self,
        connection: Id,
        serial: Serial,
        mount: &MountName,
        host: &HostId,
        role: Role,
    ) -> Result<(), Stop> {
        let mut state = self.lock();
        let admitted = state.seats.admits(serial, mount, host, role).map_err(outlook::denied);
        if admitted == Err(Stop::Wait)
            && let Some(connection) = state.connections.get_mut(&connection)
        {
            connection.waits = true;
        }
        admitted
    }

    /// A host's own call that concerns the priming goes to a container.
    pub(in crate::gateway) fn priming(
        self: &Arc<Self>,
        serial: Serial,
        mount: &MountName,
        host: HostId,
        method: String,
        role: Role,
    ) -> Option<PrimingCall> {
        let mut state = self.lock();
        // Else it is remembered already that the mount was primed, and on which start: this one is not, before the call succeeded.
        let is_first = state.seats.is_unprimed(mount);
        let start = state.seats.priming_begun(serial, mount)?;
        Self::tell_unsettled(&state, mount);
        if role == Role::Primes && is_first {
            self.parts.memory.primed(&self.name, mount, start);
        }
        drop(state);
        let (instance, mount, primed) = (self.clone(), mount.clone(), Some(Primed::Failed));
        Some(PrimingCall { instance, mount, serial, start, host, method, primed })
    }

    /// What is to be told a container now, of a mount.
    pub(in crate::gateway) fn work(&self, serial: Serial, mount: &MountName) -> Work {
        let mut state = self.lock();
        if state.closed.is_some() {
            return Work::Done;
        }
        state.seats.work(serial, mount, self.parts.clock.now())
    }

    /// A container was told, and took it or not.
    pub(in crate::gateway) fn told(
        self: &Arc<Self>,
        serial: Serial,
        mount: &MountName,
        telling: &Telling,
        result: Result<(), Status>,
    ) {
        let now = self.parts.clock.now();
        self.change(|state| {
            if let Some(start) = state.seats.told(serial, mount, telling, result, now, replay::delay) {
                self.parts.memory.primed(&self.name, mount, start);
            }
        });
    }
}

// === impl PrimingCall ===

impl PrimingCall {
    /// The plugin did it: what primes it.
    pub(in crate::gateway) fn primed(mut self, call: Result<KeptCall, Unkept>) {
        self.primed = Some(Primed::Done(call));
    }

    /// The plugin did it: what undoes that.
    pub(in crate::gateway) fn undone(mut self) {
        self.primed = Some(Primed::Undone);
    }
}

impl Drop for PrimingCall {
    fn drop(&mut self) {
        let Some(primed) = self.primed.take() else { return };
        let Self { instance, mount, serial, start, host, method, .. } = self;
        let primes = matches!(primed, Primed::Done(_));
        instance.change(|state| {
            match state.seats.priming_ended(*serial, mount, host, method, primed) {
                Ok(()) if primes => {
                    state.unkept.remove(mount);
                }
                Ok(()) => {}
                Err(why) => {
                    tracing::warn!(
                        instance = %instance.name, %mount, method, %why,
                        "a priming call is not kept: after a restart of the plugin its host has to make it again"
                    );
                    state.unkept.insert(mount.clone(), why);
                }
            }
            Instance::tell_settled(state, mount);
            if primes {
                instance.parts.memory.primed(&instance.name, mount, *start);
            } else if state.seats.is_unprimed(mount) {
                instance.parts.memory.unprimed(&instance.name, mount);
            }
        });
    }
}
