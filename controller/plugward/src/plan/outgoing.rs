//! The start before the current one, while its container may still be there.
//!
//! Under `Surge`, and when the instance moves to another engine, it serves until the current one does. Under
//! `Recreate` it is on its way out already.

use std::sync::Arc;

use plugward_api::RestartReason;
use plugward_api::instance::UpdateStrategy;
use plugward_api::status::LastExit;
use plugward_engine::ContainerState;

use super::going::retire;
use super::judge::{Judgement, ends_with_another, judge};
use super::launch::own_image;
use super::slot::SlotPlanner;
use super::{
    Before, Obstacle, Outlook, OutlookState, ServiceSight, SessionSight, Sighting, Step, UpdateState, Which,
};
use crate::recipe::{Recipe, SpecHash};
use crate::slot::Start;

impl SlotPlanner<'_> {
    /// How far the update has come that a start is, if it is one: it is over when that serves in the place of the outgoing one.
    pub(super) fn update_by(&self, start: &Start, container: &Sighting, state: &OutlookState) -> UpdateState {
        let stored = &self.sight.stored;
        let outgoing = stored.outgoing.as_deref();
        let beside = outgoing.is_some_and(|outgoing| self.outgoing_covers(outgoing, start));
        match &container.service {
            _ if *state == OutlookState::Ready => UpdateState::None,
            ServiceSight::PrimingFailed { .. } if beside => UpdateState::Failing,
            ServiceSight::PrimingUnknown { mounts } if beside => {
                UpdateState::Blocked(Obstacle::Unprimed(mounts.clone()))
            }
            _ if beside || stored.updating => UpdateState::InProgress,
            _ => UpdateState::None,
        }
    }

    /// Whether the outgoing start serves until the current one does.
    fn outgoing_covers(&self, outgoing: &Start, current: &Start) -> bool {
        self.target.strategy == UpdateStrategy::Surge || outgoing.engine.id != current.engine.id
    }

    pub(super) fn settle_outgoing(&mut self, outlook: &mut Outlook) {
        let stored = &self.sight.stored;
        let (Some(outgoing), Some(current)) = (stored.outgoing.as_deref(), &stored.current) else { return };
        if self.situation.unseen.contains(&outgoing.engine.id) {
            return;
        }
        if outlook.state != OutlookState::Ready && self.outgoing_covers(outgoing, current) {
            outlook.covered = self.cover(outgoing);
            return;
        }
        // Before anything of this slot is created: a crash between may have left the old one running.
        let own = self.plan.steps.iter().position(|step| step.slot() == Some(self.slot));
        let later = self.plan.steps.split_off(own.unwrap_or(self.plan.steps.len()));
        let mut gone = true;
        for container in self.sight.containers.iter().filter(|found| found.name == outgoing.container) {
            gone &= retire(self.slot, container, false, self.plan);
        }
        if gone {
            self.plan.steps.push(Step::DropOutgoing { slot: self.slot.clone() });
            if outlook.update == UpdateState::InProgress {
                // An edit waited for that.
                self.plan.look_again_at(self.situation.now);
            }
        }
        self.plan.steps.extend(later);
    }

    /// Keeps the outgoing container in service. Says whether it serves.
    fn cover(&mut self, outgoing: &Start) -> bool {
        let container = self.sight.containers.iter().find(|found| found.name == outgoing.container);
        match container.filter(|container| container.runs()).map(|container| &container.session) {
            Some(SessionSight::Ready { .. }) => true,
            Some(SessionSight::None) => {
                self.plan.steps.push(Step::Converse { slot: self.slot.clone(), which: Which::Outgoing });
                false
            }
            Some(SessionSight::Connecting | SessionSight::Failed { .. }) | None => false,
        }
    }

    /// An update failed, and the container that it was to replace serves no more: that one is started again, and the
    /// update is tried again once it is back. `None` while it serves, or there is none.
    pub(super) fn fall_back(&mut self) -> Option<Outlook> {
        let stored = &self.sight.stored;
        let (outgoing, current) = (stored.outgoing.as_deref()?, stored.current.as_ref()?);
        // What was never ready served nobody. And what ended with another has not failed.
        outgoing.ready_at?;
        current.end.as_ref().filter(|end| !ends_with_another(end.reason))?;
        let unseen = self.situation.unseen.contains(&outgoing.engine.id);
        if unseen || !self.outgoing_covers(outgoing, current) || !self.on_target_engine(&outgoing.engine) {
            return None;
        }
        let container = self.sight.containers.iter().find(|found| found.name == outgoing.container);
        let (reason, exit) = self.end_of(container)?;
        let Judgement { ended, retry_at } = judge(
            outgoing,
            reason,
            exit,
            0,
            &outgoing.recipe.restart,
            self.situation.now,
            self.situation.random,
        );
        if retry_at > self.situation.now {
            self.plan.look_again_at(retry_at);
            return None;
        }
        let failures = ended.failures;
        let (recipe, hash) = (outgoing.recipe.clone(), outgoing.hash.clone());
        Some(self.launch_as(Before::FellBack(ended), failures, recipe, hash))
    }

    /// How a container that served ended; `None` if it did not.
    pub(super) fn end_of(&self, container: Option<&Sighting>) -> Option<(RestartReason, LastExit)> {
        let Some(container) = container else { return Some(self.removed()) };
        match (&container.state, &container.session) {
            (ContainerState::Exited(exit), _) => Some(self.exited(exit)),
            (ContainerState::Running { .. }, SessionSight::Failed { reason, message, since }) => {
                Some((*reason, LastExit::without_code(*reason, message.clone(), *since)))
            }
            _ => None,
        }
    }

    fn launch_as(&mut self, before: Before, failures: u32, recipe: Arc<Recipe>, hash: SpecHash) -> Outlook {
        let image = own_image(&recipe);
        self.prepare(before, failures, recipe, hash);
        self.create_and_start(image);
        Outlook::new(OutlookState::Starting)
    }
}
