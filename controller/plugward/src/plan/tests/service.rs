//! What plans have to do with hosts: nobody is cut off who can be served.

use std::time::Duration;

use plugward_api::RestartReason;
use plugward_api::instance::UpdateStrategy;
use plugward_engine::ContainerState;

use super::golden;
use super::scene::{Scene, at, exited, running};
use crate::names::SlotName;
use crate::plan::{Activation, ServiceSight, SessionSight, Step, plan};
use crate::slot::{Edit, End};

fn healthy() -> SessionSight {
    SessionSight::Ready { handshake: "1|1|unix|/x|grpc".into(), since: at(60) }
}

fn on_demand(needed: bool, idle_since: i64) -> Activation {
    Activation::OnDemand { needed, idle_since: at(idle_since), idle_timeout: Duration::from_secs(60) }
}

#[test]
fn a_plugin_that_is_not_primed_yet_is_not_ready() {
    let mut scene = Scene::new().ready();
    scene.service(ServiceSight::Priming);
    golden("priming", &scene);
    let message = "Initialize: connection refused".to_owned();
    scene.service(ServiceSight::PrimingFailed { message, again_at: at(101) });
    golden("priming_failed", &scene);
    scene.service(ServiceSight::PrimingUnknown { mounts: vec!["orders".parse().unwrap()] });
    golden("priming_unknown", &scene);
}

#[test]
fn under_surge_the_successor_is_started_beside_the_one_that_serves() {
    let mut scene = Scene::new().ready().edited().surge();
    scene.situation.may_replace = true;
    golden("surge", &scene);
}

#[test]
fn under_surge_the_old_container_serves_until_the_new_one_does() {
    let mut scene = Scene::new().ready().surge().replaced().successor(running());
    golden("surge_starting", &scene);
    scene.successor_session(healthy(), ServiceSight::Priming);
    golden("surge_priming", &scene);
    let message = "Initialize: connection refused".to_owned();
    scene.successor_session(healthy(), ServiceSight::PrimingFailed { message, again_at: at(101) });
    golden("surge_priming_failed", &scene);
    scene.successor_session(
        healthy(),
        ServiceSight::PrimingUnknown { mounts: vec!["orders".parse().unwrap()] },
    );
    golden("surge_priming_unknown", &scene);
    scene.successor_session(healthy(), ServiceSight::Serving);
    scene.service(ServiceSight::Draining);
    golden("surge_draining", &scene);
    scene.service(ServiceSight::Drained);
    golden("surge_done", &scene);
}

#[test]
fn under_surge_a_new_controller_takes_up_both() {
    let mut scene = Scene::new().ready().surge().replaced().successor(running());
    scene.session(SessionSight::None);
    scene.service(ServiceSight::None);
    golden("surge_adopted", &scene);
}

#[test]
fn an_edit_during_a_switch_waits_until_the_old_container_is_gone() {
    let mut scene = Scene::new().ready().surge().replaced().successor(running());
    scene.successor_session(healthy(), ServiceSight::Serving);
    scene.service(ServiceSight::Draining);
    scene.situation.may_replace = true;
    scene.target().hash = crate::recipe::SpecHash::from_label("v1-cccc");
    golden("surge_edited", &scene);
    scene.service(ServiceSight::Drained);
    golden("surge_edited_done", &scene);
}

#[test]
fn an_update_that_fails_leaves_the_old_container_serving() {
    let scene = failed_update();
    golden("surge_failing", &scene);
}

#[test]
fn the_old_container_comes_back_if_it_dies_while_the_update_fails() {
    let mut scene = failed_update();
    scene.sight().containers[0].state = exited(137, 99);
    scene.session(SessionSight::None);
    scene.service(ServiceSight::None);
    golden("fall_back", &scene);
    scene.sight().containers.remove(0);
    golden("fall_back_removed", &scene);
}

#[test]
fn an_update_that_ended_with_its_controller_has_not_failed() {
    let mut scene = failed_update();
    scene.stored().current.as_mut().unwrap().end.as_mut().unwrap().reason = RestartReason::NotAdoptable;
    scene.sight().containers.remove(0);
    golden("update_not_adopted", &scene);
}

#[test]
fn what_came_back_is_left_alone_until_it_serves() {
    let mut scene = Scene::new().ready().edited().surge();
    scene.situation.may_replace = true;
    scene.stored().current.as_mut().unwrap().fallback = true;
    scene.session(SessionSight::Connecting);
    scene.service(ServiceSight::None);
    golden("fallen_back", &scene);
    scene.session(healthy());
    scene.service(ServiceSight::Serving);
    golden("surge", &scene);
}

#[test]
fn an_instance_on_demand_runs_nothing_until_it_is_needed() {
    let mut scene = Scene::new();
    scene.target().activation = on_demand(false, 0);
    golden("idle", &scene);
    scene.target().activation = on_demand(true, 0);
    golden("first_start", &scene);
}

#[test]
fn an_instance_on_demand_that_cannot_be_started_says_so() {
    let mut scene = Scene::new();
    scene.target().activation = on_demand(false, 0);
    scene.target().image = crate::plan::ImageSight::Missing;
    golden("missing_image", &scene);
}

#[test]
fn an_instance_that_is_not_needed_any_more_goes_to_sleep() {
    let mut scene = Scene::new().ready();
    scene.target().activation = on_demand(false, 50);
    golden("sleepy", &scene);
    scene.target().activation = on_demand(false, 40);
    golden("falls_asleep", &scene);
    scene.service(ServiceSight::Drained);
    golden("asleep", &scene);
}

