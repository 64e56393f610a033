//! The sessions that there are, and those that may come back.
//!
//! A controller that has just begun does not know yet which hosts go on: their launchers come back within moments. What such sessions had
//! to themselves is kept for so long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugward_api::Name;

use super::passed::Passed;
use super::session::{Ending, Session};
use crate::names::{MountName, SessionId, SlotName};
use crate::session::Wake;
use crate::state::State;

/// The sessions of a controller. Clones share them.
#[derive(Clone)]
pub struct Roster {
    wake: Wake,
    entries: Arc<Mutex<BTreeMap<SessionId, Entry>>>,
}

enum Entry {
    /// An earlier controller had it.
    Awaited(Name),
    Here(Arc<Session>),
}

/// A session as its instance's containers are planned for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its id.
    pub id: SessionId,
    /// What its host wants of a container of its own. `None` while it is awaited: its container stays as it is.
    pub wishes: Option<Wishes>,
}

/// What a host wants of the container that is its session's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// The variables that are passed on to it.
    pub passed: Passed,
    /// Whether the host has one connection for all that its broker does: such a one meets only a plugin that has, too.
    pub multiplexed: bool,
}

/// Why a session is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotEntered {
    /// So many are there.
    Full,
    /// It is there.
    Known,
}

impl Roster {
    /// Those of which `state` remembers containers. `wake` is called when an instance has other sessions than before.
    pub fn new(state: &State, wake: Wake) -> Self {
        let awaited = state.all_slots().into_iter().filter_map(|(instance, slot, _)| match slot {
            SlotName::Mount(MountName::Session(id)) => Some((id, Entry::Awaited(instance))),
            _ => None,
        });
        Self { wake, entries: Arc::new(Mutex::new(awaited.collect())) }
    }

    /// The sessions of an instance.
    pub fn of(&self, instance: &Name) -> Vec<Guest> {
        let entries = self.lock();
        let its = entries.iter().filter(|(_, entry)| entry.instance() == instance);
        its.map(|(id, entry)| Guest { id: id.clone(), wishes: entry.wishes() }).collect()
    }

    /// Those who wait for a session no longer do: it has not come back.
    pub(super) fn give_up(&self) {
        let mut given_up = Vec::new();
        self.lock().retain(|_, entry| match entry {
            Entry::Awaited(instance) => {
                given_up.push(instance.clone());
                false
            }
            Entry::Here(_) => true,
        });
        for instance in given_up {
            tracing::info!(%instance, "a session has not come back: what it had goes");
            (self.wake)(&instance);
        }
    }

    /// A session begins, if its instance has fewer than so many: those do not count that may come back. One that does comes in any case.
    pub(super) fn enter(&self, session: &Arc<Session>, most: Option<usize>) -> Result<(), NotEntered> {
        let mut entries = self.lock();
        if let Some(Entry::Here(_)) = entries.get(&session.id) {
            return Err(NotEntered::Known);
        }
        let here = |entry: &&Entry| matches!(entry, Entry::Here(other) if other.instance == session.instance);
        if most.is_some_and(|most| entries.values().filter(here).count() >= most) {
            return Err(NotEntered::Full);
        }
        entries.insert(session.id.clone(), Entry::Here(session.clone()));
        Ok(())
    }

    /// A session is over.
    pub(super) fn leave(&self, session: &Session) {
        self.lock().remove(&session.id);
        (self.wake)(&session.instance);
    }

    /// Those that are here.
    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        let entries = self.lock();
        let here = entries.values().filter_map(|entry| match entry {
            Entry::Here(session) => Some(session.clone()),
            Entry::Awaited(_) => None,
        });
        here.collect()
    }

    /// Ends all sessions: their plugins go, too.
    pub fn end_all(&self) {
        for session in self.sessions() {
            session.end(Ending::Deleted);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Entry>> {
        // Each change is complete when it could be interrupted.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn instance(&self) -> &Name {
        match self {
            Self::Awaited(instance) => instance,
            Self::Here(session) => &session.instance,
        }
    }

    fn wishes(&self) -> Option<Wishes> {
        match self {
            Self::Awaited(_) => None,
            Self::Here(session) => {
                Some(Wishes { passed: session.passed.clone(), multiplexed: session.asks.multiplexes() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
