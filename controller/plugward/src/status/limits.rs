//! What an engine makes of the limits and safeguards of a container.

use plugward_api::{ConditionStatus, InstanceCondition};

use super::verdict::Finding;
use crate::plan::{EngineSight, Situation, Target};
use crate::recipe::ContainerRecipe;
use crate::slot::{GainsBecause, Start};

/// Whether the declared limits are in force; nothing where none are declared.
pub(super) fn limits_enforced(situation: &Situation, target: &Target) -> Option<Finding> {
    let condition = InstanceCondition::LimitsEnforced;
    let found =
        |status, reason, message: String| Finding { condition, status, reason, message: message.into() };
    let wanted = limits(&target.recipe.container);
    if wanted.is_empty() {
        return None;
    }
    if let EngineSight::Up { cgroup_driver, .. } = &target.engine
        && cgroup_driver == "none"
    {
        let message = format!(
            "the engine has no cgroups (its cgroup driver is \"none\"), and enforces no limits: {}",
            wanted.join(", ")
        );
        return Some(found(ConditionStatus::False, "NoCgroups", message));
    }
    let ignored: Vec<&str> =
        made(situation).flat_map(|start| &start.made.ignored).map(String::as_str).collect();
    if let Some(first) = ignored.first() {
        return Some(found(ConditionStatus::False, "IgnoredByEngine", format!("the engine says: {first}")));
    }
    if made(situation).next().is_none() {
        return Some(found(ConditionStatus::Unknown, "NotStarted", String::new()));
    }
    Some(found(ConditionStatus::True, "Enforced", wanted.join(", ")))
}

/// That processes may gain privileges, and why; nothing where they may not.
pub(super) fn no_new_privileges(situation: &Situation) -> Option<Finding> {
    let because = made(situation).find_map(|start| start.made.gains_privileges)?;
    let (reason, message) = match because {
        GainsBecause::Declared => ("Declared", "the runtime declares security.noNewPrivileges: false"),
        GainsBecause::Mlock => (
            "MlockNeedsFileCapabilities",
            "the image's user is not root and mlock is asked for: its program gets IPC_LOCK from its file's capability, which \
             no-new-privileges would withhold",
        ),
    };
    let condition = InstanceCondition::NoNewPrivileges;
    Some(Finding { condition, status: ConditionStatus::False, reason, message: message.into() })
}

/// The starts whose containers were made, and are not over.
fn made(situation: &Situation) -> impl Iterator<Item = &Start> {
    let starts = situation.slots.values().filter_map(|sight| sight.stored.current.as_ref());
    starts.filter(|start| start.created && start.end.is_none())
}

fn limits(recipe: &ContainerRecipe) -> Vec<&'static str> {
    [
        (recipe.nano_cpus.is_some(), "cpu"),
        (recipe.memory_bytes.is_some(), "memory"),
        (recipe.pids.is_some(), "pids"),
        (recipe.cgroup_parent.is_some(), "cgroupParent"),
    ]
    .into_iter()
    .filter_map(|(wanted, name)| wanted.then_some(name))
    .collect()
}