#[test]
fn whether_an_instance_is_needed_still_is_asked_again() {
    let mut scene = Scene::new().ready();
    scene.target().activation = on_demand(true, 0);
    golden("awake", &scene);
}

#[test]
fn what_is_needed_while_it_goes_is_started_anew() {
    let mut scene = Scene::new().ready();
    scene.target().activation = on_demand(true, 40);
    scene.service(ServiceSight::Draining);
    golden("needed_draining", &scene);
    scene.service(ServiceSight::Drained);
    golden("needed_again", &scene);
}

#[test]
fn a_back_off_is_kept_to_though_nothing_is_needed() {
    let mut scene = Scene::new().backing_off(130);
    scene.target().activation = on_demand(false, 0);
    golden("backing_off", &scene);
}

#[test]
fn who_failed_before_it_fell_asleep_is_not_as_new() {
    let mut scene = Scene::new();
    scene.target().activation = on_demand(true, 100);
    scene.stored().starts = 4;
    scene.stored().failures = 3;
    golden("wakes_after_failures", &scene);
}

#[test]
fn a_slot_that_is_not_wanted_any_more_serves_until_its_successors_do() {
    let mut scene = Scene::new().ready().surge();
    let target = scene.situation.targets.remove(&SlotName::Shared).unwrap();
    scene.situation.targets.insert("mount-orders".parse().unwrap(), target);
    golden("slot_changes", &scene);
    scene.situation.targets.values_mut().for_each(|target| target.strategy = UpdateStrategy::Recreate);
    golden("slot_changes_recreate", &scene);
    scene.situation.slots.clear();
    scene.situation.latest_start = 4;
    golden("slot_changed", &scene);
}

#[test]
fn what_is_left_of_an_instance_is_looked_at_without_the_slot_that_was_forgotten() {
    let mut scene = Scene::new();
    scene.stored().starts = 1;
    let mut target = scene.situation.targets.remove(&SlotName::Shared).unwrap();
    target.strategy = UpdateStrategy::Recreate;
    scene.situation.targets.insert("mount-orders".parse().unwrap(), target);
    let plan = plan(&scene.situation);
    assert!(plan.steps.iter().any(|step| matches!(step, Step::Forget { .. })));
    assert_eq!(plan.look_again, Some(at(100)));
}

/// The update did not become ready, and is tried again later.
fn failed_update() -> Scene {
    let mut scene = Scene::new().ready().surge().replaced().successor(exited(1, 95));
    let edit = Edit { instance: 2, runtime: 1, renewal: 0 };
    let start = scene.stored().current.as_mut().unwrap();
    start.created = true;
    start.end = Some(End { reason: RestartReason::Exited, at: at(95), retry_at: at(130), edit });
    assert!(matches!(scene.sight().containers[0].state, ContainerState::Running { .. }));
    scene
}

#[test]
fn a_spare_is_started_when_the_slot_serves() {
    let mut scene = Scene::new().spare_wanted();
    golden("spare_first_start", &scene);
    scene = Scene::new().ready().spare_wanted();
    golden("spare_start", &scene);
}

#[test]
fn a_ready_spare_takes_the_place_of_a_container_that_ends() {
    let mut scene = Scene::new().ready().spare_wanted().spare_ready();
    golden("spare_ready", &scene);
    scene.sight().containers[0].state = exited(137, 99);
    scene.session(SessionSight::None);
    scene.service(ServiceSight::None);
    golden("spare_promoted", &scene);
}

#[test]
fn the_plan_follows_hosts_to_the_spare_that_they_use() {
    let mut scene = Scene::new().ready().spare_wanted().spare_ready();
    scene.spare().took_over = Some(SlotName::Shared);
    scene.session(SessionSight::Connecting);
    scene.service(ServiceSight::None);
    golden("spare_serves", &scene);
    scene.session(healthy());
    scene.service(ServiceSight::Drained);
    golden("spare_took_over", &scene);
}

#[test]
fn a_spare_that_was_promoted_before_a_crash_is_forgotten_as_a_spare() {
    let mut scene = Scene::new().ready().spare_wanted().spare_ready();
    let promoted = scene.situation.slots[&SlotName::Spare(1)].clone();
    scene.stored().current.clone_from(&promoted.stored.current);
    scene.sight().containers = promoted.containers;
    scene.situation.slots.get_mut(&SlotName::Spare(1)).unwrap().containers.clear();
    golden("spare_promoted_twice", &scene);
}

#[test]
fn a_spare_of_an_earlier_edit_takes_no_place() {
    let mut scene = Scene::new().ready().spare_wanted().spare_ready().edited();
    scene.situation.targets.get_mut(&SlotName::Spare(1)).unwrap().hash =
        crate::recipe::SpecHash::from_label("v1-bbbb");
    scene.sight().containers[0].state = exited(137, 99);
    scene.session(SessionSight::None);
    scene.service(ServiceSight::None);
    golden("spare_outdated", &scene);
}

#[test]
fn a_renewal_is_of_spares_too_and_none_of_before_takes_a_place() {
    let mut scene = Scene::new().ready().surge().renewed().spare_wanted().spare_ready();
    golden("renewal_spare_waits", &scene);
    scene.situation.may_replace = true;
    golden("renewal_spare", &scene);
    scene.sight().containers[0].state = exited(137, 90);
    golden("renewal_spare_takes_no_place", &scene);
}
