//! The decisions about one slot.

use jiff::Timestamp;
use plugward_api::RestartReason;
use plugward_api::status::LastExit;
use plugward_engine::{ContainerState, Exit};

use super::going::{after, is_over, remove, retire};
use super::judge::{Judgement, judge, reason_of, signed};
use super::pull::Patience;
use super::{
    Activation, Before, DirectorySight, EngineSight, ImageSight, Obstacle, Outlook, OutlookState, POLL, Plan,
    REMOVAL_POLL, ServiceSight, SessionSight, Sighting, Situation, SlotSight, Step, Target, UpdateState,
    Which,
};
use crate::names::SlotName;
use crate::slot::{EngineRef, Start};

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

pub(super) struct SlotPlanner<'a> {
    pub(super) situation: &'a Situation,
    pub(super) slot: &'a SlotName,
    pub(super) sight: &'a SlotSight,
    pub(super) target: &'a Target,
    pub(super) plan: &'a mut Plan,
}

impl SlotPlanner<'_> {
    fn decide(&mut self) -> Outlook {
        let awake = self.is_awake();
        let Some(start) = &self.sight.stored.current else {
            return if awake { self.decide_first() } else { self.sleep() };
        };
        let engine_seen = !self.situation.unseen.contains(&start.engine.id);
        if !awake && engine_seen && self.earliest(start) <= self.situation.now {
            return self.sleep();
        }
        // What runs, or may yet, must not stand beside the start; what is over can wait until it serves.
        self.remove_strays(start, |container| !is_over(container));
        let container = self.sight.containers.iter().find(|container| container.name == start.container);
        if let Some(followed) = self.follow_hosts(start, container) {
            return followed;
        }
        let mut outlook = if !engine_seen {
            self.decide_unseen(start)
        } else if let Some(end) = &start.end {
            if let Some(fallen_back) = self.fall_back() {
                return fallen_back;
            }
            let before = Before::EndedEarlier(end.reason);
            if let Some(outlook) = self.stand_in(&before, end.retry_at) {
                return outlook;
            }
            self.restart(end.reason, self.earliest(start), before, container)
        } else {
            match container {
                None if start.created => self.decide_removed(start),
                None => self.make(start),
                Some(container) => self.decide_present(start, container),
            }
        };
        self.settle_outgoing(&mut outlook);
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
        // Who was stopped because nobody needed it is needed now.
        let patience = if self.sight.stored.starts > 0 { Patience::Short } else { Patience::Whole };
        if self.waits_for_news(patience) {
            return self.wait_for(Obstacle::Pulling);
        }
        for container in &self.sight.containers {
            remove(self.slot, container, false, self.plan);
        }
        if !orphaned && let Some(outlook) = self.stand_in(&Before::Nothing, self.situation.now) {
            return outlook;
        }
        let before =
            if orphaned { Before::EndedEarlier(RestartReason::NotAdoptable) } else { Before::Nothing };
        // Who was put to sleep after failures is not as new.
        self.launch(before, self.sight.stored.failures)
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
        let (reason, exit) = self.removed();
        self.ended(start, reason, exit, None)
    }

    /// The end of a container that is not there any more.
    pub(super) fn removed(&self) -> (RestartReason, LastExit) {
        let message = "the container was removed from outside".to_owned();
        let exit = LastExit::without_code(RestartReason::Removed, message, self.situation.now);
        (RestartReason::Removed, exit)
    }

    /// The end of a container whose process ended.
    pub(super) fn exited(&self, exit: &Exit) -> (RestartReason, LastExit) {
        let reason = reason_of(exit, self.absence());
        let last = LastExit {
            reason,
            code: Some(exit.code),
            oom_killed: exit.oom_killed,
            message: exit.error.clone(),
            finished_at: exit.finished_at,
            output: Vec::new(),
        };
        (reason, last)
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
                let (mut reason, mut last) = self.exited(exit);
                if exit.code == 0 && start.shares_connection() && container.session == SessionSight::None {
                    // The controller that had its one connection has ended, and it with that.
                    (reason, last.reason) = (RestartReason::NotAdoptable, RestartReason::NotAdoptable);
                }
                self.ended(start, reason, last, Some(container))
            }
            ContainerState::Running { .. } => self.decide_running(start, container),
        }
    }

    fn decide_running(&mut self, start: &Start, container: &Sighting) -> Outlook {
        if let SessionSight::Failed { reason, message, since } = &container.session {
            let exit = LastExit::without_code(*reason, message.clone(), *since);
            return self.ended(start, *reason, exit, Some(container));
        }
        let comes_back = start.fallback && !matches!(container.session, SessionSight::Ready { .. });
        if !self.is_wanted(start) && !comes_back {
            return self.replace(start, Some(container));
        }
        self.tend(start, container)
    }

    /// A container that is what is wanted, and runs.
    pub(super) fn tend(&mut self, start: &Start, container: &Sighting) -> Outlook {
        let stored = &self.sight.stored;
        let mut outlook = match &container.session {
            SessionSight::None => {
                self.plan.steps.push(Step::Converse { slot: self.slot.clone(), which: Which::Current });
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
                self.admitted(start, container)
            }
        };
        outlook.update = self.update_by(start, container, &outlook.state);
        outlook.image_outdated =
            matches!(&self.target.image, ImageSight::Found { id } if *id != container.image_id);
        outlook
    }

    /// How a healthy container stands with hosts.
    fn admitted(&mut self, start: &Start, container: &Sighting) -> Outlook {
        let failure = match &container.service {
            ServiceSight::Serving => return Outlook::new(OutlookState::Ready),
            ServiceSight::None | ServiceSight::Priming => None,
            ServiceSight::PrimingFailed { message, .. } => Some(message.clone()),
            ServiceSight::PrimingUnknown { mounts } => Some(Obstacle::Unprimed(mounts.clone()).to_string()),
            // It was to go, and is wanted again. Who is withdrawn stays so: another takes its place.
            ServiceSight::Draining => return Outlook::new(OutlookState::Starting),
            ServiceSight::Drained => {
                self.plan.steps.push(Step::Halt { container: container.place() });
                return self.start_over(start);
            }
        };
        Outlook::new(OutlookState::Priming { failure })
    }

    /// What the end of a start means.
    pub(super) fn judge(&self, start: &Start, reason: RestartReason, exit: LastExit) -> Judgement {
        let failures = self.sight.stored.failures;
        judge(start, reason, exit, failures, &start.recipe.restart, self.situation.now, self.situation.random)
    }

    /// The current start is over.
    fn ended(
        &mut self,
        start: &Start,
        reason: RestartReason,
        exit: LastExit,
        container: Option<&Sighting>,
    ) -> Outlook {
        let Judgement { ended, retry_at } = self.judge(start, reason, exit);
        if let Some(outlook) = self.stand_in(&Before::Ended(ended.clone()), retry_at) {
            return outlook;
        }
        let unhindered = self.obstacle().is_none() && !self.would_wait_for_news(Patience::Short);
        if retry_at <= self.situation.now && unhindered {
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
        if self.waits_for_news(Patience::Short) {
            return self.wait_for(Obstacle::Pulling);
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

    /// Whether something is to run. If that may end with time alone, it is looked at again then: that calls end nobody says.
    fn is_awake(&mut self) -> bool {
        let Activation::OnDemand { needed, idle_since, idle_timeout } = self.target.activation else {
            return true;
        };
        let runs = self.sight.stored.current.as_ref().is_some_and(|start| start.end.is_none());
        let sleeps_at = after(if needed { self.situation.now } else { idle_since }, idle_timeout);
        if runs && sleeps_at > self.situation.now {
            self.plan.look_again_at(sleeps_at);
            return true;
        }
        needed
    }

    /// Nothing is to run.
    fn sleep(&mut self) -> Outlook {
        let mut gone = true;
        for container in &self.sight.containers {
            gone &= retire(self.slot, container, false, self.plan);
        }
        let stored = &self.sight.stored;
        if gone && (stored.current.is_some() || stored.outgoing.is_some()) {
            self.plan.steps.push(Step::Sleep { slot: self.slot.clone() });
        }
        match self.obstacle() {
            Some(obstacle) => self.wait_for(obstacle),
            None => Outlook::new(OutlookState::Idle),
        }
    }

    /// Containers of this slot that are not the current start's: an earlier one's, or made by hand with our labels.
    fn remove_strays(&mut self, start: &Start, which: impl Fn(&Sighting) -> bool) {
        let outgoing = self.sight.stored.outgoing.as_deref();
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

    pub(super) fn wait_for(&mut self, obstacle: Obstacle) -> Outlook {
        self.plan.look_again_at(after(self.situation.now, POLL));
        self.work_on(&obstacle);
        let comes = obstacle == Obstacle::Pulling;
        let mut outlook = Outlook::new(OutlookState::Waiting(obstacle));
        if self.sight.stored.updating {
            outlook.update = if comes { UpdateState::InProgress } else { UpdateState::Failing };
        }
        outlook
    }

    /// What keeps the wanted container from being started.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        let recipe = &self.target.recipe.container;
        let runtime = &recipe.oci_runtime;
        let not_a_slice =
            recipe.cgroup_parent.as_ref().filter(|parent| parent.strip_suffix(".slice").is_none());
        match &self.target.engine {
            EngineSight::Down { message } => Some(Obstacle::EngineDown(message.clone())),
            EngineSight::Up { oci_runtimes, .. } if !oci_runtimes.contains(runtime) => {
                Some(Obstacle::UnknownRuntime { wanted: runtime.clone(), known: oci_runtimes.clone() })
            }
            EngineSight::Up { cgroup_driver, .. } if cgroup_driver == "systemd" && not_a_slice.is_some() => {
                not_a_slice.map(|wanted| Obstacle::NotASlice { wanted: wanted.clone() })
            }
            EngineSight::Up { memlock_limit: Some(limit), .. } if recipe.locks_memory_of_the_machine() => {
                Some(Obstacle::MemoryUnlockable { limit: *limit })
            }
            EngineSight::Up { .. } => match &self.target.directory {
                DirectorySight::Unusable { message } => Some(Obstacle::NoDirectory(message.clone())),
                DirectorySight::Usable => self.image_obstacle().or_else(|| self.trial_obstacle()),
            },
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
        let Some(start) = &self.sight.stored.current else { return false };
        start.end.as_ref().is_some_and(|end| {
            // A change of a file that a record names is no edit of that; and an edit may have come before the end was judged.
            let is_other = !start.fallback && !start.hash.satisfies(&self.target.hash);
            let edited = end.edit != self.target.edit || is_other || self.target.renews(start);
            edited || self.absence().is_some_and(|absence| absence.to > end.at)
        })
    }

    /// Whether a start is what the records want, where they want it.
    pub(super) fn is_wanted(&self, start: &Start) -> bool {
        let moved =
            matches!(&self.target.engine, EngineSight::Up { engine, .. } if engine.id != start.engine.id);
        !moved && start.hash.satisfies(&self.target.hash) && !self.target.renews(start)
    }

    fn absence(&self) -> Option<super::Absence> {
        match &self.target.engine {
            EngineSight::Up { absence, .. } => *absence,
            EngineSight::Down { .. } => None,
        }
    }

    pub(super) fn on_target_engine(&self, engine: &EngineRef) -> bool {
        matches!(&self.target.engine, EngineSight::Up { engine: wanted, .. } if wanted.id == engine.id)
    }
}
