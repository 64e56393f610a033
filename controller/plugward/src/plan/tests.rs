//! Situations, and the plans for them: golden files in `golden/`. `UPDATE_GOLDEN=1` writes them anew.

mod model;
mod pulls;
pub(crate) mod scene;
mod service;

use std::sync::Arc;

use plugward_api::RestartReason;
use plugward_engine::ContainerState;

use super::{DirectorySight, ImageSight, ServiceSight, SessionSight, TrialFault, TrialSight, plan};
use scene::{Scene, at, exited, refused, running};

/// What is wanted of a slot, for tests of other modules.
pub(crate) fn target() -> super::Target {
    Scene::new().target().clone()
}

/// An instance that serves, and whose container is to be replaced: because somebody asked, or because of what its runtime says.
pub(crate) fn waiting(renewed: bool) -> super::Situation {
    let scene = Scene::new().ready();
    let scene = if renewed { scene.renewed() } else { scene.edited() };
    scene.situation
}

fn golden(name: &str, scene: &Scene) {
    let text = plan(&scene.situation).to_string();
    crate::golden::check(&format!("src/plan/golden/{name}.txt"), &text);
}

#[test]
fn the_first_start_is_stored_before_it_is_made() {
    golden("first_start", &Scene::new());
}

#[test]
fn a_missing_image_is_waited_for() {
    let mut scene = Scene::new();
    scene.target().image = ImageSight::Missing;
    golden("missing_image", &scene);
}

#[test]
fn a_wrong_image_is_never_started() {
    let mut scene = Scene::new();
    scene.target().image = ImageSight::Mismatch { found: "sha256:beef".into() };
    golden("wrong_image", &scene);
}

#[test]
fn an_unknown_oci_runtime_is_waited_for() {
    let mut scene = Scene::new();
    scene.oci_runtimes(&["crun", "runsc"]);
    golden("unknown_runtime", &scene);
}

#[test]
fn memory_that_cannot_be_locked_is_waited_for() {
    let mut scene = Scene::new();
    scene.memlock_limit(8 << 20);
    let waits = |scene: &Scene| plan(&scene.situation).steps.is_empty();
    assert!(!waits(&scene), "nobody wants to lock any");
    Arc::make_mut(&mut scene.target().recipe).container.mlock = true;
    golden("memory_unlockable", &scene);
    for (oci_runtime, expected) in [("runc", true), ("crun", true), ("runsc", false), ("kata", false)] {
        scene.oci_runtimes(&[oci_runtime]);
        Arc::make_mut(&mut scene.target().recipe).container.oci_runtime = oci_runtime.to_owned();
        assert_eq!(waits(&scene), expected, "{oci_runtime}");
    }
}

#[test]
fn a_directory_that_cannot_be_shared_is_waited_for() {
    let mut scene = Scene::new();
    scene.target().directory = DirectorySight::Unusable { message: "it is not there".into() };
    golden("no_directory", &scene);
}

#[test]
fn what_was_never_tried_is_tried_before_it_is_started() {
    let mut scene = Scene::new();
    scene.target().trial = TrialSight::Due;
    golden("untried", &scene);
}

#[test]
fn what_cannot_run_is_not_started_and_tried_again_later() {
    let mut scene = Scene::new();
    let fault = TrialFault::Unseen("the engine does not see it".into());
    scene.target().trial = TrialSight::Failed { fault: fault.clone(), retry_at: at(120) };
    golden("trial_failed", &scene);
    scene.target().trial = TrialSight::Failed { fault, retry_at: at(100) };
    golden("trial_failed_before", &scene);
}

#[test]
fn what_serves_is_kept_while_its_successor_is_tried_and_cannot_run() {
    let mut scene = Scene::new().ready().edited();
    scene.situation.may_replace = true;
    scene.target().trial = TrialSight::Due;
    golden("update_untried", &scene);
    let fault = TrialFault::CannotLock("it may not".into());
    scene.target().trial = TrialSight::Failed { fault, retry_at: at(120) };
    golden("update_trial_failed", &scene);
}

#[test]
fn a_create_that_took_effect_before_a_crash_is_taken_up() {
    golden("taken_up_unmade", &Scene::new().intended());
    golden("taken_up_created", &Scene::new().intended().container(ContainerState::Created));
    golden("taken_up_running", &Scene::new().intended().container(running()));
}

#[test]
fn a_healthy_container_needs_nothing() {
    golden("steady", &Scene::new().ready());
}

