//! Promises 3 and 4: a container that dies, by whatever hand, is running again; and when the next start waits.

use std::collections::BTreeMap;

use plugward_api::{Phase, RestartReason, SlotStatus};
use plugward_engine::ContainerState;
use plugward_tests::real::{World, counter, hostile, on_each_engine, restarts, runtime, slot};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

#[tokio::test]
async fn a_container_that_is_killed_runs_again() {
    on_each_engine(|world| async move {
        let before = ready_counter(&world).await;
        world.engine.kill(id(&before)).await;
        let after = world.until_ready_again("counter", &before).await;
        restarted(&world, &after, "killed").await;
        let exit = after.last_exit.unwrap();
        assert_eq!((exit.reason, exit.code, exit.oom_killed), (RestartReason::Killed, Some(137), false));
    })
    .await;
}

#[tokio::test]
async fn a_plugin_whose_process_is_killed_on_the_machine_runs_again() {
    on_each_engine(|world| async move {
        let before = ready_counter(&world).await;
        let ContainerState::Running { pid, .. } = world.container(&before).await.state else {
            panic!("it runs")
        };
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
        let after = world.until_ready_again("counter", &before).await;
        restarted(&world, &after, "killed").await;
    })
    .await;
}

#[tokio::test]
async fn a_container_that_is_removed_by_force_runs_again() {
    on_each_engine(|world| async move {
        let before = ready_counter(&world).await;
        world.engine.remove(id(&before)).await;
        let after = world.until_ready_again("counter", &before).await;
        restarted(&world, &after, "removed").await;
        assert_eq!(after.last_exit.unwrap().code, None, "nobody knows how it ended");
    })
    .await;
}

#[tokio::test]
async fn what_is_done_to_a_ready_plugin_from_outside_never_backs_off() {
    on_each_engine(|world| async move {
        let mut seen = ready_counter(&world).await;
        for round in 1..=6 {
            if round % 2 == 0 {
                world.engine.remove(id(&seen)).await;
            } else {
                world.engine.kill(id(&seen)).await;
            }
            let status = world
                .until("counter", "is ready again", |status| {
                    assert_ne!(status.phase, Phase::BackingOff, "round {round}");
                    status.phase == Phase::Ready && slot(status).container_id != seen.container_id
                })
                .await;
            seen = slot(&status).clone();
            assert_eq!((seen.failures, seen.restarts), (0, round));
        }
        assert_eq!(restarts(&seen), BTreeMap::from([("killed", 3), ("removed", 3)]));
        let events = world.status("counter").await.unwrap().events;
        assert!(events.iter().all(|event| event.reason != "BackOff"), "{events:?}");
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_ends_at_once_backs_off_and_more_each_time() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let exiting = hostile("crash", &["exit", "--code", "3", "--message", "no such database"]);
        world.declare("crash.yaml", &[exiting.with("/spec/restart/initialBackoff", json!("100ms"))]);
        world.start().await;

        let mut delays = Vec::new();
        for failures in 1..=4 {
            let status = world
                .until("crash", "backs off", |status| {
                    status.phase == Phase::BackingOff && slot(status).failures >= failures
                })
                .await;
            let slot = slot(&status).clone();
            let exit = slot.last_exit.unwrap();
            assert_eq!((exit.reason, exit.code), (RestartReason::Exited, Some(3)));
            assert_eq!(exit.output, ["no such database"]);
            delays.push(slot.backoff_until.unwrap().duration_since(exit.finished_at).as_millis());
        }
        // 100 ms, doubled three times, and at least half of that with its jitter.
        assert!(delays[3] >= 400, "{delays:?}");
        let status = world.status("crash").await.unwrap();
        assert!(status.events.iter().any(|event| event.reason == "BackOff"), "{:?}", status.events);
        assert!(world.metrics().await.restarts("crash", "exited").unwrap() >= 3.0);
        assert!(world.containers().await.len() <= 2, "what ended does not pile up");
    })
    .await;
}

#[tokio::test]
async fn an_edit_ends_a_long_backoff() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let slow = json!({ "initialBackoff": "1h", "maxBackoff": "2h" });
        world.declare("crash.yaml", &[hostile("crash", &["exit"]).with("/spec/restart", slow)]);
        world.start().await;
        let status = world.until("crash", "backs off", |status| status.phase == Phase::BackingOff).await;
        assert!(slot(&status).backoff_until.is_some());

        world.declare("crash.yaml", &[hostile("crash", &["die", "--after-ms", "3600000"])]);
        let ready = world.until_ready("crash").await;
        assert_eq!(ready.failures, 0);
        assert_eq!(ready.backoff_until, None);
        assert_eq!(restarts(&ready), BTreeMap::from([("exited", 1)]));
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_ends_soon_after_it_was_ready_backs_off() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("crash.yaml", &[hostile("crash", &["die", "--after-ms", "700", "--code", "7"])]);
        world.start().await;
        let status = world
            .until("crash", "has failed twice", |status| {
                status.phase == Phase::BackingOff && slot(status).failures >= 2
            })
            .await;
        let exit = slot(&status).last_exit.clone().unwrap();
        assert_eq!((exit.reason, exit.code), (RestartReason::Exited, Some(7)));
        assert!(
            status.events.iter().any(|event| event.reason == "Ready"),
            "it was ready: {:?}",
            status.events
        );
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_takes_more_memory_than_it_may_is_told_apart() {
    on_each_engine(|world| async move {
        let limited = runtime(&world.engine.host).with("/spec/resources/memory", json!("64Mi"));
        world.declare("runtime.yaml", &[limited]);
        world.declare("hoard.yaml", &[hostile("hoard", &["allocate", "--after-ms", "500"])]);
        world.start().await;
        let status = world
            .until("hoard", "ended for its memory", |status| {
                slot(status).last_exit.as_ref().is_some_and(|exit| exit.oom_killed)
            })
            .await;
        let exit = slot(&status).last_exit.clone().unwrap();
        assert_eq!(exit.reason, RestartReason::OomKilled);
        world
            .until("hoard", "was restarted", |status| restarts(slot(status)).contains_key("oom_killed"))
            .await;
        assert!(world.metrics().await.restarts("hoard", "oom_killed").unwrap() >= 1.0);
        let events = world.status("hoard").await.unwrap().events;
        assert!(events.iter().any(|event| event.message.contains("memory limit")), "{events:?}");
    })
    .await;
}

/// A controller with one plugin that is ready.
async fn ready_counter(world: &World) -> SlotStatus {
    world.declare_runtime();
    world.declare("counter.yaml", &[counter("counter")]);
    world.start().await;
    world.until_ready("counter").await
}

fn id(slot: &SlotStatus) -> &str {
    slot.container_id.as_deref().unwrap()
}

/// It was restarted once, for this reason, and that is all.
async fn restarted(world: &World, slot: &SlotStatus, reason: &str) {
    assert_eq!(restarts(slot), BTreeMap::from([(reason, 1)]));
    assert_eq!(slot.failures, 0);
    let metrics = world.metrics().await;
    assert_eq!(metrics.restarts("counter", reason), Some(1.0));
    assert_eq!(metrics.total("plugward_plugin_restarts_total"), 1);
    world.settle().await;
    assert_eq!(world.containers().await.len(), 1, "the dead container is gone");
}
