//! Plans for images that may be pulled.

use plugward_api::image::PullPolicy;

use super::golden;
use super::scene::{Scene, at, exited};
use crate::plan::{ImageSight, PullSight, ServiceSight};

fn failed(retry: i64) -> PullSight {
    let message = "pull example/counter:1: connection refused".to_owned();
    PullSight::Failed { message, retry_at: at(retry) }
}

impl Scene {
    fn image(mut self, image: ImageSight, pull: PullSight) -> Self {
        self.target().image = image;
        self.target().pull = pull;
        self
    }

    fn pull(mut self, pull: PullSight) -> Self {
        self.target().pull = pull;
        self
    }

    /// The record wants this image and no other.
    fn pinned(mut self) -> Self {
        let target = self.target();
        let mut recipe = (*target.recipe).clone();
        recipe.container.image_id = Some("sha256:feed".into());
        target.recipe = recipe.into();
        self
    }
}

fn mismatch() -> ImageSight {
    ImageSight::Mismatch { found: "sha256:beef".into() }
}

#[test]
fn a_missing_image_is_pulled_and_waited_for() {
    let missing = || Scene::new().pulls(PullPolicy::IfNotPresent);
    golden("pull", &missing().image(ImageSight::Missing, PullSight::None));
    golden("pull_running", &missing().image(ImageSight::Missing, PullSight::Running { since: at(50) }));
    golden("pull_failed", &missing().image(ImageSight::Missing, failed(130)));
    golden("pull_again", &missing().image(ImageSight::Missing, failed(100)));
}

#[test]
fn an_image_that_is_there_is_not_pulled_for_if_not_present() {
    golden("pull_present", &Scene::new().pulls(PullPolicy::IfNotPresent));
    golden(
        "pull_present_wrong",
        &Scene::new().pulls(PullPolicy::IfNotPresent).image(mismatch(), PullSight::None),
    );
}

#[test]
fn always_pulls_before_the_first_start_for_as_long_as_it_takes() {
    let always = || Scene::new().pulls(PullPolicy::Always);
    golden("pull_always", &always());
    golden("pull_always_running", &always().pull(PullSight::Running { since: at(10) }));
    golden("pull_always_done", &always().pull(PullSight::Done { at: at(99) }));
    golden("pull_always_done_before", &always().pull(PullSight::Done { at: at(50) }));
    golden("pull_always_failed", &always().pull(failed(130)));
}

#[test]
fn a_plugin_that_died_waits_for_a_registry_for_a_moment_only() {
    let died = || Scene::new().ready().container(exited(137, 99)).pulls(PullPolicy::Always);
    golden("pull_died", &died());
    let backed_off = || Scene::new().backing_off(100).pulls(PullPolicy::Always);
    golden("pull_restart", &backed_off());
    golden("pull_restart_running", &backed_off().pull(PullSight::Running { since: at(98) }));
    golden("pull_restart_slow", &backed_off().pull(PullSight::Running { since: at(95) }));
    golden("pull_restart_failed", &backed_off().pull(failed(130)));
}

#[test]
fn what_runs_is_never_pulled_for() {
    golden("pull_steady", &Scene::new().ready().pulls(PullPolicy::Always));
}

#[test]
fn a_declared_id_that_is_there_needs_no_news() {
    golden("pull_pinned", &Scene::new().pinned().pulls(PullPolicy::Always));
    let wrong = |pull| Scene::new().pinned().pulls(PullPolicy::Always).image(mismatch(), pull);
    golden("pull_pinned_wrong", &wrong(PullSight::None));
    golden("pull_pinned_still_wrong", &wrong(PullSight::Done { at: at(50) }));
}

#[test]
fn an_update_waits_for_its_image_while_the_old_container_serves() {
    let mut scene = Scene::new().ready().edited().pulls(PullPolicy::IfNotPresent);
    scene.situation.may_replace = true;
    golden("pull_for_update", &scene.image(ImageSight::Missing, PullSight::None));

    let mut scene = Scene::new().ready().edited().pulls(PullPolicy::Always);
    golden("pull_for_update_waits_for_its_turn", &scene);
    scene.situation.may_replace = true;
    golden("pull_always_for_update", &scene);
    scene.target().pull = PullSight::Done { at: at(99) };
    scene.service(ServiceSight::Drained);
    golden("pull_always_for_update_done", &scene);
}

#[test]
fn slots_of_one_instance_pull_once() {
    let mut scene = Scene::new().pulls(PullPolicy::IfNotPresent).image(ImageSight::Missing, PullSight::None);
    let target = scene.target().clone();
    let slots = ["mount-billing", "mount-orders"].map(|slot| (slot.parse().unwrap(), target.clone()));
    scene.situation.targets = slots.into();
    golden("pull_once", &scene);
}
