//! The decisions about one slot.

use jiff::Timestamp;
use plugward_api::RestartReason;
use plugward_api::status::LastExit;
use plugward_engine::ContainerState;

use super::judge::{Judgement, judge, reason_of, signed};
use super::{
    Before, EngineSight, ImageSight, NewStart, Obstacle, Outlook, OutlookState, POLL, Plan, REMOVAL_POLL,
    SessionSight, Sighting, Situation, SlotSight, Step, Target, UpdateState,
};
use crate::names::{SlotName, container_name};
use crate::slot::{EngineRef, Start};

/// A slot nobody wants: its containers go, then it is forgotten.
pub(super) fn plan_unwanted(situation: &Situation, slot: &SlotName, sight: &SlotSight, plan: &mut Plan) {
    for container in &sight.containers {
        if container.runs() {
            plan.steps.push(Step::Halt { container: container.place() });
        }
        remove(slot, container, false, plan);
    }
    let starts = sight.stored.current.iter().chain(&sight.stored.outgoing);
    let hidden = starts.into_iter().any(|start| situation.unseen.contains(&start.engine.id));
    if hidden {
        // An engine that cannot be asked may still hold a container: the slot is forgotten when it is back.
        plan.look_again_at(after(situation.now, POLL));
    } else {
        plan.steps.push(Step::Forget { slot: slot.clone() });
    }
    plan.outlooks.insert(slot.clone(), Outlook::new(OutlookState::Terminating));
}

/// A slot that is wanted.
pub(super) fn plan_wanted(
    situation: &Situation,
    slot: &SlotName,
    sight: &SlotSight,
    target: &Target,
    plan: &mut Plan,
) {
    let mut planner = SlotPlanner { situation, slot, sight, target, plan };
    let outlook = planner.decide();
    planner.plan.outlooks.insert(slot.clone(), outlook);
}

struct SlotPlanner<'a> {
    situation: &'a Situation,
    slot: &'a SlotName,
    sight: &'a SlotSight,
    target: &'a Target,
    plan: &'a mut Plan,
}

