//! How a start of a slot comes to be: intended and stored first, then created, and started.

use std::sync::Arc;

use super::going::remove;
use super::pull::Patience;
use super::slot::SlotPlanner;
use super::{
    Before, EngineSight, ImageSight, NewStart, Obstacle, Outlook, OutlookState, Step, UpdateState, Which,
};
use crate::names::container_name;
use crate::recipe::{Recipe, SpecHash};
use crate::slot::Start;

impl SlotPlanner<'_> {
    /// Takes up a start that is stored but does not run.
    pub(super) fn make(&mut self, start: &Start) -> Outlook {
        if !self.is_wanted(start) && !start.fallback {
            return self.start_over(start);
        }
        if let Some(obstacle) = self.obstacle() {
            return self.wait_for(obstacle);
        }
        let image = if start.fallback { own_image(&start.recipe) } else { self.target_image() };
        self.create_and_start(image);
        self.starting()
    }

    /// Puts a new start in the place of one that never ran, and counts for nothing.
    pub(super) fn start_over(&mut self, start: &Start) -> Outlook {
        if let Some(obstacle) = self.obstacle() {
            return self.wait_for(obstacle);
        }
        if self.waits_for_news(Patience::Short) {
            return self.wait_for(Obstacle::Pulling);
        }
        for container in self.sight.containers.iter().filter(|found| found.name == start.container) {
            remove(self.slot, container, false, self.plan);
        }
        self.launch(Before::Nothing, self.sight.stored.failures)
    }

    pub(super) fn launch(&mut self, before: Before, failures: u32) -> Outlook {
        self.prepare(before, failures, self.target.recipe.clone(), self.target.hash.clone());
        self.create_and_start(self.target_image());
        self.starting()
    }

    pub(super) fn starting(&self) -> Outlook {
        let mut outlook = Outlook::new(OutlookState::Starting);
        if self.sight.stored.updating {
            outlook.update = UpdateState::InProgress;
        }
        outlook
    }

    pub(super) fn prepare(&mut self, before: Before, failures: u32, recipe: Arc<Recipe>, hash: SpecHash) {
        let EngineSight::Up { engine, .. } = &self.target.engine else { return };
        let number = self.latest_start() + 1;
        let container = container_name(
            &self.situation.cluster,
            &self.situation.instance,
            self.slot,
            hash.as_str(),
            number,
        );
        let renewal = self.target.edit.renewal;
        let start =
            NewStart { number, container, engine: engine.clone(), recipe, hash, before, failures, renewal };
        self.plan.steps.push(Step::Prepare { slot: self.slot.clone(), start });
    }

    /// The number of the latest start. What a mount was told is remembered by the number of the start that was told it: so no two
    /// have the same that could serve the same mount, which may move from slot to slot. A spare gets another when it serves.
    fn latest_start(&self) -> u64 {
        if self.slot.is_spare() {
            return self.sight.stored.starts;
        }
        let serving = self.situation.slots.iter().filter(|(slot, _)| !slot.is_spare());
        serving.map(|(_, sight)| sight.stored.starts).fold(self.situation.latest_start, u64::max)
    }

    /// By what the wanted image is named to the engine.
    pub(super) fn target_image(&self) -> String {
        let recipe = &self.target.recipe.container;
        match &self.target.image {
            // What was verified is what runs, even if the name is moved in between.
            ImageSight::Found { id } if recipe.image_id.is_some() => id.clone(),
            _ => recipe.image.clone(),
        }
    }

    pub(super) fn create_and_start(&mut self, image: String) {
        let slot = || self.slot.clone();
        self.plan.steps.extend([
            Step::Create { slot: slot(), image },
            Step::Start { slot: slot() },
            Step::Converse { slot: slot(), which: Which::Current },
        ]);
    }
}

/// By what the image of a recipe is named to the engine.
pub(super) fn own_image(recipe: &Recipe) -> String {
    recipe.container.image_id.clone().unwrap_or_else(|| recipe.container.image.clone())
}
