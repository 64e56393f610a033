//! Who serves what: the containers of an instance's slots, and what each was told of each mount. Pure: no I/O, no clock, no tasks.
//!
//! A slot has one *seat*, and at most one container on it: new connections of the slot's mounts go there. A container with a higher start
//! number follows it only when it was told all that hosts had told; on an empty seat it sits down at once, and serves each mount as soon as
//! it was told what is kept of that one. Whoever loses the seat for another, or is withdrawn, gets no new connections.
//!
//! A host's priming call that is under way keeps the seat where it is: else its plugin would be left with what nobody was told.
//!
//! # Guarantees
//!
//! - Of one slot, never are two containers seated.
//! - No call that needs a primed plugin is [admitted](Seats::admits) to a container that was not told the last that the call's user had
//!   told.
//! - Where there is a container, a mount waits only while somebody is at telling it, or until the time at which it is told again.

mod slot;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use litemap::LiteMap;
use plugward_relay::grpc::Status;

use self::slot::{Berth, Slot};
use super::broker::HostBroker;
use super::multiplex::HostId;
use super::priming::{Failure, Kept, KeptCall, KeptPriming, PrimingRules, Role, Standing, Telling, Unkept};
use super::terms::ServiceSight;
use crate::names::{MountName, SlotName};
use crate::plan::Place;

/// Names one container among all that the gateway was ever told of. Greater than zero.
pub(super) type Serial = u64;

/// The slots and mounts of one instance. Most have one of each: hence the flat maps.
#[derive(Debug, Default)]
pub(super) struct Seats {
    rules: PrimingRules,
    mounts: LiteMap<MountName, Mount>,
    slots: LiteMap<SlotName, Slot>,
    orders: Vec<Order>,
}

#[derive(Debug)]
struct Mount {
    slot: SlotName,
    kept: Box<Kept>,
}

/// What follows from a change, for somebody who can do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Move the hosts away from this container.
    Drain(Serial),
    /// Make its [work](Seats::work) on this container for this mount, until that is done.
    Tell(Serial, MountName),
}

/// Where a mount's new connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// To this container.
    To(Serial),
    /// To none yet: the container is being told what is kept.
    Telling,
    /// To none yet, unless for a call that a plugin in this state answers: the container did not take what it was told.
    Failing(&'a Failure),
    /// There is no container.
    Empty,
}

/// Why a call must not reach a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial<'a> {
    /// It is being told what is kept: soon it may.
    Telling,
    /// It is not told what is kept any more: another container is, or will be.
    Leaving,
    /// It did not take it.
    Failing(&'a Failure),
    /// What it would have to be told is not known.
    Unknown,
}

/// What is to be done to tell a container of a mount.
#[derive(Debug)]
pub(super) enum Work {
    /// Make these calls.
    Tell(Vec<Telling>),
    /// Look again then, or when something changed.
    Until(Timestamp),
    /// Look again when something changed.
    Change,
    /// Nothing more: another [`Order::Tell`] comes when there is.
    Done,
}

/// How a host's own call ended that concerns the priming.
#[derive(Debug)]
pub(super) enum Primed {
    /// The plugin did it: this is the call, or why it cannot be made again.
    Done(Result<KeptCall, Unkept>),
    /// It was one that undoes what primed the plugin, and the plugin did it.
    Undone,
    /// The plugin did not do it, or nobody knows.
    Failed,
}

// === impl Seats ===

