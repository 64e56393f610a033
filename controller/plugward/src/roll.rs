//! The roll token: of the instances of one runtime, one at a time has its container replaced.
//!
//! An instance that fails to become ready after its replacement halts the roll of its runtime: what others would get by an edit of that they
//! get when it is ready, or when somebody edits a record of the runtime again. An edit of their own records they get at their turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use plugward_api::Name;

/// The tokens of all runtimes. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Rolls(Arc<Mutex<BTreeMap<Name, Roll>>>);

#[derive(Debug, Default)]
struct Roll {
    /// Who is being replaced.
    replacing: Option<Name>,
    /// Whose replacement failed.
    failed: BTreeSet<Name>,
    waiting: BTreeSet<Name>,
}

/// Whose edit a container is to be replaced for. Of several causes the least counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The instance's own.
    Instance,
    /// The runtime's, and so that of all its instances.
    Runtime,
}

impl Rolls {
    /// Whether `instance` may replace its container now. If not, it is among those that [`Self::release`] and
    /// [`Self::edited`] name.
    pub fn acquire(&self, runtime: &Name, instance: &Name, cause: Cause) -> bool {
        let mut rolls = self.lock();
        let roll = rolls.entry(runtime.clone()).or_default();
        let is_other = |name: &Name| name != instance;
        let halted = cause == Cause::Runtime && roll.failed.iter().any(is_other);
        if halted || roll.replacing.as_ref().is_some_and(is_other) {
            roll.waiting.insert(instance.clone());
            return false;
        }
        roll.replacing = Some(instance.clone());
        roll.failed.remove(instance);
        roll.waiting.remove(instance);
        true
    }

    /// `instance` is as it should be, or gone. Answers who waited for that.
    pub fn release(&self, runtime: &Name, instance: &Name) -> BTreeSet<Name> {
        let mut rolls = self.lock();
        let Some(roll) = rolls.get_mut(runtime) else { return BTreeSet::new() };
        roll.waiting.remove(instance);
        let replaced = roll.replacing.take_if(|replacing| replacing == instance).is_some();
        if roll.failed.remove(instance) || replaced {
            std::mem::take(&mut roll.waiting)
        } else {
            BTreeSet::new()
        }
    }

    /// `instance` did not become ready after its replacement. Answers who may have waited for its turn to be over.
    pub fn halt(&self, runtime: &Name, instance: &Name) -> BTreeSet<Name> {
        let mut rolls = self.lock();
        let roll = rolls.entry(runtime.clone()).or_default();
        roll.failed.insert(instance.clone());
        match roll.replacing.take_if(|replacing| replacing == instance) {
            Some(_) => std::mem::take(&mut roll.waiting),
            None => BTreeSet::new(),
        }
    }

    /// A record of the runtime was edited: a halted roll goes on. Answers who waited for that.
    pub fn edited(&self, runtime: &Name) -> BTreeSet<Name> {
        let mut rolls = self.lock();
        let Some(roll) = rolls.get_mut(runtime) else { return BTreeSet::new() };
        if std::mem::take(&mut roll.failed).is_empty() {
            return BTreeSet::new();
        }
        std::mem::take(&mut roll.waiting)
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
        for cause in [Cause::Runtime, Cause::Instance] {
            assert!(rolls.acquire(&name("gvisor"), &name("a"), cause));
            assert!(rolls.acquire(&name("gvisor"), &name("a"), cause), "the holder holds it");
            assert!(!rolls.acquire(&name("gvisor"), &name("b"), cause));
            assert!(rolls.acquire(&name("runc"), &name("c"), cause), "another runtime has its own");
            assert_eq!(rolls.release(&name("gvisor"), &name("a")), BTreeSet::from([name("b")]));
            assert!(rolls.acquire(&name("gvisor"), &name("b"), cause));
            rolls.release(&name("gvisor"), &name("b"));
        }
    }

    #[test]
    fn a_failed_replacement_stops_the_roll_until_the_next_edit() {
        let rolls = Rolls::default();
        assert!(rolls.acquire(&name("gvisor"), &name("a"), Cause::Runtime));
        assert!(!rolls.acquire(&name("gvisor"), &name("b"), Cause::Runtime));
        assert_eq!(rolls.halt(&name("gvisor"), &name("a")), BTreeSet::from([name("b")]));
        assert!(!rolls.acquire(&name("gvisor"), &name("b"), Cause::Runtime));
        assert!(rolls.acquire(&name("gvisor"), &name("a"), Cause::Runtime), "its own next try may go on");
        rolls.halt(&name("gvisor"), &name("a"));
        assert!(!rolls.acquire(&name("gvisor"), &name("b"), Cause::Runtime));
        assert_eq!(rolls.edited(&name("gvisor")), BTreeSet::from([name("b")]));
        assert!(rolls.acquire(&name("gvisor"), &name("b"), Cause::Runtime));
    }

    #[test]
    fn a_halted_roll_keeps_nobody_from_an_edit_of_its_own_record() {
        let rolls = Rolls::default();
        rolls.halt(&name("gvisor"), &name("broken"));
        assert!(!rolls.acquire(&name("gvisor"), &name("a"), Cause::Runtime));
        assert!(rolls.acquire(&name("gvisor"), &name("b"), Cause::Instance));
        assert!(!rolls.acquire(&name("gvisor"), &name("c"), Cause::Instance), "one at a time");
        rolls.halt(&name("gvisor"), &name("broken"));
        assert_eq!(rolls.release(&name("gvisor"), &name("b")), BTreeSet::from([name("a"), name("c")]));
        assert!(!rolls.acquire(&name("gvisor"), &name("a"), Cause::Runtime), "it is halted as before");
        assert_eq!(rolls.release(&name("gvisor"), &name("broken")), BTreeSet::from([name("a")]));
        assert!(rolls.acquire(&name("gvisor"), &name("a"), Cause::Runtime));
    }

    #[test]
    fn an_instance_that_is_deleted_gives_the_token_back() {
        let rolls = Rolls::default();
        rolls.acquire(&name("gvisor"), &name("a"), Cause::Runtime);
        rolls.acquire(&name("gvisor"), &name("b"), Cause::Runtime);
        assert_eq!(rolls.forget(&name("a")), BTreeSet::from([name("b")]));
    }

    #[test]
    fn a_release_by_somebody_else_changes_nothing() {
        let rolls = Rolls::default();
        rolls.acquire(&name("gvisor"), &name("a"), Cause::Runtime);
        assert!(rolls.release(&name("gvisor"), &name("b")).is_empty());
        assert!(!rolls.acquire(&name("gvisor"), &name("b"), Cause::Runtime));
    }
}
