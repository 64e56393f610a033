//! A container gives way to another that the records, or somebody who asked for it, want in its place.

use plugward_api::instance::UpdateStrategy;

use super::going::{after, remove, retire};
use super::pull::Patience;
use super::slot::SlotPlanner;
use super::{
    Before, Obstacle, Outlook, OutlookState, POLL, ServiceSight, SessionSight, Sighting, Step, UpdateState,
};
use crate::slot::Start;

impl SlotPlanner<'_> {
    /// An edit, or somebody who asked for that, wants another container than the one that runs.
    pub(super) fn replace(&mut self, start: &Start, container: Option<&Sighting>) -> Outlook {
        let mut outlook = match container.map(|container| &container.session) {
            Some(SessionSight::Ready { .. }) => Outlook::new(OutlookState::Ready),
            Some(_) => Outlook::new(OutlookState::Starting),
            None => Outlook::new(OutlookState::Waiting(Obstacle::EngineDown(format!(
                "engine {} does not answer",
                start.engine.id
            )))),
        };
        if let Some(obstacle) = self.obstacle() {
            self.plan.look_again_at(after(self.situation.now, POLL));
            self.work_on(&obstacle);
            outlook.update = UpdateState::Blocked(obstacle);
        } else if !self.situation.may_replace {
            outlook.update = UpdateState::WaitingForTurn;
        } else if self.outgoing_leaves(container) || self.waits_for_news(Patience::Whole) {
            outlook.update = UpdateState::InProgress;
        } else {
            outlook.covered = self.serves_until_replaced(container);
            outlook.state = OutlookState::Starting;
            outlook.update = UpdateState::InProgress;
            // One on another engine goes on serving, unless an earlier one does.
            let apart = |container: &&Sighting| {
                !self.on_target_engine(&container.engine) && self.sight.stored.outgoing.is_none()
            };
            let beside = container.filter(|container| !outlook.covered && !apart(container));
            if let Some(container) = beside.filter(|container| !is_idle(container)) {
                // Who is being served is served first; new calls wait for the successor.
                retire(self.slot, container, false, self.plan);
                return outlook;
            }
            self.prepare(Before::Replaced, 0, self.target.recipe.clone(), self.target.hash.clone());
            if let Some(container) = beside {
                self.plan.steps.push(Step::Halt { container: container.place() });
            }
            self.create_and_start(self.target_image());
            if let Some(container) = beside {
                remove(self.slot, container, false, self.plan);
                if self.sight.stored.outgoing.is_none() {
                    self.plan.steps.push(Step::DropOutgoing { slot: self.slot.clone() });
                }
            }
            return outlook;
        }
        // It goes on as it is until then, and is looked after.
        if let Some(container) = container {
            let tended = self.tend(start, container);
            outlook.state = tended.state;
        }
        outlook
    }

    /// Whether a container goes on serving while its successor starts.
    fn serves_until_replaced(&self, container: Option<&Sighting>) -> bool {
        self.target.strategy == UpdateStrategy::Surge
            && self.sight.stored.outgoing.is_none()
            && container.is_some_and(|container| matches!(container.session, SessionSight::Ready { .. }))
    }

    /// Whether the container before this one is still going: there are never three.
    fn outgoing_leaves(&self, container: Option<&Sighting>) -> bool {
        let outgoing = self.sight.stored.outgoing.as_deref();
        outgoing.is_some_and(|outgoing| !self.situation.unseen.contains(&outgoing.engine.id))
            && container.is_some_and(|container| container.service == ServiceSight::Serving)
    }
}

/// Whether no call is under way in a container, and none can come.
const fn is_idle(container: &Sighting) -> bool {
    matches!(container.service, ServiceSight::None | ServiceSight::Drained)
}