impl Seats {
    /// Orders that came since they were last taken.
    pub(super) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// The mounts, their slots, and what primes them. `recall` says of which start an earlier controller knew that it had primed a mount.
    pub(super) fn assign(
        &mut self,
        mounts: &LiteMap<MountName, SlotName>,
        rules: &PrimingRules,
        recall: impl Fn(&MountName) -> Option<u64>,
    ) {
        self.mounts.retain(|name, _| mounts.contains_key(name));
        for (name, slot) in mounts.iter() {
            let new = || Mount { slot: slot.clone(), kept: Box::new(Kept::recalling(recall(name))) };
            self.mounts.entry(name.clone()).or_insert_with(new).slot.clone_from(slot);
        }
        if self.rules != *rules {
            self.rules = rules.clone();
            for (_, mount) in self.mounts.iter_mut() {
                mount.kept.apply(rules);
            }
        }
        for (_, berth) in self.slots.iter_mut().flat_map(|(_, slot)| slot.berths.iter_mut()) {
            berth.progress.retain(|name, _| mounts.contains_key(name));
        }
        self.settle();
    }

    /// What the host of a session had told its plugin before, by an earlier controller's word.
    pub(super) fn restore(&mut self, mount: &MountName, told: Vec<KeptPriming>) {
        if let Some(mount) = self.mounts.get_mut(mount) {
            *mount.kept = Kept::restored(told);
        }
        self.settle();
    }

    /// What of a mount another controller could tell again: `None` if that is not all.
    pub(super) fn storable(&self, mount: &MountName) -> Option<Vec<KeptPriming>> {
        let Mount { slot, kept } = self.mounts.get(mount)?;
        let mut berths = self.slots.get(slot).into_iter().flat_map(|slot| slot.berths.values());
        let busy = berths.any(|berth| berth.priming.contains_key(mount));
        if busy { None } else { kept.storable() }
    }

    /// Whether one container serves all from a slot.
    pub(super) fn is_shared(&self, slot: &SlotName) -> bool {
        self.slots.get(slot).and_then(Slot::seated).is_some_and(|(_, berth)| berth.multiplexes)
    }

    /// A container's conversation stands. Gives its serial: `new`, if it was not known.
    /// A spare that was promoted stays where it is, whatever its session believes.
    pub(super) fn up(
        &mut self,
        slot: &SlotName,
        start: u64,
        place: &Place,
        multiplexes: bool,
        new: Serial,
    ) -> Serial {
        let (slot, start) = self.located(place).unwrap_or_else(|| (slot.clone(), start));
        let berths = &mut self.slots.entry(slot).or_default().berths;
        if berths.get(&start).is_some_and(|berth| berth.place != *place) {
            berths.remove(&start);
        }
        let new = || Box::new(Berth::new(new, place, multiplexes));
        let berth = berths.entry(start).or_insert_with(new);
        berth.up = true;
        let serial = berth.serial;
        self.settle();
        serial
    }

    /// A container's conversation ended. What it was told is remembered: it may stand again. If it was on a seat, a spare
    /// takes that.
    pub(super) fn down(&mut self, place: &Place) {
        let lost = self.located(place).filter(|(slot, _)| {
            let seated = self.slots.get(slot).and_then(Slot::seated);
            seated.is_some_and(|(_, berth)| berth.place == *place && berth.is_usable())
        });
        if let Some((_, berth)) = self.at_mut(place) {
            berth.up = false;
        }
        if let Some((slot, start)) = lost
            && let Some(spare) = self.spare_for(&slot)
        {
            self.promote(&spare, &slot, start + 1);
        }
        self.settle();
    }

    /// A container that could take the seat of a slot at once.
    fn spare_for(&self, slot: &SlotName) -> Option<Place> {
        let served = self.mounts_of(slot) > 0;
        let usable = |slot: &Slot| slot.berths.values().any(|berth| berth.is_usable());
        if !served || self.slots.get(slot).is_some_and(usable) {
            return None;
        }
        let spares = self.slots.iter().filter(|(name, _)| name.is_spare());
        let mut ready = spares.filter_map(|(_, slot)| slot.seated().filter(|(_, berth)| berth.is_usable()));
        ready.next().map(|(_, berth)| berth.place.clone())
    }

