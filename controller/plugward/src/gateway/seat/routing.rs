//! Where a mount's connections and calls go, and whether they may.

use super::slot::{Berth, Slot};
use super::{Mount, Seats, Serial};
use crate::gateway::multiplex::HostId;
use crate::gateway::priming::{Failure, Role, Standing};
use crate::names::{MountName, SlotName};
use crate::plan::Place;

/// Where a mount's new connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Route<'a> {
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
pub(in crate::gateway) enum Denial<'a> {
    /// It is being told what is kept: soon it may.
    Telling,
    /// It is not told what is kept any more: another container is, or will be.
    Leaving,
    /// It did not take it.
    Failing(&'a Failure),
    /// What it would have to be told is not known.
    Unknown,
}

// === impl Seats ===

impl Seats {
    /// Where a mount's new connections go. `None` if there is no such mount.
    pub(in crate::gateway) fn route(&self, mount: &MountName) -> Option<Route<'_>> {
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
    pub(in crate::gateway) fn seated(&self, mount: &MountName) -> Option<Serial> {
        let slot = &self.mounts.get(mount)?.slot;
        self.slots.get(slot)?.seated
    }

    /// Whether a call of this mount and user may go to a container.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(in crate::gateway) fn admits(
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

    /// The container to which all calls of a mount may go, whoever makes them. Zero if there is none such.
    pub(in crate::gateway) fn admits_all(&self, mount: &MountName) -> Serial {
        let Some(Route::To(serial)) = self.route(mount) else { return 0 };
        let (Some(Mount { kept, .. }), Some((start, berth))) = (self.mounts.get(mount), self.find(serial))
        else {
            return 0;
        };
        let Some(progress) = berth.progress.get(mount) else { return 0 };
        let done = progress.standings(kept, serial, start).all(|standing| standing == Standing::Done);
        if done && kept.knows_all(serial, start) { serial } else { 0 }
    }

    /// How many mounts' connections go to a container.
    pub(in crate::gateway) fn mounts_served(&self, place: &Place) -> usize {
        let Some((_, berth)) = self.at(place) else { return 0 };
        self.mounts.keys().filter(|mount| self.route(mount) == Some(Route::To(berth.serial))).count()
    }
}
