//! Promise 1: a declared plugin runs, an edit changes it, a removed record removes it.

use std::collections::BTreeMap;
use std::slice;

use plugward_api::{InstanceCondition, Phase, SlotStatus};
use plugward_tests::real::{
    COUNTER, Manifest, World, counter, go_counter, on_each_engine, restarts, runtime, slot,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_declared_plugin_runs_until_its_record_is_removed() {
    on_each_engine(|world| async move { live(&world, "runc").await }).await;
}

#[tokio::test]
async fn a_plugin_lives_and_is_healed_under_every_oci_runtime_of_an_engine() {
    on_each_engine(|world| async move {
        let runtimes = world.engine.oci_runtimes().await;
        assert!(runtimes.contains(&"runsc".to_owned()), "{runtimes:?}");
        world.start().await;
        for oci_runtime in runtimes {
            world.declare("runtime.yaml", &[runtime(&world.engine.host).on(&oci_runtime)]);
            world.declare("counter.yaml", &[counter("counter").on(&oci_runtime)]);
            heal_and_remove(&world, "counter").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_plugin_made_with_go_plugin_runs_and_is_healed_on_runc_and_gvisor() {
    on_each_engine(|world| async move {
        world.start().await;
        for oci_runtime in ["runc", "runsc"] {
            world.declare("runtime.yaml", &[runtime(&world.engine.host).on(oci_runtime)]);
            world.declare("counter.yaml", &[go_counter("counter").on(oci_runtime)]);
            heal_and_remove(&world, "counter").await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_edit_of_what_a_container_is_made_of_replaces_it_once() {
    on_each_engine(|world| async move {
        world.tag(COUNTER, "2").await;
        let runtime = runtime(&world.engine.host);
        world.declare("runtime.yaml", slice::from_ref(&runtime));
        let first = counter("counter");
        world.declare("counter.yaml", slice::from_ref(&first));
        world.start().await;
        let mut before = world.until_ready("counter").await;

        let args = first.with("/spec/args", json!(["--start-delay-ms", "1"]));
        let env = args.clone().with("/spec/env/COUNTER_GREETING", json!("hello"));
        let image = env.clone().with("/spec/image", json!({ "repository": world.repository(), "tag": "2" }));
        for edit in [args, env, image] {
            before = replaced(&world, &before, || world.declare("counter.yaml", &[edit])).await;
        }
        let smaller = runtime.with("/spec/resources", json!({ "memory": "64Mi", "cpu": "250m", "pids": 50 }));
        let last = replaced(&world, &before, || world.declare("runtime.yaml", &[smaller])).await;

        let (_, seen) =
            world.engine.api("GET", &format!("/containers/{}/json", last.container_id.unwrap())).await;
        assert_eq!(seen["Args"], json!(["--start-delay-ms", "1"]));
        assert!(seen["Config"]["Env"].as_array().unwrap().contains(&json!("COUNTER_GREETING=hello")));
        assert_eq!(seen["HostConfig"]["Memory"], 64 << 20);
        assert_eq!(seen["HostConfig"]["NanoCpus"], 250_000_000);
        assert_eq!(seen["HostConfig"]["PidsLimit"], 50);
        assert_eq!(seen["Config"]["Image"], format!("{}:2", world.repository()));
        assert_eq!(world.metrics().await.total("plugward_plugin_restarts_total"), 0, "an edit is no restart");
    })
    .await;
}

#[tokio::test]
async fn an_edit_of_anything_else_replaces_nothing() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let first = counter("counter");
        world.declare("counter.yaml", slice::from_ref(&first));
        world.start().await;
        let before = world.until_ready("counter").await;
        let starts = world.starts("counter");

        let edits: [(&str, Value); 5] = [
            ("/metadata/labels", json!({ "team": "orders" })),
            ("/metadata/annotations", json!({ "note": "a word" })),
            ("/spec/restart", json!({ "initialBackoff": "1s", "maxBackoff": "1m", "resetAfter": "1m" })),
            ("/spec/startTimeout", json!("30s")),
            ("/spec/update/strategy", json!("Recreate")),
        ];
        let mut edited = first;
        for (pointer, value) in edits {
            let told = async || world.ask("/v1/instances/counter").await.unwrap().pointer(pointer).cloned();
            let told_before = told().await;
            edited = edited.with(pointer, value);
            world.declare("counter.yaml", &[edited.clone()]);
            world.settle().await;
            assert_ne!(told().await, told_before, "{pointer}: the edit was seen");
            let after = world.status("counter").await.unwrap();
            assert_eq!(after.phase, Phase::Ready, "{pointer}");
            assert!(
                after.conditions.is_true(InstanceCondition::Accepted),
                "{pointer}: {:?}",
                after.conditions
            );
            assert_eq!(slot(&after).container_id, before.container_id, "{pointer}");
        }
        assert_eq!(world.starts("counter"), starts);
    })
    .await;
}

#[tokio::test]
async fn several_plugins_of_one_file_live_by_themselves() {
    on_each_engine(|world| async move {
        let runtime = runtime(&world.engine.host);
        let all = ["one", "two", "three"];
        let declare = |names: &[&str]| {
            let instances = names.iter().map(|name| counter(name));
            let records: Vec<Manifest> = std::iter::once(runtime.clone()).chain(instances).collect();
            world.declare("all.yaml", &records);
        };
        declare(&all);
        world.start().await;
        let mut before = BTreeMap::new();
        for name in all {
            before.insert(name, world.until_ready(name).await);
        }
        declare(&["one", "three"]);
        world.until_gone("two").await;
        for name in ["one", "three"] {
            assert_eq!(world.until_ready(name).await.container_id, before[name].container_id);
        }
        assert_eq!(world.containers().await.len(), 2);
    })
    .await;
}

/// From the manifest to the last trace.
async fn live(world: &World, oci_runtime: &str) {
    world.declare("runtime.yaml", &[runtime(&world.engine.host).on(oci_runtime)]);
    world.start().await;
    world.declare("counter.yaml", &[counter("counter").on(oci_runtime)]);

    let ready = world.until_ready("counter").await;
    assert_eq!(ready.mounts, ["counter"]);
    assert_eq!((ready.restarts, ready.failures), (0, 0));
    assert!(ready.start_times.start.is_some() && ready.start_times.handshake.is_some(), "{ready:?}");
    let metrics = world.metrics().await;
    assert_eq!(metrics.mounts("counter"), Some(1.0));
    assert_eq!(metrics.restarts("counter", "killed"), Some(0.0), "a counter is there before the first event");
    let directory = world.sockets().join("plugins").join(ready.container_name.unwrap());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "the plugin's socket is in its directory");
    assert_eq!(world.containers().await.len(), 1);

    world.remove("counter.yaml");
    world.until_gone("counter").await;
    assert!(!directory.exists());
    assert!(!world.stored_path("counter").exists());
    let metrics = world.metrics().await;
    assert_eq!(metrics.of_instance("counter"), Vec::<&str>::new());
}

/// A declared plugin becomes ready, is killed, is ready again, and goes with its record.
async fn heal_and_remove(world: &World, name: &str) {
    let first = world.until_ready(name).await;
    world.engine.kill(first.container_id.as_deref().unwrap()).await;
    let second = world.until_ready_again(name, &first).await;
    assert_eq!(restarts(&second), BTreeMap::from([("killed", 1)]));
    world.remove("counter.yaml");
    world.until_gone(name).await;
}

/// Makes an edit, and waits until it took effect: in one new container, without a restart.
async fn replaced(world: &World, before: &SlotStatus, edit: impl FnOnce()) -> SlotStatus {
    let starts = world.starts("counter");
    edit();
    let after = world.until_ready_again("counter", before).await;
    assert_eq!(world.starts("counter"), starts + 1, "it was replaced more than once");
    assert_eq!((after.restarts, after.failures), (0, 0));
    assert_eq!(world.containers().await.len(), 1, "the old container is gone");
    after
}