    /// A spare goes to another slot, as the start of this number. Nothing happens if it is there.
    pub(super) fn promote(&mut self, place: &Place, slot: &SlotName, start: u64) {
        let Some((from, number)) = self.located(place) else { return };
        if from == *slot {
            return;
        }
        let spare = self.slots.get_mut(&from).and_then(|from| from.berths.remove(&number));
        if let Some(spare) = spare {
            self.slots.entry(slot.clone()).or_default().berths.insert(start, spare);
        }
        self.settle();
    }

    /// Where a container is, and the number of its start there.
    pub(super) fn located(&self, place: &Place) -> Option<(SlotName, u64)> {
        self.slots.iter().find_map(|(name, slot)| {
            let found = slot.berths.iter().find(|(_, berth)| berth.place == *place);
            found.map(|(start, _)| (name.clone(), *start))
        })
    }

    /// A container gets no new connections, ever.
    pub(super) fn withdraw(&mut self, place: &Place) {
        if let Some((_, berth)) = self.at_mut(place)
            && !berth.leaving
        {
            berth.leaving = true;
            let serial = berth.serial;
            self.orders.push(Order::Drain(serial));
        }
        self.settle();
    }

    /// All containers get no new connections, ever.
    pub(super) fn withdraw_all(&mut self) {
        for place in self.places() {
            self.withdraw(&place);
        }
    }

    /// The containers.
    pub(super) fn places(&self) -> Vec<Place> {
        self.slots.values().flat_map(|slot| slot.berths.values()).map(|berth| berth.place.clone()).collect()
    }

    /// Whether a container is known.
    pub(super) fn knows(&self, serial: Serial) -> bool {
        self.find(serial).is_some()
    }

    /// Whether a container's conversation stands.
    pub(super) fn is_up(&self, serial: Serial) -> bool {
        self.find(serial).is_some_and(|(_, berth)| berth.up)
    }

    /// A host's connection goes to a container.
    pub(super) fn line_begun(&mut self, serial: Serial) {
        if let Some((_, berth)) = self.find_mut(serial) {
            berth.lines += 1;
        }
    }

    /// A host's connection to a container is over.
    pub(super) fn line_ended(&mut self, serial: Serial) {
        if let Some((_, berth)) = self.find_mut(serial) {
            berth.lines -= 1;
        }
        self.settle();
    }

    /// A host's own priming call goes to a container. Gives the number of its start.
    pub(super) fn priming_begun(&mut self, serial: Serial, mount: &MountName) -> Option<u64> {
        let (start, berth) = self.find_mut(serial)?;
        *berth.priming.entry(mount.clone()).or_default() += 1;
        Some(start)
    }

    /// That call is over. `method` is one that primes, or ends that.
    ///
    /// # Errors
    ///
    /// Why it was not kept, if it was done.
    pub(super) fn priming_ended(
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
    pub(super) fn abandon(&mut self, mount: &MountName, broker: &Arc<HostBroker>) {
        if let Some(Mount { kept, .. }) = self.mounts.get_mut(mount) {
            kept.abandon(broker);
        }
        self.settle();
    }

    /// Whether nothing was told to the mount's plugin, and nothing is being told.
    pub(super) fn is_unprimed(&self, mount: &MountName) -> bool {
        let Some(Mount { slot, kept }) = self.mounts.get(mount) else { return false };
        let mut berths = self.slots.get(slot).into_iter().flat_map(|slot| slot.berths.values());
        kept.is_nothing() && !berths.any(|berth| berth.priming.contains_key(mount))
    }

    /// Where a mount's new connections go. `None` if there is no such mount.
    pub(super) fn route(&self, mount: &MountName) -> Option<Route<'_>> {
        let Mount { slot, kept } = self.mounts.get(mount)?;
        let Some((start, berth)) = self.slots.get(slot).and_then(Slot::seated) else {
            return Some(Route::Empty);
        };
        let strays = mount.session().is_some() && *slot == SlotName::Shared && !berth.multiplexes;
        if strays || !berth.suits(self.mounts_of(slot)) {
            // Until it is known that the plugin does not multiplex, and each mount has a slot of its own.
            return Some(Route::Empty);
        }
        let Some(progress) = berth.progress.get(mount) else { return Some(Route::Telling) };
        let (mut users, mut worst) = (0, Vec::new());
        for standing in progress.standings(kept, berth.serial, start) {
            users += 1;
            match standing {
                Standing::Owed => return Some(Route::Telling),
                Standing::Failing(failure) => worst.push(failure),
                Standing::Done | Standing::Unknown => {}
            }
        }
        // One user's failure is not the others'. Whom a call is from is looked at when it goes.
        let next = worst.iter().min_by_key(|failure| failure.again_at);
        Some(match next {
            Some(failure) if worst.len() == users => Route::Failing(failure),
            _ => Route::To(berth.serial),
        })
    }

