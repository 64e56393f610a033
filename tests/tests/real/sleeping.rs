//! Plugins that run while they are needed.

use plugward_api::{InstanceCondition, Phase};
use plugward_tests::real::{LIMIT, NewUser, World, counter, database, on_each_engine, on_one_engine};
use serde_json::json;

#[tokio::test]
async fn a_plugin_on_demand_is_started_by_a_call_and_stopped_when_it_is_idle() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let activation = json!({ "mode": "OnDemand", "idleTimeout": "1s" });
        world.declare("counter.yaml", &[counter("counter").with("/spec/activation", activation)]);
        world.start().await;
        sleeps(&world, "counter").await;
        let Some(host) = world.early_host("counter", &["counter"]) else { return };

        // A host that stays connected, with the streams that go-plugin opens for good, keeps nothing awake.
        for _ in 0..2 {
            assert_eq!(host.increment("counter", "a", 1, Some(LIMIT)).await, Ok(1), "a new process's count");
            sleeps(&world, "counter").await;
        }
        let status = world.status("counter").await.unwrap();
        assert!(status.slots.iter().all(|slot| slot.restarts == 0), "sleeping is no death: {status:?}");
    })
    .await;
}

#[tokio::test]
async fn a_plugin_on_demand_wakes_up_primed() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let activation = json!({ "mode": "OnDemand", "idleTimeout": "1s" });
        world.declare("db.yaml", &[database("db").with("/spec/activation", activation)]);
        world.start().await;
        sleeps(&world, "db").await;
        let Some(host) = world.early_database_host("db", &["db"]) else { return };
        host.open("eu", "db").await.unwrap();
        host.initialize("eu", &json!({ "label": "eu" })).await.unwrap();
        sleeps(&world, "db").await;
        let user = host.new_user("eu", &NewUser::default()).await.unwrap();
        assert!(user.starts_with("eu_1@"), "{user}");
    })
    .await;
}

/// Waits until a plugin sleeps: it has no container, and can be used all the same.
async fn sleeps(world: &World, instance: &str) {
    world
        .wait(&format!("{instance} sleeps"), async || {
            let status = world.status(instance).await.filter(|status| status.phase == Phase::Idle)?;
            let gone = world.containers_of(instance).await.is_empty();
            (gone && status.conditions.is_true(InstanceCondition::Ready)).then_some(())
        })
        .await;
}
