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
    /// Takes a list after which nothing is taken as known: all its instances, and those that were known before.
    pub(super) fn all(&self, containers: &[Listed]) -> Vec<Name> {
        let mut names: BTreeSet<Name> = self.lock().keys().cloned().collect();
        self.since_last(containers);
        names.extend(self.lock().keys().cloned());
        names.into_iter().collect()
    }

    /// Takes the next list: the instances whose containers are not what they were.
    pub(super) fn since_last(&self, containers: &[Listed]) -> Vec<Name> {
        let listed = by_instance(containers);
        let mut changed = BTreeSet::new();
        let mut last = self.lock();
        last.retain(|name, _| {
            let there = listed.binary_search_by_key(&name, |(listed, _)| listed).is_ok();
            there || !changed.insert(name.clone())
        });
        // Of ten thousand nearly all are as they were: for these nothing is made.
        for of_one in listed.chunk_by(|(one, _), (next, _)| one == next) {
            let name = &of_one[0].0;
            let containers = of_one.iter().map(|(_, container)| container);
            if last.get(name).is_none_or(|last| last.iter().ne(containers.clone())) {
                last.insert(name.clone(), containers.cloned().collect());
                changed.insert(name.clone());
            }
        }
        changed.into_iter().collect()
    }

    /// An instance was looked at: these are its containers. Should that have been before the last list, the next one is news.
    pub(super) fn looked_at(&self, instance: &Name, containers: &[Listed]) {
        let mut seen: Vec<_> =
            containers.iter().map(|container| (container.id.clone(), container.phase)).collect();
        seen.sort_unstable();
        let mut last = self.lock();
        if seen.is_empty() {
            last.remove(instance);
        } else {
            last.insert(instance.clone(), seen.into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Each change is one insert, remove or assignment: a panic cannot leave one half done.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The containers of instances, in order.
fn by_instance(containers: &[Listed]) -> Vec<(Name, (ContainerId, Phase))> {
    let of_instances = containers.iter().filter_map(|container| {
        let name = container.labels.get(label::INSTANCE)?.parse().ok()?;
        Some((name, (container.id.clone(), container.phase)))
    });
    let mut listed: Vec<_> = of_instances.collect();
    listed.sort_unstable();
    listed
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