    /// The container on the seat of a mount's slot, whatever its state.
    pub(super) fn seated(&self, mount: &MountName) -> Option<Serial> {
        let slot = &self.mounts.get(mount)?.slot;
        self.slots.get(slot)?.seated
    }

    /// Whether a call of this mount and user may go to a container.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn admits(
        &self,
        serial: Serial,
        mount: &MountName,
        host: &HostId,
        role: Role,
    ) -> Result<(), Denial<'_>> {
        if role != Role::Work {
            return Ok(());
        }
        let (Some(Mount { kept, slot }), Some((start, berth))) = (self.mounts.get(mount), self.find(serial))
        else {
            // Neither is any more: the connection is being closed.
            return Err(Denial::Leaving);
        };
        let standing = berth.progress.get(mount).map(|progress| progress.standing(kept, host, serial, start));
        match standing {
            Some(Standing::Done) => Ok(()),
            Some(Standing::Owed) | None if self.is_to_be_told(slot, start, berth) => Err(Denial::Telling),
            Some(Standing::Owed) | None => Err(Denial::Leaving),
            Some(Standing::Failing(failure)) => Err(Denial::Failing(failure)),
            Some(Standing::Unknown) => Err(Denial::Unknown),
        }
    }

    /// Whether somebody sees to it that a container, of this start, is told what is kept of the mounts of a slot.
    fn is_to_be_told(&self, slot: &SlotName, start: u64, berth: &Berth) -> bool {
        let there = self.slots.get(slot).and_then(|slot| slot.berths.get(&start));
        let is_there = there.is_some_and(|there| there.serial == berth.serial);
        is_there && berth.is_usable() && berth.suits(self.mounts_of(slot))
    }

    /// How many mounts a slot serves.
    fn mounts_of(&self, slot: &SlotName) -> usize {
        self.mounts.values().filter(|mount| mount.slot == *slot).count()
    }

    /// The container to which all calls of a mount may go, whoever makes them. Zero if there is none such.
    pub(super) fn admits_all(&self, mount: &MountName) -> Serial {
        let Some(Route::To(serial)) = self.route(mount) else { return 0 };
        let (Some(Mount { kept, .. }), Some((start, berth))) = (self.mounts.get(mount), self.find(serial))
        else {
            return 0;
        };
        let Some(progress) = berth.progress.get(mount) else { return 0 };
        let done = progress.standings(kept, serial, start).all(|standing| standing == Standing::Done);
        if done && kept.knows_all(serial, start) { serial } else { 0 }
    }

    /// What is to be done now after an [`Order::Tell`].
    pub(super) fn work(&mut self, serial: Serial, mount: &MountName, now: Timestamp) -> Work {
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
    pub(super) fn told(
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

    /// How many mounts' connections go to a container.
    pub(super) fn mounts_served(&self, place: &Place) -> usize {
        let Some((_, berth)) = self.at(place) else { return 0 };
        self.mounts.keys().filter(|mount| self.route(mount) == Some(Route::To(berth.serial))).count()
    }

    /// How a container serves.
    pub(super) fn sight(&self, place: &Place) -> ServiceSight {
        let Some((start, berth)) = self.at(place) else { return ServiceSight::None };
        if berth.leaving {
            // A call that is made for a host has no line.
            let in_use = berth.lines > 0 || !berth.priming.is_empty();
            return if in_use { ServiceSight::Draining } else { ServiceSight::Drained };
        }
        if !berth.up {
            return ServiceSight::None;
        }
        let slot = self
            .slots
            .iter()
            .find(|(_, slot)| slot.berths.values().any(|other| other.serial == berth.serial));
        let Some((name, slot)) = slot else { return ServiceSight::None };
        let mut owed = false;
        let mut failing: Option<(&MountName, &Failure)> = None;
        let mut unknown = Vec::new();
        for (mount, Mount { kept, .. }) in self.mounts.iter().filter(|(_, mount)| mount.slot == *name) {
            let Some(progress) = berth.progress.get(mount) else { continue };
            for standing in progress.standings(kept, berth.serial, start) {
                match standing {
                    Standing::Owed => owed = true,
                    Standing::Failing(failure)
                        if failing.is_none_or(|(_, other)| failure.again_at < other.again_at) =>
                    {
                        failing = Some((mount, failure));
                    }
                    Standing::Failing(_) | Standing::Done | Standing::Unknown => {}
                }
            }
            if !kept.knows_enough(berth.serial, start) {
                unknown.push(mount.clone());
            }
        }
        let seated = slot.seated == Some(berth.serial);
        if let Some((mount, failure)) = failing {
            // Not the plugin's words: they may repeat what it was told.
            let message = format!("mount {mount}: {} when it was told again", failure.status.code.as_str());
            ServiceSight::PrimingFailed { message, again_at: failure.again_at }
        } else if owed {
            ServiceSight::Priming
        } else if seated {
            ServiceSight::Serving
        } else if !unknown.is_empty() {
            ServiceSight::PrimingUnknown { mounts: unknown }
        } else {
            ServiceSight::Priming
        }
    }

    fn at(&self, place: &Place) -> Option<(u64, &Berth)> {
        self.berths().find(|(_, berth)| berth.place == *place)
    }

    fn find(&self, serial: Serial) -> Option<(u64, &Berth)> {
        self.berths().find(|(_, berth)| berth.serial == serial)
    }

    fn berths(&self) -> impl Iterator<Item = (u64, &Berth)> {
        self.slots.values().flat_map(|slot| slot.berths.iter().map(|(start, berth)| (*start, &**berth)))
    }

    fn at_mut(&mut self, place: &Place) -> Option<(u64, &mut Berth)> {
        self.berths_mut().find(|(_, berth)| berth.place == *place)
    }

    fn find_mut(&mut self, serial: Serial) -> Option<(u64, &mut Berth)> {
        self.berths_mut().find(|(_, berth)| berth.serial == serial)
    }

    fn berths_mut(&mut self) -> impl Iterator<Item = (u64, &mut Berth)> {
        self.slots
            .iter_mut()
            .flat_map(|(_, slot)| slot.berths.iter_mut().map(|(start, berth)| (*start, &mut **berth)))
    }

    /// What follows from any change.
    fn settle(&mut self) {
        let Self { rules: _, mounts, slots, orders } = self;
        for (name, slot) in slots.iter_mut() {
            let mounts: Vec<(&MountName, &Kept)> = mounts
                .iter()
                .filter(|(_, mount)| mount.slot == *name)
                .map(|(name, mount)| (name, &*mount.kept))
                .collect();
            for (mount, kept) in &mounts {
                for (_, berth) in slot.berths.iter_mut() {
                    let busy = berth.priming.contains_key(*mount);
                    berth.progress.entry((*mount).clone()).or_default().prune(kept, busy);
                }
            }
            slot.settle(&mounts, orders);
        }
        slots.retain(|_, slot| !slot.berths.is_empty());
    }
}
