//! What changed on one engine since it was last looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use plugward_api::Name;
use plugward_engine::{ContainerId, Listed, Phase};

use crate::names::label;

/// What the containers of each instance did when they were last seen: in the list of all, or when the instance alone was looked at. So
/// what our own steps bring about is no news to the next list.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last: Mutex<Seen>,
}

/// By instance, in order. One with no container is left out.
type Seen = BTreeMap<Name, Box<[(ContainerId, Phase)]>>;

impl Changes {
    /// Takes a list after which nothing is taken as known: all its instances.
    pub(super) fn all(&self, containers: &[Listed]) -> Vec<Name> {
        let (before, now) = self.next(by_instance(containers));
        let names: BTreeSet<&Name> = before.keys().chain(now.keys()).collect();
        names.into_iter().cloned().collect()
    }

    /// Takes the next list: the instances whose containers are not what they were.
    pub(super) fn since_last(&self, containers: &[Listed]) -> Vec<Name> {
        let (before, now) = self.next(by_instance(containers));
        let names: BTreeSet<&Name> = before.keys().chain(now.keys()).collect();
        names.into_iter().filter(|name| before.get(*name) != now.get(*name)).cloned().collect()
    }

    /// An instance was looked at: these are its containers. Should that have been before the last list, the next one is news.
    pub(super) fn looked_at(&self, instance: &Name, containers: &[Listed]) {
        let seen = in_order(containers.iter().map(|container| (container.id.clone(), container.phase)));
        let mut last = self.lock();
        if seen.is_empty() {
            last.remove(instance);
        } else if last.get(instance) != Some(&seen) {
            last.insert(instance.clone(), seen);
        }
    }

    /// Takes the next state. Gives the one before, and this.
    fn next(&self, now: Seen) -> (Seen, Seen) {
        let before = std::mem::replace(&mut *self.lock(), now.clone());
        (before, now)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Each change is one insert, remove or assignment: a panic cannot leave one half done.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_instance(containers: &[Listed]) -> Seen {
    let mut instances: BTreeMap<Name, Vec<(ContainerId, Phase)>> = BTreeMap::new();
    for container in containers {
        if let Some(name) = container.labels.get(label::INSTANCE).and_then(|name| name.parse().ok()) {
            instances.entry(name).or_default().push((container.id.clone(), container.phase));
        }
    }
    instances.into_iter().map(|(name, containers)| (name, in_order(containers))).collect()
}

fn in_order(containers: impl IntoIterator<Item = (ContainerId, Phase)>) -> Box<[(ContainerId, Phase)]> {
    let mut containers: Vec<_> = containers.into_iter().collect();
    containers.sort_unstable();
    containers.into()
}

/// Whether an engine's word for a container's change is a reason to look. Those that only our own steps
/// bring about in good times (`create`, `start`) are not: the periodic list finds what they would tell.
pub(super) fn concerns_us(action: &str) -> bool {
    matches!(action, "die" | "destroy" | "oom" | "pause" | "unpause" | "rename")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(instance: &str, id: &str, phase: Phase) -> Listed {
        Listed {
            id: ContainerId::new(id),
            name: format!("plugward-{instance}"),
            labels: BTreeMap::from([(label::INSTANCE.to_owned(), instance.to_owned())]),
            phase,
        }
    }

    fn names(names: &[Name]) -> Vec<&str> {
        names.iter().map(Name::as_str).collect()
    }

    #[test]
    fn a_list_that_says_nothing_new_concerns_nobody() {
        let changes = Changes::default();
        let list = [listed("a", "1", Phase::Running), listed("b", "2", Phase::Running)];
        assert_eq!(names(&changes.all(&list)), ["a", "b"]);
        assert!(changes.since_last(&list).is_empty());
    }

    #[test]
    fn what_came_went_or_changed_concerns_its_instance() {
        let changes = Changes::default();
        changes.all(&[listed("a", "1", Phase::Running), listed("b", "2", Phase::Running)]);
        let next = [listed("a", "1", Phase::Exited), listed("c", "3", Phase::Running)];
        assert_eq!(names(&changes.since_last(&next)), ["a", "b", "c"]);
    }

    #[test]
    fn what_vanished_while_the_engine_was_away_is_looked_at_too() {
        let changes = Changes::default();
        changes.all(&[listed("a", "1", Phase::Running)]);
        assert_eq!(names(&changes.all(&[])), ["a"]);
    }

    #[test]
    fn what_was_seen_of_an_instance_since_the_last_list_is_no_news_to_the_next() {
        let changes = Changes::default();
        changes.all(&[listed("gone", "1", Phase::Running)]);
        let made = listed("made", "2", Phase::Running);
        changes.looked_at(&"made".parse().unwrap(), std::slice::from_ref(&made));
        changes.looked_at(&"gone".parse().unwrap(), &[]);
        assert!(changes.since_last(std::slice::from_ref(&made)).is_empty());
        changes.looked_at(&"made".parse().unwrap(), &[listed("made", "2", Phase::Created)]);
        assert_eq!(names(&changes.since_last(&[made])), ["made"], "it was looked at before it ran");
    }
}
