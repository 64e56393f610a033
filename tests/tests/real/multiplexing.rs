//! Mounts that share a container, and mounts that have one each.

use go_plugin::external::tonic::Code;
use plugward_tests::real::{
    LIMIT, NewUser, World, couchbase, counter, database, on_each_engine, on_one_engine,
};
use serde_json::json;

#[tokio::test]
async fn a_plugin_that_multiplexes_serves_all_mounts_in_one_container_and_mixes_nothing_up() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("db.yaml", &[database("db").serving(&["orders", "billing"])]);
        world.start().await;
        let before = world.until_ready("db").await;
        assert_eq!(before.mounts, ["orders", "billing"]);
        assert_eq!(world.containers().await.len(), 1);
        assert_eq!(world.metrics().await.mounts("db"), Some(2.0));
        let Some(host) = world.database_host("db").await else { return };

        // Two mounts, and two connections on one of them, to each of which the plugin is another database.
        let connections = [("eu", "orders"), ("us", "orders"), ("mars", "billing")];
        for (label, mount) in connections {
            assert_eq!(host.open(label, mount).await, Ok(true), "it multiplexes");
            host.initialize(label, &json!({ "label": label })).await.unwrap();
        }
        let mut processes = Vec::new();
        for number in 1..=2 {
            for (label, _) in connections {
                let user = host.new_user(label, &NewUser::default()).await.unwrap();
                let (name, process) = user.split_once('@').unwrap();
                assert_eq!(name, format!("{label}_{number}"));
                processes.push(process.to_owned());
            }
        }
        processes.dedup();
        assert_eq!(processes.len(), 1, "one process serves all: {processes:?}");

        // Mounts come and go, and restart nothing.
        world.declare("db.yaml", &[database("db").serving(&["orders", "billing", "late"])]);
        mounts_become(&world, 3.0).await;
        let Some(late) = world.database_host("db").await else { return };
        late.open("late", "late").await.unwrap();
        let failure = late.new_user("late", &NewUser::default()).await.unwrap_err();
        assert!(failure.message.contains("has not been initialized"), "not what others are: {failure:?}");
        world.declare("db.yaml", &[database("db").serving(&["orders", "late"])]);
        mounts_become(&world, 2.0).await;
        assert!(!world.mount_socket("db", "billing").exists());
        let after = world.until_ready("db").await;
        assert_eq!((after.container_id, after.restarts), (before.container_id, 0));
        let user = host.new_user("us", &NewUser::default()).await.unwrap();
        assert!(user.starts_with("us_3@"), "{user}");
        let failure = host.new_user("mars", &NewUser::default()).await.unwrap_err();
        assert_eq!(failure.code, Code::Unavailable, "its mount is gone: {failure:?}");
    })
    .await;
}

