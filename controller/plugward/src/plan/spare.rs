//! Spare containers: started like any other, and put in the place of one that ends.
//!
//! The gateway does not wait for a plan: when the conversation with a container ends, hosts go to a spare at once. The
//! plan makes that so for good: the spare's start becomes the slot's, and the ended one the spare's, which is then
//! restarted as any other, with its delay.

use jiff::Timestamp;
use plugward_api::RestartReason;
use plugward_api::status::LastExit;

use super::judge::Judgement;
use super::slot::{SlotPlanner, plan_wanted};
use super::{
    Before, Outlook, OutlookState, Place, Plan, ServiceSight, SessionSight, Sighting, Situation, SlotSight,
    Step, Target,
};
use crate::names::SlotName;
use crate::slot::Start;

/// A spare's slot. The first is started when all that serve are as they should be.
pub(super) fn plan_spare(
    situation: &Situation,
    slot: &SlotName,
    sight: &SlotSight,
    target: &Target,
    settled: bool,
    plan: &mut Plan,
) {
    let Some(start) = &sight.stored.current else {
        if settled {
            plan_wanted(situation, slot, sight, target, plan);
        } else {
            plan.outlooks.insert(slot.clone(), Outlook::new(OutlookState::Idle));
        }
        return;
    };
    let elsewhere = situation.slots.iter().any(|(other, sight)| {
        other != slot && sight.stored.current.as_ref().is_some_and(|other| other.container == start.container)
    });
    let promoted = plan.steps.iter().any(|step| matches!(step, Step::Promote { spare, .. } if spare == slot));
    if promoted {
        plan.outlooks.insert(slot.clone(), Outlook::new(OutlookState::Starting));
    } else if elsewhere {
        // It was promoted, and the controller ended before it was forgotten here.
        plan.steps.push(Step::Sleep { slot: slot.clone() });
        plan.outlooks.insert(slot.clone(), Outlook::new(OutlookState::Starting));
    } else {
        plan_wanted(situation, slot, sight, target, plan);
    }
}

impl SlotPlanner<'_> {
    /// Hosts went over to a spare: that is the slot's container now.
    pub(super) fn follow_hosts(&mut self, start: &Start, container: Option<&Sighting>) -> Option<Outlook> {
        let (spare, place) = self.spare(|spare| spare.took_over.as_ref() == Some(self.slot))?;
        let dying = container
            .is_some_and(|container| container.runs() && container.session == SessionSight::Connecting);
        if dying {
            // How it ended is not known yet: the engine, or the session, is about to say.
            return Some(Outlook::new(OutlookState::Ready));
        }
        let (before, retry_at) = match (&start.end, self.end_of(container)) {
            (Some(end), _) => (Before::EndedEarlier(end.reason), end.retry_at),
            (None, ended) => {
                let (reason, exit) = ended.unwrap_or_else(|| self.unreachable());
                let Judgement { ended, retry_at } = self.judge(start, reason, exit);
                (Before::Ended(ended), retry_at)
            }
        };
        Some(self.promote(spare, place, before, retry_at))
    }

    /// Puts a spare that is ready in the place of a start that ended, and that may be started again at `retry_at`.
    pub(super) fn stand_in(&mut self, before: &Before, retry_at: Timestamp) -> Option<Outlook> {
        if self.slot.is_spare() {
            return None;
        }
        let (spare, place) = self.spare(|spare| {
            matches!(spare.session, SessionSight::Ready { .. })
                && spare.service == ServiceSight::Serving
                && spare.took_over.is_none()
        })?;
        Some(self.promote(spare, place, before.clone(), retry_at))
    }

    /// The end of a container that runs, and with which there is no conversation any more.
    fn unreachable(&self) -> (RestartReason, LastExit) {
        let message = "the connection to the plugin ended".to_owned();
        let exit = LastExit::without_code(RestartReason::Unhealthy, message, self.situation.now);
        (RestartReason::Unhealthy, exit)
    }

    /// A spare that is what is wanted, or that hosts use already, and its container.
    fn spare(&self, suits: impl Fn(&Sighting) -> bool) -> Option<(SlotName, Place)> {
        let promoted = |name: &SlotName| {
            self.plan.steps.iter().any(|step| matches!(step, Step::Promote { spare, .. } if spare == name))
        };
        let spares = self.situation.slots.iter().filter(|(name, _)| name.is_spare() && !promoted(name));
        spares.into_iter().find_map(|(name, sight)| {
            let start = sight.stored.current.as_ref().filter(|start| start.end.is_none())?;
            let container = sight.containers.iter().find(|found| found.name == start.container)?;
            let usable = container.took_over.is_some() || self.is_wanted(start);
            (usable && container.runs() && suits(container)).then(|| (name.clone(), container.place()))
        })
    }

    fn promote(&mut self, spare: SlotName, container: Place, before: Before, retry_at: Timestamp) -> Outlook {
        self.plan.steps.push(Step::Promote {
            slot: self.slot.clone(),
            spare,
            container,
            number: self.sight.stored.starts + 1,
            before,
            retry_at,
            edit: self.target.edit,
        });
        self.plan.look_again_at(self.situation.now);
        Outlook::new(OutlookState::Ready)
    }
}
