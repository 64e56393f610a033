//! When an image is pulled, and what waits for that.
//!
//! `Never` pulls nothing. `IfNotPresent` pulls an image that the engine does not have. `Always` pulls before every start besides, but for
//! a declared ID that the engine has: what would run is the same. A plugin that is to come back soon waits for that for a moment only,
//! and no start waits for a registry that failed just now, if there is an image of that name. (A kubelet would wait for ever.)

use std::time::Duration;

use jiff::Timestamp;
use plugward_api::image::PullPolicy;

use super::going::after;
use super::slot::SlotPlanner;
use super::{EngineSight, ImageSight, Obstacle, POLL, Step};

/// The pull of the wanted image on the wanted engine, whoever wanted it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PullSight {
    /// None is under way, and none has ended lately.
    #[default]
    None,
    /// It is under way.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// The last one was done.
    Done {
        /// When it ended.
        at: Timestamp,
    },
    /// The last one failed.
    Failed {
        /// Why, in words.
        message: String,
        /// When it may be tried again.
        retry_at: Timestamp,
    },
}

/// How long a start may wait for news of an image that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Until they come, or cannot come: nobody is waiting for the plugin that had it before.
    Whole,
    /// A moment: somebody may be.
    Short,
}

/// How long the outcome of a pull is good for other starts: those of one roll, or of many instances at once, ask a registry once.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// How long a plugin that is to come back waits for a registry.
const SHORT: Duration = Duration::from_secs(5);

/// How often a registry is asked again whose image is not the declared one.
const MISMATCH_RETRY: Duration = Duration::from_secs(300);

impl SlotPlanner<'_> {
    /// What keeps the wanted image from being used.
    pub(super) fn image_obstacle(&self) -> Option<Obstacle> {
        match (&self.target.image, self.target.recipe.pull_policy) {
            (ImageSight::Found { .. }, _) => None,
            (ImageSight::Unknown, _) | (ImageSight::Missing, PullPolicy::Never) => {
                Some(Obstacle::ImageMissing)
            }
            (ImageSight::Missing, PullPolicy::IfNotPresent | PullPolicy::Always) => {
                Some(match &self.target.pull {
                    // It was pulled, and taken away again.
                    PullSight::Done { at } if self.is_before(*at, POLL) => Obstacle::ImageMissing,
                    PullSight::Failed { message, retry_at } if self.situation.now < *retry_at => {
                        Obstacle::PullFailed { message: message.clone(), retry_at: *retry_at }
                    }
                    _ => Obstacle::Pulling,
                })
            }
            (ImageSight::Mismatch { found }, PullPolicy::Always) => Some(match &self.target.pull {
                PullSight::Done { at } if self.is_before(*at, MISMATCH_RETRY) => {
                    Obstacle::ImageMismatch(found.clone())
                }
                PullSight::Failed { retry_at, .. } if self.situation.now < *retry_at => {
                    Obstacle::ImageMismatch(found.clone())
                }
                _ => Obstacle::Pulling,
            }),
            (ImageSight::Mismatch { found }, PullPolicy::Never | PullPolicy::IfNotPresent) => {
                Some(Obstacle::ImageMismatch(found.clone()))
            }
        }
    }

    /// Whether a start of an image that is there waits for a pull all the same. If it does, the pull is under way once the plan is
    /// carried out.
    pub(super) fn waits_for_news(&mut self, patience: Patience) -> bool {
        let waits = self.would_wait_for_news(patience);
        if waits {
            self.pull_if_due();
            if patience == Patience::Short {
                let since = match self.target.pull {
                    PullSight::Running { since } => since,
                    _ => self.situation.now,
                };
                self.plan.look_again_at(after(since, SHORT));
            }
        }
        waits
    }

    /// The same, for a start that is only thought of.
    pub(super) fn would_wait_for_news(&self, patience: Patience) -> bool {
        let recipe = &self.target.recipe;
        let is_there = matches!(self.target.image, ImageSight::Found { .. });
        if !is_there || recipe.pull_policy != PullPolicy::Always || recipe.container.image_id.is_some() {
            return false;
        }
        match &self.target.pull {
            PullSight::None => true,
            PullSight::Running { since } => patience == Patience::Whole || self.is_before(*since, SHORT),
            PullSight::Done { at } => !self.is_before(*at, GOOD_FOR),
            PullSight::Failed { retry_at, .. } => *retry_at <= self.situation.now,
        }
    }

    /// Does what can be done about an obstacle.
    pub(super) fn work_on(&mut self, obstacle: &Obstacle) {
        match obstacle {
            Obstacle::Pulling => self.pull_if_due(),
            Obstacle::PullFailed { retry_at, .. } => self.plan.look_again_at(*retry_at),
            Obstacle::Untried | Obstacle::Fault(_) => self.try_if_due(),
            Obstacle::EngineDown(_)
            | Obstacle::UnknownRuntime { .. }
            | Obstacle::NotASlice { .. }
            | Obstacle::MemoryUnlockable { .. }
            | Obstacle::NoDirectory(_)
            | Obstacle::ImageMissing
            | Obstacle::ImageMismatch(_)
            | Obstacle::Unprimed(_) => {}
        }
    }

    /// Begins a pull, unless one is under way, or another slot's plan begins it.
    fn pull_if_due(&mut self) {
        let EngineSight::Up { engine, .. } = &self.target.engine else { return };
        let wanted = &self.target.recipe.container.image;
        let same = |step: &Step| matches!(step, Step::Pull { engine: on, image } if on.id == engine.id && image == wanted);
        if matches!(self.target.pull, PullSight::Running { .. }) || self.plan.steps.iter().any(same) {
            return;
        }
        self.plan.steps.push(Step::Pull { engine: engine.clone(), image: wanted.clone() });
    }

    /// Whether it is less than `time` since then.
    fn is_before(&self, since: Timestamp, time: Duration) -> bool {
        self.situation.now < after(since, time)
    }
}
