//! Engines that do not answer, go away and come back.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use plugward_api::{ConditionStatus, InstanceCondition, Phase, RuntimeCondition, SlotStatus};
use plugward_engine::ContainerState;
use plugward_tests::real::{World, counter, on_each_engine, on_each_spare_engine, runtime, slot};
use rustix::process::Signal;

const NAMES: [&str; 2] = ["one", "two"];

#[tokio::test]
async fn plugins_wait_for_an_engine_that_does_not_answer_and_start_when_it_does() {
    on_each_engine(|world| async move {
        let socket = world.path("engine.sock");
        world.declare("runtime.yaml", &[runtime(&format!("unix://{}", socket.display()))]);
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;

        let message =
            world.until_condition("counter", InstanceCondition::RuntimeAvailable, "EngineUnreachable").await;
        assert!(message.contains(&*socket.to_string_lossy()), "{message}");
        let status = world.status("counter").await.unwrap();
        assert_eq!(status.phase, Phase::Pending);
        assert!(!status.conditions.is_true(InstanceCondition::Ready));
        reachable(&world, ConditionStatus::False).await;
        assert!(world.until_readyz(503).await.contains("no engine answers"));
        assert_eq!(world.http("/healthz").await.unwrap().0, 200);
        assert_eq!(engine_up(&world).await, Some(0.0));

        symlink(world.engine.host.strip_prefix("unix://").unwrap(), &socket).unwrap();
        let ready = world.until_ready("counter").await;
        assert_eq!((ready.restarts, ready.failures), (0, 0));
        world.until_readyz(200).await;
        reachable(&world, ConditionStatus::True).await;
        assert_eq!(engine_up(&world).await, Some(1.0));
    })
    .await;
}

#[tokio::test]
async fn one_engine_that_is_down_leaves_the_plugins_of_another_alone() {
    on_each_engine(|world| async move {
        let nowhere = format!("unix://{}", world.path("nowhere.sock").display());
        world.declare("runtime.yaml", &[runtime(&world.engine.host), runtime(&nowhere).on("crun")]);
        world.declare("counter.yaml", &[counter("counter")]);
        world.declare("lost.yaml", &[counter("lost").on("crun").with("/metadata/name", "lost".into())]);
        world.start().await;
        world.until_condition("lost", InstanceCondition::RuntimeAvailable, "EngineUnreachable").await;
        let before = world.until_ready("counter").await;
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        world.until_ready_again("counter", &before).await;
        world.until_readyz(200).await;
    })
    .await;
}

#[tokio::test]
async fn plugins_that_end_with_their_engine_are_back_when_it_is() {
    on_each_spare_engine(false, |world, engine| async move {
        let mut before = two_ready(&world).await;
        for signal in [Signal::TERM, Signal::KILL] {
            engine.end(signal).await;
            assert!(world.until_readyz(503).await.contains("no engine answers"));
            reachable(&world, ConditionStatus::False).await;
            for name in NAMES {
                world.until_condition(name, InstanceCondition::RuntimeAvailable, "EngineUnreachable").await;
            }
            engine.start().await;
            for name in NAMES {
                let after = world.until_ready_again(name, &before[name]).await;
                assert_eq!(after.failures, 0, "{signal:?}: {after:?}");
                let reason = after.last_exit.as_ref().unwrap().reason.as_str();
                assert!(["engine_lost", "killed"].contains(&reason), "{signal:?}: {after:?}");
                assert_eq!(after.restarts, before[name].restarts + 1, "{signal:?}: {after:?}");
                let events = world.status(name).await.unwrap().events;
                assert!(events.iter().all(|event| event.reason != "BackOff"), "{signal:?}: {events:?}");
                before.insert(name, after);
            }
            world.until_readyz(200).await;
            reachable(&world, ConditionStatus::True).await;
            world.settle().await;
            assert_eq!(world.containers().await.len(), NAMES.len(), "{signal:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn plugins_that_outlive_their_engine_go_on() {
    on_each_spare_engine(true, |world, engine| async move {
        let before = two_ready(&world).await;
        for signal in [Signal::TERM, Signal::KILL] {
            engine.end(signal).await;
            world.until_readyz(503).await;
            for name in NAMES {
                world.until_condition(name, InstanceCondition::RuntimeAvailable, "EngineUnreachable").await;
            }
            engine.start().await;
            world.until_synced().await;
            for name in NAMES {
                let after = world.until_ready(name).await;
                assert_eq!(after.container_id, before[name].container_id, "{signal:?}");
                assert_eq!(after.restarts, 0, "{signal:?}");
            }
        }
        // They are still looked after.
        world.engine.kill(before["one"].container_id.as_deref().unwrap()).await;
        world.until_ready_again("one", &before["one"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_ends_while_its_engine_is_down_adopts_what_outlived_both() {
    on_each_spare_engine(true, |world, engine| async move {
        let before = two_ready(&world).await;
        engine.end(Signal::TERM).await;
        world.until_readyz(503).await;
        world.terminate().await;
        world.remove("two.yaml");
        world.start().await;
        world.until_readyz(503).await;
        engine.start().await;
        world.until_synced().await;
        world.until_gone("two").await;
        let one = world.until_ready("one").await;
        assert_eq!((&one.container_id, one.restarts), (&before["one"].container_id, 0));
        assert!(matches!(world.container(&one).await.state, ContainerState::Running { .. }));
    })
    .await;
}

async fn two_ready(world: &World) -> BTreeMap<&'static str, SlotStatus> {
    world.declare_runtime();
    for name in NAMES {
        world.declare(&format!("{name}.yaml"), &[counter(name)]);
    }
    world.start().await;
    let mut ready = BTreeMap::new();
    for name in NAMES {
        ready.insert(name, world.until_ready(name).await);
        let status = world.status(name).await.unwrap();
        assert!(slot(&status).container_id.is_some());
    }
    ready
}

async fn reachable(world: &World, wanted: ConditionStatus) {
    world
        .wait(&format!("EngineReachable is {wanted:?}"), async || {
            let status = world.runtime("runc").await?;
            let condition = status.conditions.get(RuntimeCondition::EngineReachable)?.status;
            (condition == wanted).then_some(())
        })
        .await;
}

async fn engine_up(world: &World) -> Option<f64> {
    world.metrics().await.get("plugward_engine_up{plugin_runtime=\"runc\"}")
}
