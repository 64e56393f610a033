//! What changed between two lists of one engine.

use std::collections::{BTreeMap, BTreeSet};

use plugward_api::Name;
use plugward_engine::{ContainerId, Listed, Phase};

use crate::names::label;

/// The last list, by instance.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last: BTreeMap<Name, Vec<(ContainerId, Phase)>>,
}

impl Changes {
    /// Takes a list after which nothing is taken as known: all its instances.
    pub(super) fn all(&mut self, containers: &[Listed]) -> Vec<Name> {
        let before = std::mem::replace(&mut self.last, by_instance(containers));
        let names: BTreeSet<&Name> = before.keys().chain(self.last.keys()).collect();
        names.into_iter().cloned().collect()
    }

    /// Takes the next list: the instances whose containers are not what they were.
    pub(super) fn since_last(&mut self, containers: &[Listed]) -> Vec<Name> {
        let before = std::mem::replace(&mut self.last, by_instance(containers));
        let names: BTreeSet<&Name> = before.keys().chain(self.last.keys()).collect();
        names.into_iter().filter(|name| before.get(*name) != self.last.get(*name)).cloned().collect()
    }
}

/// What each instance's containers do, in order.
fn by_instance(containers: &[Listed]) -> BTreeMap<Name, Vec<(ContainerId, Phase)>> {
    let mut instances: BTreeMap<Name, Vec<(ContainerId, Phase)>> = BTreeMap::new();
    for container in containers {
        if let Some(name) = container.labels.get(label::INSTANCE).and_then(|name| name.parse().ok()) {
            instances.entry(name).or_default().push((container.id.clone(), container.phase));
        }
    }
    for containers in instances.values_mut() {
        containers.sort_unstable();
    }
    instances
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
        let mut changes = Changes::default();
        let list = [listed("a", "1", Phase::Running), listed("b", "2", Phase::Running)];
        assert_eq!(names(&changes.all(&list)), ["a", "b"]);
        assert!(changes.since_last(&list).is_empty());
    }

    #[test]
    fn what_came_went_or_changed_concerns_its_instance() {
        let mut changes = Changes::default();
        changes.all(&[listed("a", "1", Phase::Running), listed("b", "2", Phase::Running)]);
        let next = [listed("a", "1", Phase::Exited), listed("c", "3", Phase::Running)];
        assert_eq!(names(&changes.since_last(&next)), ["a", "b", "c"]);
    }

    #[test]
    fn what_vanished_while_the_engine_was_away_is_looked_at_too() {
        let mut changes = Changes::default();
        changes.all(&[listed("a", "1", Phase::Running)]);
        assert_eq!(names(&changes.all(&[])), ["a"]);
    }
}
