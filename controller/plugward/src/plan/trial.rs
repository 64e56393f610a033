//! When it is tried whether a container can run.
//!
//! What only a container shows (whether its engine sees our directories, what its program may do) is looked at in one that is made
//! and never started, before anything that runs is given up for it.

use jiff::Timestamp;

use super::slot::SlotPlanner;
use super::{EngineSight, Obstacle, Step};

/// What a container that was made as the wanted one and never started has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialSight {
    /// Nothing that is in the way.
    Passed,
    /// It has to be tried.
    Due,
    /// It cannot run.
    Failed {
        /// Why.
        fault: TrialFault,
        /// When it is tried again.
        retry_at: Timestamp,
    },
}

/// Why a container that could be made cannot run, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialFault {
    /// The engine does not see our directories.
    Unseen(String),
    /// The program may not lock its memory, and is to.
    CannotLock(String),
}

impl SlotPlanner<'_> {
    /// What a trial has shown that keeps the wanted container from running.
    pub(super) fn trial_obstacle(&self) -> Option<Obstacle> {
        match &self.target.trial {
            TrialSight::Passed => None,
            TrialSight::Due => Some(Obstacle::Untried),
            TrialSight::Failed { fault, .. } => Some(Obstacle::Fault(fault.clone())),
        }
    }

    /// Tries it, unless it was tried just now, or another slot's plan does.
    pub(super) fn try_if_due(&mut self) {
        let EngineSight::Up { engine, .. } = &self.target.engine else { return };
        if let TrialSight::Failed { retry_at, .. } = &self.target.trial
            && self.situation.now < *retry_at
        {
            self.plan.look_again_at(*retry_at);
            return;
        }
        let wanted = &self.target.recipe;
        let same = |step: &Step| matches!(step, Step::Try { engine: on, recipe, .. } if on.id == engine.id && recipe == wanted);
        if !self.plan.steps.iter().any(same) {
            self.plan.steps.push(Step::Try {
                engine: engine.clone(),
                image: self.target_image(),
                recipe: wanted.clone(),
            });
        }
    }
}
