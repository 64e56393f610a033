//! Runtime records: missing, deleted, changed, moved; and what is not supported.

use std::collections::BTreeMap;

use plugward::names::cluster_selector;
use plugward_api::{InstanceCondition, Phase, SlotStatus};
use plugward_engine::Phase as ContainerPhase;
use plugward_tests::real::{
    Manifest, World, counter, on_each_engine, on_one_engine, restarts, runtime, slot,
};
use serde_json::json;

const NAMES: [&str; 3] = ["one", "two", "three"];

#[tokio::test]
async fn an_instance_waits_for_its_runtime_and_starts_when_it_appears() {
    on_each_engine(|world| async move {
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let message =
            world.until_condition("counter", InstanceCondition::RuntimeAvailable, "RuntimeNotFound").await;
        assert!(message.contains("runc"), "{message}");
        assert_eq!(world.status("counter").await.unwrap().phase, Phase::Pending);
        world.declare_runtime();
        world.until_ready("counter").await;
    })
    .await;
}

#[tokio::test]
async fn an_instance_whose_runtime_is_deleted_runs_on_and_is_healed() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        world.remove("runtime.yaml");
        world.until_condition("counter", InstanceCondition::RuntimeAvailable, "RuntimeNotFound").await;
        world.settle().await;
        same(&world, &before).await;

        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        let healed = world.until_ready_again("counter", &before).await;
        assert_eq!(restarts(&healed), BTreeMap::from([("killed", 1)]));

        world.declare_runtime();
        world.until_condition("counter", InstanceCondition::RuntimeAvailable, "Available").await;
        same(&world, &healed).await;
    })
    .await;
}

#[tokio::test]
async fn a_changed_runtime_replaces_its_instances_one_at_a_time() {
    on_each_engine(|world| async move {
        let before = three_ready(&world).await;
        let smaller = runtime(&world.engine.host).with("/spec/resources/memory", json!("64Mi"));
        world.declare("runtime.yaml", &[smaller]);
        let mut after = Vec::new();
        for name in NAMES {
            let slot = world.until_ready_again(name, &before[name]).await;
            assert_eq!((slot.restarts, slot.failures), (0, 0), "{name}");
            after.push(slot);
        }
        after.sort_by_key(|slot| slot.started_at);
        for pair in after.windows(2) {
            assert!(pair[1].started_at >= pair[0].ready_at, "two were replaced at once: {pair:?}");
        }
        world.settle().await;
        assert_eq!(world.containers().await.len(), NAMES.len());
    })
    .await;
}