#[test]
fn readiness_is_stored_once() {
    let mut scene = Scene::new().intended().container(running());
    scene.session(SessionSight::Ready { handshake: "1|1|unix|/x|grpc".into(), since: at(3) });
    scene.service(ServiceSight::Serving);
    golden("becomes_ready", &scene);
}

#[test]
fn a_killed_container_is_replaced_at_once() {
    golden("killed", &Scene::new().ready().container(exited(137, 50)));
}

#[test]
fn a_dead_container_goes_once_its_successor_serves() {
    let mut scene = Scene::new().ready().stray(exited(137, 50));
    scene.died_last(50);
    golden("successor_ready", &scene);
    scene.session(SessionSight::Connecting);
    golden("successor_starting", &scene);
}

#[test]
fn a_container_removed_from_outside_is_replaced_at_once() {
    let mut scene = Scene::new().ready();
    scene.sight().containers.clear();
    golden("removed", &scene);
}

#[test]
fn a_container_that_ends_long_after_ready_is_replaced_at_once() {
    golden("exited_late", &Scene::new().ready().container(exited(1, 50)));
}

#[test]
fn a_container_that_ends_by_itself_soon_after_ready_backs_off() {
    golden("exited_soon", &Scene::new().ready().container(exited(1, 11)));
}

#[test]
fn a_container_that_ends_before_it_is_ready_backs_off() {
    golden("exited_before_ready", &Scene::new().intended().container(exited(1, 11)));
}

#[test]
fn a_start_that_our_own_end_cut_off_counts_for_nothing() {
    let mut scene = Scene::new().intended().container(refused("context canceled"));
    scene.stored().failures = 2;
    golden("start_cut_off", &scene);
}

#[test]
fn a_container_that_was_ready_and_cannot_be_started_from_outside_counts() {
    golden("restart_refused", &Scene::new().ready().container(refused("no such file")));
}

#[test]
fn a_failed_handshake_ends_the_container() {
    let mut scene = Scene::new().intended().container(running());
    scene.session(SessionSight::Failed {
        reason: RestartReason::HandshakeFailed,
        message: "no handshake line".into(),
        since: at(70),
    });
    golden("handshake_failed", &scene);
}

#[test]
fn a_container_that_cannot_be_adopted_is_replaced_at_once() {
    let mut scene = Scene::new().ready();
    scene.session(SessionSight::Failed {
        reason: RestartReason::NotAdoptable,
        message: "no TLS".into(),
        since: at(99),
    });
    golden("not_adoptable", &scene);
}

#[test]
fn a_plugin_that_ended_with_its_one_connection_and_the_controller_of_that_failed_in_nothing() {
    // Soon after it was ready, so that it would count as a failed start.
    let scene = || Scene::new().ready().sharing_its_connection();
    let mut ended = scene().container(exited(0, 12));
    ended.session(SessionSight::None);
    golden("ended_with_its_connection", &ended);
    let mut killed = scene().container(exited(137, 12));
    killed.session(SessionSight::None);
    golden("killed_without_its_connection", &killed);
}

#[test]
fn a_plugin_that_became_unreachable_soon_after_ready_backs_off_however_late_that_is_judged() {
    let mut scene = Scene::new().ready();
    let unreachable = |since| SessionSight::Failed {
        reason: RestartReason::Unhealthy,
        message: "it accepts no connection".into(),
        since,
    };
    scene.session(unreachable(at(12)));
    golden("unreachable_soon", &scene);
    scene.session(unreachable(at(80)));
    golden("unreachable_late", &scene);
}

#[test]
fn a_back_off_is_waited_out() {
    golden("backing_off", &Scene::new().backing_off(130));
    golden("backed_off", &Scene::new().backing_off(100));
}

#[test]
fn an_edit_ends_a_back_off() {
    let mut scene = Scene::new().backing_off(130);
    scene.target().edit.instance += 1;
    golden("back_off_cleared_by_edit", &scene);
}

#[test]
fn a_change_of_a_file_that_a_record_names_ends_a_back_off() {
    golden("back_off_cleared_by_file", &Scene::new().backing_off(130).edited());
}

#[test]
fn the_return_of_the_engine_ends_a_back_off() {
    let mut scene = Scene::new().backing_off(130);
    scene.absence(95, 99);
    golden("back_off_cleared_by_engine", &scene);
}

#[test]
fn a_container_lost_with_its_engine_counts_as_such() {
    let mut scene = Scene::new().ready().container(exited(137, 94));
    scene.absence(95, 99);
    golden("engine_lost", &scene);
}

