//! What hosts may expect of an instance: a plan's outlook, in the gateway's words.

use std::collections::BTreeMap;

use crate::desired::{Desired, KeptBecause};
use crate::gateway::Prospect;
use crate::names::{MountName, SlotName};
use crate::plan::{Obstacle, Outlook, OutlookState, Plan, Situation};

/// Which slot serves which mount now: the one that is to, unless that does not serve yet and another does, which served it
/// `before` and is on its way out.
pub fn routes(
    situation: &Situation,
    plan: &Plan,
    before: &BTreeMap<MountName, SlotName>,
) -> BTreeMap<MountName, SlotName> {
    let serves = |slot: &SlotName| plan.outlooks.get(slot).is_some_and(Outlook::serves);
    let mut routes = BTreeMap::new();
    for (slot, target) in &situation.targets {
        for mount in &target.mounts {
            let stand_in = before.get(mount).filter(|before| !serves(slot) && serves(before));
            routes.insert(mount.clone(), stand_in.unwrap_or(slot).clone());
        }
    }
    routes
}

/// What requests may expect while no container serves.
pub fn prospect(outlook: &Outlook) -> Prospect {
    match &outlook.state {
        OutlookState::Ready | OutlookState::Starting | OutlookState::Priming { .. } => Prospect::Coming,
        OutlookState::Idle => Prospect::Asleep,
        OutlookState::BackingOff { reason, until } => {
            Prospect::Later { reason: format!("the plugin's last start ended: {reason}"), at: *until }
        }
        OutlookState::Waiting(Obstacle::PullFailed { message, retry_at }) => {
            Prospect::Later { reason: format!("the image cannot be pulled: {message}"), at: *retry_at }
        }
        OutlookState::Waiting(obstacle) => Prospect::Blocked { reason: obstacle.to_string() },
        OutlookState::Terminating => Prospect::Blocked { reason: "the plugin is going away".to_owned() },
    }
}

/// Why nothing is to be expected of a record that could never be acted on.
pub fn never_accepted(desired: &Desired) -> String {
    match desired {
        Desired::Kept(_, KeptBecause::FilesUnusable(why)) => why.join("; "),
        Desired::Kept(_, KeptBecause::RuntimeMissing(runtime)) => {
            format!("PluginRuntime {runtime:?} is not declared")
        }
        Desired::Absent | Desired::Undecided | Desired::Wanted(..) => "nothing runs".to_owned(),
    }
}

#[cfg(test)]
mod tests;