#[tokio::test]
async fn hosts_that_know_nothing_of_multiplexing_are_kept_apart() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let counter = counter("counter").serving(&["a", "b"]);
        world.declare("counter.yaml", &[counter.with("/spec/args", json!(["--multiplex"]))]);
        world.start().await;
        world.until_ready("counter").await;
        assert_eq!(world.metrics().await.mounts("counter"), Some(2.0));
        let Some(host) = world.generic_host("counter").await else { return };
        assert_eq!(host.increment("a", "key", 1, Some(LIMIT)).await, Ok(1));
        assert_eq!(host.increment("b", "key", 10, Some(LIMIT)).await, Ok(10));
        // Whichever host it is: what is kept apart is the mounts.
        let Some(other) = world.generic_host("counter").await else { return };
        assert_eq!(other.get("a", "key", Some(LIMIT)).await, Ok(1));
        assert_eq!(other.get("b", "key", Some(LIMIT)).await, Ok(10));
        assert_eq!(world.containers().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_must_not_multiplex_has_a_container_for_each_mount() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let apart = database("db").serving(&["a", "b"]).with("/spec/multiplexing", json!("Disabled"));
        world.declare("db.yaml", &[apart]);
        world.start().await;
        each_has_its_own(&world, "db").await;
        let Some(host) = world.database_host("db").await else { return };
        let mut processes = Vec::new();
        for mount in ["a", "b"] {
            host.open(mount, mount).await.unwrap();
            host.initialize(mount, &json!({ "label": mount })).await.unwrap();
            let user = host.new_user(mount, &NewUser::default()).await.unwrap();
            let (name, process) = user.split_once('@').unwrap();
            assert_eq!(name, format!("{mount}_1"));
            processes.push(process.to_owned());
        }
        assert_ne!(processes[0], processes[1]);
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_cannot_multiplex_has_a_container_for_each_mount() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter").serving(&["a", "b"])]);
        world.start().await;
        let ids = each_has_its_own(&world, "counter").await;
        let Some(host) = world.generic_host("counter").await else { return };
        assert_eq!(host.increment("a", "key", 1, Some(LIMIT)).await, Ok(1));
        assert_eq!(host.increment("b", "key", 10, Some(LIMIT)).await, Ok(10));

        // What happens to one is nothing to the other; a mount that goes takes its container along.
        world.engine.kill(&ids[0]).await;
        world
            .wait("the container of one mount is replaced", async || {
                let slots = world.status("counter").await?.slots;
                let id = slots.iter().find(|slot| slot.name == "mount-a")?.container_id.clone()?;
                (id != ids[0]).then_some(())
            })
            .await;
        assert_eq!(host.get("a", "key", Some(LIMIT)).await, Ok(0), "it is new");
        assert_eq!(host.get("b", "key", Some(LIMIT)).await, Ok(10), "it is the same");
        world.declare("counter.yaml", &[counter("counter").serving(&["b"])]);
        let slots = world.until_slots_are("counter", &["mount-b"]).await;
        assert_eq!(slots["mount-b"].container_id.as_ref(), Some(&ids[1]));
        assert!(!world.mount_socket("counter", "a").exists());
        assert_eq!(host.get("b", "key", Some(LIMIT)).await, Ok(10), "it is the same still");
        world
            .wait("one container is left", async || (world.containers().await.len() == 1).then_some(()))
            .await;
    })
    .await;
}

#[tokio::test]
async fn vaults_couchbase_plugin_multiplexes() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("couchbase.yaml", &[couchbase("couchbase").serving(&["a", "b"])]);
        world.start().await;
        world.until_ready("couchbase").await;
        assert_eq!(world.metrics().await.mounts("couchbase"), Some(2.0));
        assert_eq!(world.containers().await.len(), 1);
        let Some(host) = world.database_host("couchbase").await else { return };
        for mount in ["a", "b"] {
            assert_eq!(host.open(mount, mount).await, Ok(true));
            assert_eq!(host.kind(mount).await.as_deref(), Ok("couchbase"));
        }
    })
    .await;
}

/// Waits until the plugin serves so many mounts.
async fn mounts_become(world: &World, mounts: f64) {
    world
        .wait(&format!("it serves {mounts} mounts"), async || {
            (world.metrics().await.mounts("db") == Some(mounts)).then_some(())
        })
        .await;
}

/// Waits until the mounts `a` and `b` of an instance have a container each, and gives these.
async fn each_has_its_own(world: &World, instance: &str) -> [String; 2] {
    let slots = world.until_slots_are(instance, &["mount-a", "mount-b"]).await;
    let metrics = world.metrics().await;
    let ids = ["a", "b"].map(|mount| {
        let name = format!("mount-{mount}");
        assert_eq!(slots[&name].mounts, [mount]);
        assert_eq!(metrics.mounts_of(instance, &name), Some(1.0));
        slots[&name].container_id.clone().unwrap()
    });
    assert_ne!(ids[0], ids[1]);
    assert_eq!(metrics.mounts(instance), None, "there is no shared slot");
    ids
}