#[test]
fn nothing_is_done_while_the_engine_is_down() {
    golden("engine_down", &Scene::new().ready().engine_down());
}

#[test]
fn an_edit_waits_for_its_turn() {
    golden("update_waits", &Scene::new().ready().edited());
}

#[test]
fn an_edit_replaces_the_container() {
    let mut scene = Scene::new().ready().edited();
    scene.situation.may_replace = true;
    golden("update_withdraws", &scene);
    scene.service(ServiceSight::Draining);
    golden("update_drains", &scene);
    scene.service(ServiceSight::Drained);
    golden("update", &scene);
}

#[test]
fn an_edit_that_cannot_be_started_leaves_the_container() {
    let mut scene = Scene::new().ready().edited();
    scene.situation.may_replace = true;
    scene.target().image = ImageSight::Missing;
    golden("update_blocked", &scene);
}

#[test]
fn a_container_that_was_asked_for_replaces_the_one_that_runs_at_its_turn_and_once() {
    let mut scene = Scene::new().ready().surge().renewed();
    golden("renewal_waits", &scene);
    scene.situation.may_replace = true;
    golden("renewal", &scene);
    scene.sight().stored = Scene::new().ready().sight().stored.clone();
    scene.stored().current.as_mut().unwrap().renewal = 1;
    assert!(plan(&scene.situation).steps.is_empty(), "it was made since");
}

#[test]
fn a_container_that_was_asked_for_waits_for_no_delay() {
    golden("renewal_backing_off", &Scene::new().backing_off(130).renewed());
    let mut judged_later = Scene::new().backing_off(130).renewed();
    judged_later.stored().current.as_mut().unwrap().end.as_mut().unwrap().edit.renewal = 1;
    golden("renewal_backing_off", &judged_later);
}

#[test]
fn a_start_of_before_a_renewal_is_not_taken_up() {
    golden("renewal_of_intended", &Scene::new().intended().renewed());
}

#[test]
fn an_update_that_was_cut_off_stops_the_old_container_first() {
    let mut scene = Scene::new().ready().replaced();
    scene.session(SessionSight::None);
    scene.service(ServiceSight::None);
    golden("update_cut_off", &scene);
}

#[test]
fn a_moved_tag_replaces_nothing() {
    let mut scene = Scene::new().ready();
    scene.target().image = ImageSight::Found { id: "sha256:other".into() };
    golden("tag_moved", &scene);
}

#[test]
fn a_declared_image_id_is_what_runs() {
    let mut scene = Scene::new();
    let target = scene.target();
    let mut recipe = (*target.recipe).clone();
    recipe.container.image_id = Some("sha256:feed".into());
    target.recipe = recipe.into();
    golden("pinned_image", &scene);
}

#[test]
fn of_two_containers_the_stored_one_is_kept() {
    golden("stray", &Scene::new().ready().stray(running()));
}

#[test]
fn what_runs_without_a_memory_is_replaced() {
    golden("memory_lost", &Scene::new().stray(running()));
}

#[test]
fn an_unwanted_slot_is_stopped_removed_and_forgotten() {
    let mut scene = Scene::new().ready();
    scene.situation.targets.clear();
    golden("deleted_withdraws", &scene);
    scene.service(ServiceSight::Drained);
    golden("deleted", &scene);
}

#[test]
fn an_unwanted_slot_on_an_engine_that_is_down_is_not_forgotten() {
    let mut scene = Scene::new().ready().engine_down();
    scene.situation.targets.clear();
    golden("deleted_unseen", &scene);
}

#[test]
fn a_moved_engine_is_started_on_first() {
    let mut scene = Scene::new().ready().moved();
    scene.situation.may_replace = true;
    golden("engine_moved", &scene);
}

#[test]
fn the_old_engine_is_cleaned_once_the_new_one_serves() {
    golden("engine_moved_starting", &Scene::new().ready().moved_to_new(false));
    golden("engine_moved_ready", &Scene::new().ready().moved_to_new(true));
}

#[test]
fn failures_are_forgotten_after_a_stable_time() {
    let mut scene = Scene::new().ready();
    scene.stored().failures = 3;
    golden("failures_kept", &scene);
    scene.situation.now = at(10 + 600);
    golden("failures_forgotten", &scene);
}

#[test]
fn a_paused_container_is_left_alone() {
    let mut scene = Scene::new().ready();
    scene.sight().containers[0].state = ContainerState::Running { started_at: at(2), pid: 7, paused: true };
    golden("paused", &scene);
}
