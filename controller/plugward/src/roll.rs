//! The roll token: of the instances of one runtime, one at a time has its container replaced.
//!
//! An instance that fails to become ready after its replacement halts the roll: the others keep what they
//! have until somebody edits a record of that runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use plugward_api::Name;

/// The tokens of all runtimes. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Rolls(Arc<Mutex<BTreeMap<Name, Roll>>>);

#[derive(Debug, Default)]
struct Roll {
    holder: Option<Holder>,
    waiting: BTreeSet<Name>,
}

#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// It is being replaced.
    Replacing(Name),
    /// Its replacement failed: nobody else's begins.
    Halted(Name),
}

impl Rolls {
    /// Whether `instance` may replace its container now. If not, it is among those that [`Self::release`] and
    /// [`Self::edited`] name.
    pub fn acquire(&self, runtime: &Name, instance: &Name) -> bool {
        let mut rolls = self.lock();
        let roll = rolls.entry(runtime.clone()).or_default();
        match &roll.holder {
            Some(Holder::Replacing(holder) | Holder::Halted(holder)) if holder != instance => {
                roll.waiting.insert(instance.clone());
                false
            }
            _ => {
                roll.holder = Some(Holder::Replacing(instance.clone()));
                roll.waiting.remove(instance);
                true
            }
        }
    }

    /// `instance` is as it should be, or gone. Answers who waited for that.
    pub fn release(&self, runtime: &Name, instance: &Name) -> BTreeSet<Name> {
        let mut rolls = self.lock();
        let Some(roll) = rolls.get_mut(runtime) else { return BTreeSet::new() };
        roll.waiting.remove(instance);
        match &roll.holder {
            Some(Holder::Replacing(holder) | Holder::Halted(holder)) if holder == instance => {
                roll.holder = None;
                std::mem::take(&mut roll.waiting)
            }
            _ => BTreeSet::new(),
        }
    }

    /// `instance` did not become ready after its replacement.
    pub fn halt(&self, runtime: &Name, instance: &Name) {
        let mut rolls = self.lock();
        let roll = rolls.entry(runtime.clone()).or_default();
        if roll.holder.is_none() || roll.holder == Some(Holder::Replacing(instance.clone())) {
            roll.holder = Some(Holder::Halted(instance.clone()));
        }
    }

    /// A record of the runtime was edited: a halted roll goes on. Answers who waited for that.
    pub fn edited(&self, runtime: &Name) -> BTreeSet<Name> {
        let mut rolls = self.lock();
        let Some(roll) = rolls.get_mut(runtime) else { return BTreeSet::new() };
        if matches!(roll.holder, Some(Holder::Halted(_))) {
            roll.holder = None;
            return std::mem::take(&mut roll.waiting);
        }
        BTreeSet::new()
    }

    /// `instance` is gone, whatever its runtime was. Answers who waited for that.
    pub fn forget(&self, instance: &Name) -> BTreeSet<Name> {
        let runtimes: Vec<Name> = self.lock().keys().cloned().collect();
        runtimes.iter().flat_map(|runtime| self.release(runtime, instance)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Roll>> {
        // Each change is a few assignments that cannot panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn one_instance_of_a_runtime_is_replaced_at_a_time() {
        let rolls = Rolls::default();
        assert!(rolls.acquire(&name("gvisor"), &name("a")));
        assert!(rolls.acquire(&name("gvisor"), &name("a")), "the holder holds it");
        assert!(!rolls.acquire(&name("gvisor"), &name("b")));
        assert!(rolls.acquire(&name("runc"), &name("c")), "another runtime has its own");
        assert_eq!(rolls.release(&name("gvisor"), &name("a")), BTreeSet::from([name("b")]));
        assert!(rolls.acquire(&name("gvisor"), &name("b")));
    }

    #[test]
    fn a_failed_replacement_stops_the_roll_until_the_next_edit() {
        let rolls = Rolls::default();
        assert!(rolls.acquire(&name("gvisor"), &name("a")));
        rolls.halt(&name("gvisor"), &name("a"));
        assert!(!rolls.acquire(&name("gvisor"), &name("b")));
        assert!(rolls.acquire(&name("gvisor"), &name("a")), "its own next try may go on");
        rolls.halt(&name("gvisor"), &name("a"));
        assert_eq!(rolls.edited(&name("gvisor")), BTreeSet::from([name("b")]));
        assert!(rolls.acquire(&name("gvisor"), &name("b")));
    }

    #[test]
    fn an_instance_that_is_deleted_gives_the_token_back() {
        let rolls = Rolls::default();
        rolls.acquire(&name("gvisor"), &name("a"));
        rolls.acquire(&name("gvisor"), &name("b"));
        assert_eq!(rolls.forget(&name("a")), BTreeSet::from([name("b")]));
    }

    #[test]
    fn a_release_by_somebody_else_changes_nothing() {
        let rolls = Rolls::default();
        rolls.acquire(&name("gvisor"), &name("a"));
        assert!(rolls.release(&name("gvisor"), &name("b")).is_empty());
        assert!(!rolls.acquire(&name("gvisor"), &name("b")));
    }
}
