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

mod routing;
mod slot;
mod telling;
#[cfg(test)]
mod tests;

use litemap::LiteMap;

pub(super) use self::routing::{Denial, Route};
use self::slot::{Berth, Slot};
pub(super) use self::telling::{Primed, Work};
use super::priming::{Failure, Kept, PrimingRules, Standing};
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

    /// How many mounts a slot serves.
    fn mounts_of(&self, slot: &SlotName) -> usize {
        self.mounts.values().filter(|mount| mount.slot == *slot).count()
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
