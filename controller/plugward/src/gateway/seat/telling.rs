//! What containers are told of mounts: by hosts, and again of what hosts had told.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plugward_relay::grpc::Status;

use super::{Mount, Seats, Serial};
use crate::gateway::broker::HostBroker;
use crate::gateway::multiplex::HostId;
use crate::gateway::priming::{Kept, KeptCall, KeptPriming, Standing, Telling, Unkept};
use crate::names::MountName;

/// What is to be done to tell a container of a mount.
#[derive(Debug)]
pub(in crate::gateway) enum Work {
    /// Make these calls.
    Tell(Vec<Telling>),
    /// Look again then, or when something changed.
    Until(Timestamp),
    /// Look again when something changed.
    Change,
    /// Nothing more: another [`Order::Tell`](super::Order::Tell) comes when there is.
    Done,
}

/// How a host's own call ended that concerns the priming.
#[derive(Debug)]
pub(in crate::gateway) enum Primed {
    /// The plugin did it: this is the call, or why it cannot be made again.
    Done(Result<KeptCall, Unkept>),
    /// It was one that undoes what primed the plugin, and the plugin did it.
    Undone,
    /// The plugin did not do it, or nobody knows.
    Failed,
}

// === impl Seats ===

impl Seats {
    /// What the host of a session had told its plugin before, by an earlier controller's word.
    pub(in crate::gateway) fn restore(&mut self, mount: &MountName, told: Vec<KeptPriming>) {
        if let Some(mount) = self.mounts.get_mut(mount) {
            *mount.kept = Kept::restored(told);
        }
        self.settle();
    }

    /// What of a mount another controller could tell again: `None` if that is not all.
    pub(in crate::gateway) fn storable(&self, mount: &MountName) -> Option<Vec<KeptPriming>> {
        let Mount { slot, kept } = self.mounts.get(mount)?;
        let mut berths = self.slots.get(slot).into_iter().flat_map(|slot| slot.berths.values());
        let busy = berths.any(|berth| berth.priming.contains_key(mount));
        if busy { None } else { kept.storable() }
    }

    /// A host's own priming call goes to a container. Gives the number of its start.
    pub(in crate::gateway) fn priming_begun(&mut self, serial: Serial, mount: &MountName) -> Option<u64> {
        let (start, berth) = self.find_mut(serial)?;
        *berth.priming.entry(mount.clone()).or_default() += 1;
        Some(start)
    }

    /// That call is over. `method` is one that primes, or ends that.
    ///
    /// # Errors
    ///
    /// Why it was not kept, if it was done.
    pub(in crate::gateway) fn priming_ended(
        &mut self,
        serial: Serial,
        mount: &MountName,
        host: &HostId,
        method: &str,
        primed: Primed,
    ) -> Result<(), Unkept> {
        let mut result = Ok(());
        let Self { rules, mounts, slots, .. } = self;
        let berths = slots.iter_mut().flat_map(|(_, slot)| slot.berths.iter_mut());
        // It stays until its calls are over.
        let mut berth = berths.into_iter().find(|(_, berth)| berth.serial == serial);
        if let Some((start, berth)) = &mut berth
            && let Some(Mount { kept, .. }) = mounts.get_mut(mount)
            && !matches!(primed, Primed::Failed)
        {
            kept.end(host, rules.ended_by(method));
            if let Primed::Done(call) = primed {
                let (version, kept) = kept.keep(host, method, call, (serial, **start));
                result = kept;
                berth.progress.entry(mount.clone()).or_default().primed(host, version);
            }
        }
        if let Some((_, berth)) = berth {
            let count = berth.priming.entry(mount.clone()).or_default();
            *count = count.saturating_sub(1);
            berth.priming.retain(|_, count| *count > 0);
        }
        self.settle();
        result
    }

    /// The broker of a host of this mount has ended.
    pub(in crate::gateway) fn abandon(&mut self, mount: &MountName, broker: &Arc<HostBroker>) {
        if let Some(Mount { kept, .. }) = self.mounts.get_mut(mount) {
            kept.abandon(broker);
        }
        self.settle();
    }

    /// Whether nothing was told to the mount's plugin, and nothing is being told.
    pub(in crate::gateway) fn is_unprimed(&self, mount: &MountName) -> bool {
        let Some(Mount { slot, kept }) = self.mounts.get(mount) else { return false };
        let mut berths = self.slots.get(slot).into_iter().flat_map(|slot| slot.berths.values());
        kept.is_nothing() && !berths.any(|berth| berth.priming.contains_key(mount))
    }

    /// What is to be done now after an [`Order::Tell`](super::Order::Tell).
    pub(in crate::gateway) fn work(&mut self, serial: Serial, mount: &MountName, now: Timestamp) -> Work {
        let Self { rules, mounts, slots, .. } = self;
        let berths = slots
            .iter_mut()
            .flat_map(|(name, slot)| slot.berths.iter_mut().map(move |(_, berth)| (name, berth)));
        let Some((slot, berth)) = berths.into_iter().find(|(_, berth)| berth.serial == serial) else {
            return Work::Done;
        };
        let is_usable = berth.is_usable();
        let Some(progress) = berth.progress.get_mut(mount) else { return Work::Done };
        let Some(Mount { kept, .. }) = mounts.get(mount).filter(|mount| is_usable && mount.slot == *slot)
        else {
            progress.running = false;
            return Work::Done;
        };
        match (progress.is_due(kept, rules, now), progress.next(kept)) {
            // What is told now would come before or after what a host is telling: nobody would know which.
            (true, _) if berth.priming.contains_key(mount) => Work::Change,
            (true, _) => Work::Tell(progress.begin(kept, rules, now)),
            (false, Some(next)) => Work::Until(next),
            (false, None) => {
                progress.running = false;
                Work::Done
            }
        }
    }

    /// A user's calls were made again on a container. Gives the number of its start if it was told all of that mount now.
    pub(in crate::gateway) fn told(
        &mut self,
        serial: Serial,
        mount: &MountName,
        telling: &Telling,
        result: Result<(), Status>,
        now: Timestamp,
        delay: impl FnOnce(u32) -> Duration,
    ) -> Option<u64> {
        if let Some((_, berth)) = self.find_mut(serial)
            && let Some(progress) = berth.progress.get_mut(mount)
        {
            // What a container did not answer that is gone says nothing of what it would have answered.
            let result = Some(result).filter(|result| berth.up || result.is_ok());
            let beside = berth.priming.contains_key(mount);
            progress.told(&telling.host, telling.version, result, beside, now, delay);
        }
        self.settle();
        let (start, berth) = self.find(serial)?;
        let kept = &self.mounts.get(mount)?.kept;
        let mut standings = berth.progress.get(mount)?.standings(kept, serial, start);
        standings.all(|standing| standing == Standing::Done).then_some(start)
    }
}
