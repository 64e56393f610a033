//! One slot: who is on its seat.

use litemap::LiteMap;

use super::{Order, Serial};
use crate::gateway::priming::{Kept, Progress, Standing};
use crate::names::MountName;
use crate::plan::Place;

/// A slot: its seat, and the containers that are on it, may follow, or leave.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) seated: Option<Serial>,
    /// By the numbers of their starts. In boxes, as most values of this module's maps: a map has room for four, and most
    /// have one.
    pub(super) berths: LiteMap<u64, Box<Berth>>,
}

/// One container.
#[derive(Debug)]
pub(super) struct Berth {
    pub(super) serial: Serial,
    pub(super) place: Place,
    /// It tells mounts apart.
    pub(super) multiplexes: bool,
    /// Its conversation stands.
    pub(super) up: bool,
    /// It gets no new connections, ever.
    pub(super) leaving: bool,
    pub(super) progress: LiteMap<MountName, Box<Progress>>,
    /// Connections of hosts to it.
    pub(super) lines: usize,
    /// Calls that prime it, under way: how many of which mount.
    pub(super) priming: LiteMap<MountName, usize>,
}

// === impl Slot ===

impl Slot {
    pub(super) fn seated(&self) -> Option<(u64, &Berth)> {
        let seated = self.seated?;
        self.berths.iter().find(|(_, berth)| berth.serial == seated).map(|(start, berth)| (*start, &**berth))
    }

    /// Who is seated, and what is to be done about the others, after any change.
    pub(super) fn settle(&mut self, mounts: &[(&MountName, &Kept)], orders: &mut Vec<Order>) {
        let newest = self
            .berths
            .iter()
            .rev()
            .find(|(_, berth)| berth.is_usable())
            .map(|(start, berth)| (*start, &**berth));
        self.seated = match (self.seated().filter(|(_, berth)| berth.is_usable()), newest) {
            (None, newest) => newest.map(|(_, berth)| berth.serial),
            (Some((_, seated)), None) => Some(seated.serial),
            (Some((from, seated)), Some((to, follower))) => {
                // A priming call that the seated one is in the middle of would be missed by the other.
                let follows = to > from && seated.priming.is_empty() && follower.is_told(to, mounts);
                Some(if follows { follower.serial } else { seated.serial })
            }
        };
        let seated = self.seated().map(|(start, _)| start);
        for (start, berth) in self.berths.iter_mut() {
            if berth.is_usable() && seated.is_some_and(|seated| *start < seated) {
                berth.leaving = true;
                orders.push(Order::Drain(berth.serial));
            }
            if !berth.is_usable() {
                continue;
            }
            if !berth.suits(mounts.len()) {
                continue;
            }
            for (mount, kept) in mounts {
                let Some(progress) = berth.progress.get_mut(*mount) else { continue };
                let owed = progress
                    .standings(kept, berth.serial, *start)
                    .any(|standing| matches!(standing, Standing::Owed | Standing::Failing(_)));
                if owed && !std::mem::replace(&mut progress.running, true) {
                    orders.push(Order::Tell(berth.serial, (*mount).clone()));
                }
            }
        }
        self.berths.retain(|start, berth| {
            let in_use = berth.up || berth.lines > 0 || !berth.priming.is_empty();
            // One that only lost its conversation may find it again, until another took its place.
            in_use || !berth.leaving && seated.is_none_or(|seated| *start >= seated)
        });
    }
}

// === impl Berth ===

impl Berth {
    pub(super) fn new(serial: Serial, place: &Place, multiplexes: bool) -> Self {
        Self {
            serial,
            place: place.clone(),
            multiplexes,
            up: false,
            leaving: false,
            progress: LiteMap::new(),
            lines: 0,
            priming: LiteMap::new(),
        }
    }

    /// Whether it may serve so many mounts: one that does not tell them apart would mix up what their hosts tell it.
    pub(super) const fn suits(&self, mounts: usize) -> bool {
        self.multiplexes || mounts <= 1
    }

    /// Whether it may get connections.
    pub(super) fn is_usable(&self) -> bool {
        self.up && !self.leaving
    }

    /// Whether it was told all that there is to tell.
    fn is_told(&self, start: u64, mounts: &[(&MountName, &Kept)]) -> bool {
        mounts.iter().all(|(mount, kept)| {
            let told = self.progress.get(*mount).is_some_and(|progress| {
                progress.standings(kept, self.serial, start).all(|standing| standing == Standing::Done)
            });
            told && kept.knows_enough(self.serial, start)
        })
    }
}
