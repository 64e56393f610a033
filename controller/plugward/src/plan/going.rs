//! Containers on their way out: calls under way end first, then the plugin, then the container.

use jiff::Timestamp;
use plugward_engine::ContainerState;

use super::{
    Outlook, OutlookState, POLL, Plan, ServiceSight, SessionSight, Sighting, Situation, SlotSight, Step,
    UpdateState, Which,
};
use crate::names::SlotName;

/// A slot nobody wants: its containers go, then it is forgotten. While the slots that are wanted instead are not
/// settled, it serves on.
pub(super) fn plan_unwanted(
    situation: &Situation,
    slot: &SlotName,
    sight: &SlotSight,
    settled: bool,
    plan: &mut Plan,
) {
    if !settled && let Some(outlook) = serve_on(slot, sight, plan) {
        plan.outlooks.insert(slot.clone(), outlook);
        return;
    }
    let mut gone = true;
    for container in &sight.containers {
        gone &= retire(slot, container, false, plan);
    }
    let starts = sight.stored.current.iter().chain(sight.stored.outgoing.as_deref());
    let hidden = starts.into_iter().any(|start| situation.unseen.contains(&start.engine.id));
    if hidden {
        // An engine that cannot be asked may still hold a container: the slot is forgotten when it is back.
        plan.look_again_at(after(situation.now, POLL));
    } else if gone {
        plan.steps.push(Step::Forget { slot: slot.clone() });
        if !situation.targets.is_empty() {
            // How the others stand without it: nothing else may happen that asks for it.
            plan.look_again_at(situation.now);
        }
    }
    plan.outlooks.insert(slot.clone(), Outlook::new(OutlookState::Terminating));
}

/// A slot that nobody wants any more, and that has served: it does so until its successors do.
fn serve_on(slot: &SlotName, sight: &SlotSight, plan: &mut Plan) -> Option<Outlook> {
    let start = sight.stored.current.as_ref().filter(|start| start.ready_at.is_some())?;
    let container = sight.containers.iter().find(|found| found.name == start.container && found.runs())?;
    let state = match container.session {
        SessionSight::None => {
            plan.steps.push(Step::Converse { slot: slot.clone(), which: Which::Current });
            OutlookState::Starting
        }
        SessionSight::Connecting => OutlookState::Starting,
        SessionSight::Ready { .. } => OutlookState::Ready,
        SessionSight::Failed { .. } => return None,
    };
    let mut outlook = Outlook::new(state);
    outlook.update = UpdateState::InProgress;
    Some(outlook)
}

/// Takes the next step of a container that is to go. Says whether it is gone once the plan is carried out.
pub(super) fn retire(slot: &SlotName, container: &Sighting, keep_output: bool, plan: &mut Plan) -> bool {
    if container.runs() {
        match container.service {
            ServiceSight::None | ServiceSight::Drained => {
                plan.steps.push(Step::Halt { container: container.place() });
            }
            // The gateway asks for a look when the last call has ended.
            ServiceSight::Draining => return false,
            ServiceSight::Priming
            | ServiceSight::PrimingFailed { .. }
            | ServiceSight::PrimingUnknown { .. }
            | ServiceSight::Serving => {
                plan.steps.push(Step::Withdraw { container: container.place() });
                return false;
            }
        }
    }
    remove(slot, container, keep_output, plan);
    true
}

/// Removes a container as it is.
pub(super) fn remove(slot: &SlotName, container: &Sighting, keep_output: bool, plan: &mut Plan) {
    plan.steps.push(Step::Remove { slot: slot.clone(), container: container.place(), keep_output });
}

/// Whether a container ran and does not any more.
pub(super) const fn is_over(container: &Sighting) -> bool {
    matches!(container.state, ContainerState::Exited(_))
}

pub(super) fn after(now: Timestamp, delay: std::time::Duration) -> Timestamp {
    now.saturating_add(delay).unwrap_or(Timestamp::MAX)
}