impl SlotPlanner<'_> {
    fn decide(&mut self) -> Outlook {
        let Some(start) = &self.sight.stored.current else {
            return self.decide_first();
        };
        // What runs, or may yet, must not stand beside the start; what is over can wait until it serves.
        self.remove_strays(start, |container| !is_over(container));
        let container = self.sight.containers.iter().find(|container| container.name == start.container);
        let outlook = if self.situation.unseen.contains(&start.engine.id) {
            self.decide_unseen(start)
        } else if let Some(end) = &start.end {
            let before = Before::EndedEarlier(end.reason);
            self.restart(end.reason, self.earliest(start), before, container)
        } else {
            match container {
                None if start.created => self.decide_removed(start),
                None => self.make(start),
                Some(container) => self.decide_present(start, container),
            }
        };
        self.settle_outgoing(&outlook.state);
        if outlook.state != OutlookState::Starting {
            self.remove_strays(start, is_over);
        }
        outlook
    }

    /// Nothing is remembered. What runs all the same cannot be spoken to: the key is lost.
    fn decide_first(&mut self) -> Outlook {
        let orphaned = self.sight.containers.iter().any(Sighting::runs);
        if let Some(obstacle) = self.obstacle() {
            return self.wait_for(obstacle);
        }
        for container in &self.sight.containers {
            remove(self.slot, container, false, self.plan);
        }
        let before =
            if orphaned { Before::EndedEarlier(RestartReason::NotAdoptable) } else { Before::Nothing };
        self.launch(before, 0)
    }

    /// The engine that holds the current start does not answer: nothing is known, nothing is done, except
    /// where the records want another engine by now.
    fn decide_unseen(&mut self, start: &Start) -> Outlook {
        match &self.target.engine {
            EngineSight::Up { engine, .. } if engine.id != start.engine.id => self.replace(start, None),
            EngineSight::Up { .. } | EngineSight::Down { .. } => {
                let message = match &self.target.engine {
                    EngineSight::Down { message } => message.clone(),
                    EngineSight::Up { .. } => "the engine does not answer".to_owned(),
                };
                Outlook::new(OutlookState::Waiting(Obstacle::EngineDown(message)))
            }
        }
    }

    /// The container of the current start is gone although the engine once had it.
    fn decide_removed(&mut self, start: &Start) -> Outlook {
        let exit = LastExit {
            reason: RestartReason::Removed,
            code: None,
            oom_killed: false,
            message: "the container was removed from outside".to_owned(),
            finished_at: self.situation.now,
            output: Vec::new(),
        };
        self.ended(start, RestartReason::Removed, exit, None)
    }

    fn decide_present(&mut self, start: &Start, container: &Sighting) -> Outlook {
        match &container.state {
            ContainerState::Created => self.make(start),
            ContainerState::Removing => {
                self.plan.look_again_at(after(self.situation.now, REMOVAL_POLL));
                Outlook::new(OutlookState::Starting)
            }
            // The engine gave up a start, and its answer was not heard, else the end were stored: our own end or
            // time limit cut the call off, which says nothing about the plugin.
            ContainerState::Exited(exit) if start.ready_at.is_none() && !exit.error.is_empty() => {
                self.start_over(start)
            }
            ContainerState::Exited(exit) => {
                let reason = reason_of(exit, self.absence());
                let last = LastExit {
                    reason,
                    code: Some(exit.code),
                    oom_killed: exit.oom_killed,
                    message: exit.error.clone(),
                    finished_at: exit.finished_at,
                    output: Vec::new(),
                };
                self.ended(start, reason, last, Some(container))
            }
            ContainerState::Running { .. } => self.decide_running(start, container),
        }
    }

    fn decide_running(&mut self, start: &Start, container: &Sighting) -> Outlook {
        if let SessionSight::Failed { reason, message, since } = &container.session {
            let exit = LastExit {
                reason: *reason,
                code: None,
                oom_killed: false,
                message: message.clone(),
                finished_at: *since,
                output: Vec::new(),
            };
            return self.ended(start, *reason, exit, Some(container));
        }
        if !self.is_wanted(start) {
            return self.replace(start, Some(container));
        }
        self.tend(start, container)
    }

    /// A container that is what is wanted, and runs.
    fn tend(&mut self, start: &Start, container: &Sighting) -> Outlook {
        let stored = &self.sight.stored;
        let mut outlook = match &container.session {
            SessionSight::None => {
                self.plan.steps.push(Step::Converse { slot: self.slot.clone() });
                Outlook::new(OutlookState::Starting)
            }
            SessionSight::Connecting | SessionSight::Failed { .. } => Outlook::new(OutlookState::Starting),
            SessionSight::Ready { handshake, since } => {
                let ready_at = start.ready_at.unwrap_or(*since);
                if start.ready_at.is_none() {
                    self.plan.steps.push(Step::RecordReady {
                        slot: self.slot.clone(),
                        handshake: handshake.clone(),
                        since: *since,
                    });
                }
                if stored.failures > 0 {
                    let stable_at = ready_at + signed(start.recipe.restart.reset_after);
                    if stable_at <= self.situation.now {
                        self.plan.steps.push(Step::ForgetFailures { slot: self.slot.clone() });
                    } else {
                        self.plan.look_again_at(stable_at);
                    }
                }
                Outlook::new(OutlookState::Ready)
            }
        };
        if stored.updating && outlook.state != OutlookState::Ready {
            outlook.update = UpdateState::InProgress;
        }
        outlook.image_outdated =
            matches!(&self.target.image, ImageSight::Found { id } if *id != container.image_id);
        outlook
    }

    /// The current start is over.
    fn ended(
        &mut self,
        start: &Start,
        reason: RestartReason,
        exit: LastExit,
        container: Option<&Sighting>,
    ) -> Outlook {
        let Judgement { ended, retry_at } = judge(
            start,
            reason,
            exit,
            self.sight.stored.failures,
            &start.recipe.restart,
            self.situation.now,
            self.situation.random,
        );
        if retry_at <= self.situation.now && self.obstacle().is_none() {
            return self.restart(reason, retry_at, Before::Ended(ended), container);
        }
        self.plan.steps.push(Step::RecordEnd {
            slot: self.slot.clone(),
            end: ended,
            retry_at,
            edit: self.target.edit,
            container: container.map(Sighting::place),
        });
        if let Some(container) = container.filter(|container| container.runs()) {
            // Judged dead, but its process lives: it must not go on working beside its successor.
            remove(self.slot, container, false, self.plan);
        }
        self.back_off(reason, retry_at)
    }

    /// Starts again at once, or says until when that waits.
    fn restart(
        &mut self,
        reason: RestartReason,
        earliest: Timestamp,
        before: Before,
        container: Option<&Sighting>,
    ) -> Outlook {
        if earliest > self.situation.now {
            return self.back_off(reason, earliest);
        }
        if let Some(obstacle) = self.obstacle() {
            return self.wait_for(obstacle);
        }
        let failures = match &before {
            Before::Ended(ended) => ended.failures,
            _ if self.cleared() => 0,
            _ => self.sight.stored.failures,
        };
        // A dead container is kept until its successor serves: its log is evidence, and removing it takes time.
        if let Some(container) = container.filter(|container| container.runs()) {
            remove(self.slot, container, matches!(before, Before::Ended(_)), self.plan);
        }
        self.launch(before, failures)
    }

    fn back_off(&mut self, reason: RestartReason, until: Timestamp) -> Outlook {
        self.plan.look_again_at(until.max(self.situation.now));
        let mut outlook = Outlook::new(OutlookState::BackingOff { reason, until });
        if self.sight.stored.updating {
            outlook.update = UpdateState::Failing;
        }
        outlook
    }

    /// An edit wants another container than the one that runs.
    fn replace(&mut self, start: &Start, container: Option<&Sighting>) -> Outlook {
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
            outlook.update = UpdateState::Blocked(obstacle);
        } else if !self.situation.may_replace {
            outlook.update = UpdateState::WaitingForTurn;
        } else {
            let beside = container.filter(|container| self.on_target_engine(&container.engine));
            self.prepare(Before::Replaced, 0);
            if let Some(container) = beside {
                self.plan.steps.push(Step::Halt { container: container.place() });
            }
            self.create_and_start();
            if let Some(container) = beside {
                remove(self.slot, container, false, self.plan);
                if self.sight.stored.outgoing.is_none() {
                    self.plan.steps.push(Step::DropOutgoing { slot: self.slot.clone() });
                }
            }
            outlook.state = OutlookState::Starting;
            outlook.update = UpdateState::InProgress;
            return outlook;
        }
        // It goes on as it is until then, and is looked after.
        if let Some(container) = container {
            let tended = self.tend(start, container);
            outlook.state = tended.state;
        }
        outlook
    }

    /// The outgoing start's container goes: at once where it would stand beside the current one on one engine,
    /// else when the current one is ready.
    fn settle_outgoing(&mut self, current: &OutlookState) {
        let stored = &self.sight.stored;
        let (Some(outgoing), Some(start)) = (&stored.outgoing, &stored.current) else { return };
        let apart = outgoing.engine.id != start.engine.id;
        if apart && *current != OutlookState::Ready || self.situation.unseen.contains(&outgoing.engine.id) {
            return;
        }
        let mut steps = Vec::new();
        for container in self.sight.containers.iter().filter(|found| found.name == outgoing.container) {
            if container.runs() {
                steps.push(Step::Halt { container: container.place() });
            }
            steps.push(Step::Remove {
                slot: self.slot.clone(),
                container: container.place(),
                keep_output: false,
            });
        }
        steps.push(Step::DropOutgoing { slot: self.slot.clone() });
        // Before anything of this slot is created: a crash between may have left the old one running.
        let first = self.plan.steps.iter().position(|step| step.slot() == Some(self.slot));
        let at = first.unwrap_or(self.plan.steps.len());
        self.plan.steps.splice(at..at, steps);
    }

    /// Takes up a start that is stored but does not run.
    fn make(&mut self, start: &Start) -> Outlook {
        if !self.is_wanted(start) {
            return self.start_over(start);
        }
        if let Some(obstacle) = self.obstacle() {
            return self.wait_for(obstacle);
        }
        self.create_and_start();
        self.starting()
    }

    /// Puts a new start in the place of one that never ran, and counts for nothing.
    fn start_over(&mut self, start: &Start) -> Outlook {
        if let Some(obstacle) = self.obstacle() {
            return self.wait_for(obstacle);
        }
        for container in self.sight.containers.iter().filter(|found| found.name == start.container) {
            remove(self.slot, container, false, self.plan);
        }
        self.launch(Before::Nothing, self.sight.stored.failures)
    }

    fn launch(&mut self, before: Before, failures: u32) -> Outlook {
        self.prepare(before, failures);
        self.create_and_start();
        self.starting()
    }

    fn starting(&self) -> Outlook {
        let mut outlook = Outlook::new(OutlookState::Starting);
        if self.sight.stored.updating {
            outlook.update = UpdateState::InProgress;
        }
        outlook
    }

    fn prepare(&mut self, before: Before, failures: u32) {
        let EngineSight::Up { engine, .. } = &self.target.engine else { return };
        let number = self.sight.stored.starts + 1;
        let container = container_name(
            &self.situation.cluster,
            &self.situation.instance,
            self.slot,
            self.target.hash.as_str(),
            number,
        );
        self.plan.steps.push(Step::Prepare {
            slot: self.slot.clone(),
            start: NewStart {
                number,
                container,
                engine: engine.clone(),
                recipe: self.target.recipe.clone(),
                hash: self.target.hash.clone(),
                before,
                failures,
            },
        });
    }

    fn create_and_start(&mut self) {
        let recipe = &self.target.recipe.container;
        let image = match &self.target.image {
            // What was verified is what runs, even if the name is moved in between.
            ImageSight::Found { id } if recipe.image_id.is_some() => id.clone(),
            _ => recipe.image.clone(),
        };
        let slot = || self.slot.clone();
        self.plan.steps.extend([
            Step::Create { slot: slot(), image },
            Step::Start { slot: slot() },
            Step::Converse { slot: slot() },
        ]);
    }

    /// Containers of this slot that are not the current start's: an earlier one's, or made by hand with our labels.
    fn remove_strays(&mut self, start: &Start, which: impl Fn(&Sighting) -> bool) {
        let outgoing = self.sight.stored.outgoing.as_ref();
        for container in self.sight.containers.iter().filter(|container| which(container)) {
            let known = container.name == start.container
                || outgoing.is_some_and(|outgoing| container.name == outgoing.container);
            if !known {
                remove(self.slot, container, self.ended_last(container), self.plan);
            }
        }
    }

    /// Whether a container's end is the one that is remembered, and its last lines are not.
    fn ended_last(&self, container: &Sighting) -> bool {
        let ContainerState::Exited(exit) = &container.state else { return false };
        let last = self.sight.stored.last_exit.as_ref();
        last.is_some_and(|last| last.finished_at == exit.finished_at && last.output.is_empty())
    }

    fn wait_for(&mut self, obstacle: Obstacle) -> Outlook {
        self.plan.look_again_at(after(self.situation.now, POLL));
        let mut outlook = Outlook::new(OutlookState::Waiting(obstacle));
        if self.sight.stored.updating {
            outlook.update = UpdateState::Failing;
        }
        outlook
    }

    /// What keeps the wanted container from being started.
    fn obstacle(&self) -> Option<Obstacle> {
        let runtime = &self.target.recipe.container.oci_runtime;
        match (&self.target.engine, &self.target.image) {
            (EngineSight::Down { message }, _) => Some(Obstacle::EngineDown(message.clone())),
            (EngineSight::Up { oci_runtimes, .. }, _) if !oci_runtimes.contains(runtime) => {
                Some(Obstacle::UnknownRuntime { wanted: runtime.clone(), known: oci_runtimes.clone() })
            }
            (EngineSight::Up { .. }, ImageSight::Missing | ImageSight::Unknown) => {
                Some(Obstacle::ImageMissing)
            }
            (EngineSight::Up { .. }, ImageSight::Mismatch { found }) => {
                Some(Obstacle::ImageMismatch(found.clone()))
            }
            (EngineSight::Up { .. }, ImageSight::Found { .. }) => None,
        }
    }

    /// When the next start may come, after an end that is stored.
    fn earliest(&self, start: &Start) -> Timestamp {
        match &start.end {
            Some(end) if !self.cleared() => end.retry_at,
            _ => self.situation.now,
        }
    }

    /// Whether something happened since the stored end that makes a fresh try worthwhile.
    fn cleared(&self) -> bool {
        let end = self.sight.stored.current.as_ref().and_then(|start| start.end.as_ref());
        end.is_some_and(|end| {
            end.edit != self.target.edit || self.absence().is_some_and(|absence| absence.to > end.at)
        })
    }

    /// Whether a start is what the records want, where they want it.
    fn is_wanted(&self, start: &Start) -> bool {
        let moved =
            matches!(&self.target.engine, EngineSight::Up { engine, .. } if engine.id != start.engine.id);
        !moved && start.hash.satisfies(&self.target.hash)
    }

    fn absence(&self) -> Option<super::Absence> {
        match &self.target.engine {
            EngineSight::Up { absence, .. } => *absence,
            EngineSight::Down { .. } => None,
        }
    }

    fn on_target_engine(&self, engine: &EngineRef) -> bool {
        matches!(&self.target.engine, EngineSight::Up { engine: wanted, .. } if wanted.id == engine.id)
    }
}

/// Whether a container ran and does not any more.
const fn is_over(container: &Sighting) -> bool {
    matches!(container.state, ContainerState::Exited(_))
}

fn remove(slot: &SlotName, container: &Sighting, keep_output: bool, plan: &mut Plan) {
    plan.steps.push(Step::Remove { slot: slot.clone(), container: container.place(), keep_output });
}

fn after(now: Timestamp, delay: std::time::Duration) -> Timestamp {
    now.saturating_add(delay).unwrap_or(Timestamp::MAX)
}