#[tokio::test]
async fn a_replacement_that_fails_stops_the_roll_until_the_next_edit() {
    on_each_engine(|world| async move {
        let before = three_ready(&world).await;
        // Only the engine knows which networks there are.
        let impossible = runtime(&world.engine.host).with("/spec/network", json!("nowhere"));
        world.declare("runtime.yaml", &[impossible]);
        let failed = world
            .wait("one has failed, and the others wait", async || {
                let mut reasons = BTreeMap::new();
                for name in NAMES {
                    let status = world.status(name).await?;
                    let progressing = status.conditions.get(InstanceCondition::Progressing)?.reason.clone();
                    reasons.entry(progressing).or_insert_with(Vec::new).push(name);
                }
                let counts = (reasons.get("UpdateFailed")?.len(), reasons.get("WaitingForTurn")?.len());
                (counts == (1, 2)).then(|| reasons["UpdateFailed"][0])
            })
            .await;
        world.settle().await;
        for name in NAMES.into_iter().filter(|name| *name != failed) {
            let status = world.status(name).await.unwrap();
            assert_eq!((status.phase, slot(&status)), (Phase::Ready, &before[name]), "{name}");
        }
        let status = world.status(failed).await.unwrap();
        assert_eq!(slot(&status).last_exit.as_ref().unwrap().reason.as_str(), "start_failed");

        world.declare_runtime();
        for name in NAMES {
            let slot = world.until_ready(name).await;
            assert_eq!(slot.failures, 0, "{name}");
            assert_eq!(slot.container_id == before[name].container_id, name != failed, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_oci_runtime_that_the_engine_lacks_is_told_with_those_it_has() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        let unknown = runtime(&world.engine.host).with("/spec/ociRuntime", json!("kata"));
        world.declare("runtime.yaml", &[unknown]);
        let message =
            world.until_condition("counter", InstanceCondition::RuntimeAvailable, "OciRuntimeUnknown").await;
        assert!(message.contains("kata"), "{message}");
        for known in world.engine.oci_runtimes().await {
            assert!(message.contains(&known), "{known} is not in {message:?}");
        }
        world.until_condition("counter", InstanceCondition::Progressing, "UpdateBlocked").await;
        world.settle().await;
        same(&world, &before).await;

        world.declare("second.yaml", &[counter("second")]);
        world.until_condition("second", InstanceCondition::RuntimeAvailable, "OciRuntimeUnknown").await;
        assert_eq!(world.status("second").await.unwrap().phase, Phase::Pending);
        world.declare_runtime();
        world.until_ready("second").await;
        same(&world, &before).await;
    })
    .await;
}

#[tokio::test]
async fn an_edit_that_cannot_be_acted_on_changes_nothing_that_runs() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        let absent = json!([{ "file": "/etc/plugward/is-not-there.env" }]);
        let edit = counter("counter").with("/spec/envFrom", absent.clone()).with("/spec/env/NEW", json!("1"));
        world.declare("counter.yaml", &[edit]);
        let message = world.until_condition("counter", InstanceCondition::Accepted, "FileUnusable").await;
        assert!(message.contains("is-not-there.env"), "{message}");
        world.settle().await;
        same(&world, &before).await;

        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        let healed = world.until_ready_again("counter", &before).await;
        let (_, seen) = world
            .engine
            .api("GET", &format!("/containers/{}/json", healed.container_id.as_deref().unwrap()))
            .await;
        assert!(!seen["Config"]["Env"].as_array().unwrap().contains(&json!("NEW=1")), "as it was accepted");

        world.declare("counter.yaml", &[counter("counter")]);
        world.until_condition("counter", InstanceCondition::Accepted, "Accepted").await;
        world.settle().await;
        same(&world, &healed).await;

        world.declare("new.yaml", &[counter("new").with("/spec/envFrom", absent)]);
        world.until_condition("new", InstanceCondition::Accepted, "FileUnusable").await;
        assert_eq!(world.containers().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_moves_to_another_engine_runs_there_before_it_ends_here() {
    on_one_engine(|world| async move {
        let [here, there] = [world.engines.first(), world.engines.get(1)];
        let (Some(here), Some(there)) = (here, there) else {
            assert!(std::env::var_os("PLUGWARD_REQUIRE_ALL").is_none(), "two engines are needed");
            return;
        };
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        world.declare("runtime.yaml", &[runtime(&there.host)]);

        let labels = cluster_selector(&world.cluster);
        let running = async || {
            let mut running = Vec::new();
            // There first: what is removed here by then was ready there before.
            for engine in [there, here] {
                let containers = engine.containers(&labels).await;
                running.extend(containers.into_iter().filter(|found| found.phase == ContainerPhase::Running));
            }
            running
        };
        world
            .wait("it runs there alone", async || {
                let running = running().await;
                assert!(!running.is_empty(), "it ran nowhere");
                let moved =
                    running.iter().all(|found| Some(found.id.as_str()) != before.container_id.as_deref());
                moved.then_some(())
            })
            .await;
        let after = world.until_ready_again("counter", &before).await;
        assert_eq!((after.restarts, after.failures), (0, 0));
        world.settle().await;
        assert_eq!(here.containers(&labels).await.len(), 0);
        assert_eq!(there.containers(&labels).await.len(), 1);

        there.kill(after.container_id.as_deref().unwrap()).await;
        world.until_ready_again("counter", &after).await;
    })
    .await;
}

/// Three instances of one runtime, ready. They take a while to start, so that two at once would be seen.
async fn three_ready(world: &World) -> BTreeMap<&'static str, SlotStatus> {
    world.declare_runtime();
    let slow = |name: &&str| counter(name).with("/spec/env/COUNTER_START_DELAY_MS", json!("300"));
    let instances: Vec<Manifest> = NAMES.iter().map(slow).collect();
    world.declare("all.yaml", &instances);
    world.start().await;
    let mut ready = BTreeMap::new();
    for name in NAMES {
        ready.insert(name, world.until_ready(name).await);
    }
    ready
}

/// The plugin is ready in the container that it had.
async fn same(world: &World, before: &SlotStatus) {
    let status = world.status("counter").await.unwrap();
    assert_eq!(status.phase, Phase::Ready);
    assert_eq!(slot(&status).container_id, before.container_id);
    assert_eq!(slot(&status).restarts, before.restarts);
}
