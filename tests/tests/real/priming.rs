//! What hosts told a plugin to make it usable: its next container is told it again, before anything else reaches it.

use std::collections::BTreeMap;

use go_plugin::external::tonic::Code;
use plugward_api::{InstanceCondition, Phase, SlotStatus};
use plugward_tests::real::{
    DatabaseHost, LIMIT, NewUser, RedisServer, World, database, on_each_engine, on_one_engine, redis,
    restarts, runtime,
};
use serde_json::json;

/// What a user of Redis may do.
const READ: NewUser<'_> = NewUser { password: "first", statements: &[r#"["+@read"]"#], deadline: LIMIT };

#[tokio::test]
async fn what_was_initialized_before_a_kill_is_initialized_after_it() {
    on_each_engine(|world| async move {
        let (before, Some(host)) = databases(&world, &["orders", "billing"]).await else { return };
        // Two connections of one mount, and one of another.
        let connections = [("eu", "orders"), ("us", "orders"), ("mars", "billing")];
        for (label, mount) in connections {
            host.open(label, mount).await.unwrap();
            host.initialize(label, &json!({ "label": label })).await.unwrap();
        }
        let old = host.new_user("eu", &NewUser::default()).await.unwrap();
        let after = killed(&world, "db", &before).await;
        assert_eq!(restarts(&after), BTreeMap::from([("killed", 1)]));
        for (label, _) in connections {
            let user = host.new_user(label, &NewUser::default()).await.unwrap();
            assert!(user.starts_with(&format!("{label}_1@")), "{user}: a first user, of a new process");
            assert_ne!(user.split_once('@').unwrap().1, old.split_once('@').unwrap().1);
        }

        // The last that it was told counts.
        host.initialize("eu", &json!({ "label": "asia" })).await.unwrap();
        killed(&world, "db", &after).await;
        let user = host.new_user("eu", &NewUser::default()).await.unwrap();
        assert!(user.starts_with("asia_1@"), "{user}");
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_was_primed_before_the_controller_restarted_wants_it_again_after_its_death() {
    on_each_engine(|world| async move {
        let (before, Some(host)) = databases(&world, &["orders", "billing"]).await else { return };
        host.open("eu", "orders").await.unwrap();
        host.open("mars", "billing").await.unwrap();
        host.initialize("eu", &json!({ "label": "eu" })).await.unwrap();
        world.terminate().await;
        world.start().await;
        world.until_synced().await;
        let again = world
            .wait("the adopted plugin serves", async || host.new_user("eu", &NewUser::default()).await.ok())
            .await;
        assert!(again.starts_with("eu_1@"), "{again}: it is still primed");

        killed(&world, "db", &before).await;
        let failure = host.new_user("eu", &NewUser::default()).await.unwrap_err();
        assert_eq!(failure.code, Code::FailedPrecondition, "{failure:?}");
        assert!(failure.message.contains("Initialize"), "it says what to do: {failure:?}");
        let failure = host.new_user("mars", &NewUser::default()).await.unwrap_err();
        assert_eq!(failure.code, Code::Internal, "nobody had primed that mount: {failure:?}");
        host.initialize("eu", &json!({ "label": "asia" })).await.unwrap();
        let user = host.new_user("eu", &NewUser::default()).await.unwrap();
        assert!(user.starts_with("asia_1@"), "{user}");
    })
    .await;
}

#[tokio::test]
async fn a_new_container_is_primed_before_an_update_switches_to_it() {
    on_one_engine(|world| async move {
        let (before, Some(host)) = databases(&world, &["orders"]).await else { return };
        host.open("eu", "orders").await.unwrap();
        // Long enough to be seen: until then the old one serves.
        host.initialize("eu", &json!({ "label": "eu", "delay_ms": 1500 })).await.unwrap();
        world.declare("db.yaml", &[database("db").serving(&["orders"]).with("/spec/env/EDIT", json!("1"))]);
        let mut made = 0;
        let switched = world
            .wait("the new container serves", async || {
                let user = host.new_user("eu", &NewUser::default()).await.unwrap();
                made += 1;
                // The numbers of the old one go on, those of the new one begin.
                (!user.starts_with(&format!("eu_{made}@"))).then_some(user)
            })
            .await;
        assert!(switched.starts_with("eu_1@"), "{switched}");
        let after = world.until_ready_again("db", &before).await;
        assert_eq!((after.restarts, after.failures), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn an_update_waits_beside_the_old_container_until_hosts_tell_again_what_an_earlier_controller_was_told()
{
    on_one_engine(|world| async move {
        let (before, Some(host)) = databases(&world, &["orders"]).await else { return };
        host.open("eu", "orders").await.unwrap();
        host.initialize("eu", &json!({ "label": "eu" })).await.unwrap();
        world.terminate().await;
        world.start().await;
        world.until_synced().await;
        world.declare("db.yaml", &[database("db").serving(&["orders"]).with("/spec/env/EDIT", json!("1"))]);
        let message = world.until_condition("db", InstanceCondition::Progressing, "UpdateBlocked").await;
        assert!(message.contains("what hosts told orders is not known"), "{message}");
        world.until("db", "serves by its old container", |status| status.phase == Phase::Degraded).await;
        assert_eq!(world.containers_of("db").await.len(), 2);
        let user = host.new_user("eu", &NewUser::default()).await.unwrap();
        assert!(user.starts_with("eu_1@"), "{user}");

        host.initialize("eu", &json!({ "label": "asia" })).await.unwrap();
        let after = world.until_ready_again("db", &before).await;
        assert_eq!((after.restarts, after.failures), (0, 0));
        world.until_condition("db", InstanceCondition::Progressing, "UpToDate").await;
        let user = host.new_user("eu", &NewUser::default()).await.unwrap();
        assert!(user.starts_with("asia_1@"), "{user}: of the new container");
    })
    .await;
}

#[tokio::test]
async fn a_spare_is_told_when_it_takes_over() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("db.yaml", &[database("db").with("/spec/standby", json!(1))]);
        world.start().await;
        let before = world.until_ready("db").await;
        world
            .until("db", "has a spare", |status| {
                status.slots.iter().any(|slot| slot.name == "spare-1" && slot.ready_at.is_some())
            })
            .await;
        let Some(host) = world.database_host("db").await else { return };
        host.open("eu", "db").await.unwrap();
        host.initialize("eu", &json!({ "label": "eu" })).await.unwrap();
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        let user = host.new_user("eu", &NewUser::default()).await.unwrap();
        assert!(user.starts_with("eu_1@"), "{user}");
    })
    .await;
}

#[tokio::test]
async fn vaults_redis_plugin_is_usable_after_a_kill_without_a_word_of_its_host() {
    on_each_engine(|world| async move {
        let Some(server) = RedisServer::start().await else { return };
        let (before, Some(host)) = redis_plugin(&world).await else { return };
        host.initialize_and_verify("db", &server.config()).await.unwrap();
        let first = host.new_user("db", &READ).await.unwrap();
        assert!(server.lets_in(&first, "first").await);

        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        let second = host.new_user("db", &READ).await.unwrap();
        assert!(server.lets_in(&second, "first").await);
        host.update_user("db", &first, "second").await.unwrap();
        assert!(server.lets_in(&first, "second").await && !server.lets_in(&first, "first").await);
        for user in [&first, &second] {
            host.delete_user("db", user).await.unwrap();
        }
        assert!(!server.lets_in(&first, "second").await && !server.lets_in(&second, "first").await);
        let after = world.until_ready_again("db", &before).await;
        assert_eq!(restarts(&after), BTreeMap::from([("killed", 1)]));

        // What was closed is not opened again.
        host.close("db").await.unwrap();
        killed(&world, "db", &after).await;
        host.open("db", "db").await.unwrap();
        let failure = host.new_user("db", &READ).await.unwrap_err();
        assert_eq!(failure.code, Code::Internal, "the plugin's own answer: {failure:?}");
        assert!(failure.message.contains("connection has not been initialized"), "{failure:?}");
    })
    .await;
}

#[tokio::test]
async fn a_call_is_told_why_its_plugin_cannot_be_made_usable_and_the_next_is_answered_when_it_can() {
    on_one_engine(|world| async move {
        let Some(server) = RedisServer::start().await else { return };
        let (before, Some(host)) = redis_plugin(&world).await else { return };
        let config = server.config();
        host.initialize_and_verify("db", &config).await.unwrap();
        let stopped = server.stop().await;

        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        let failure = host.new_user("db", &READ).await.unwrap_err();
        for phrase in ["Initialize", "connection refused"] {
            assert!(failure.message.contains(phrase), "{phrase:?} is not in {failure:?}");
        }
        let message = world.until_condition("db", InstanceCondition::Ready, "PrimingFailed").await;
        assert!(message.contains("mount db: INTERNAL"), "not in the plugin's words: {message}");
        let secret = config["password"].as_str().unwrap();
        assert!(!world.log().contains(secret), "what hosts tell is in the log");

        let server = stopped.start().await;
        let user = world.wait("a call is answered", async || host.new_user("db", &READ).await.ok()).await;
        assert!(server.lets_in(&user, "first").await);
        world.until_ready("db").await;

        // Or its host knows better.
        let elsewhere = RedisServer::start().await.unwrap();
        server.stop().await;
        let before = world.until_ready("db").await;
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        world.until_condition("db", InstanceCondition::Ready, "PrimingFailed").await;
        host.initialize_and_verify("db", &elsewhere.config()).await.unwrap();
        let user = host.new_user("db", &READ).await.unwrap();
        assert!(elsewhere.lets_in(&user, "first").await);
        world.until_ready("db").await;
    })
    .await;
}

/// A controller with a database plugin that multiplexes, and a host of it, where there is Go.
async fn databases(world: &World, mounts: &[&str]) -> (SlotStatus, Option<DatabaseHost>) {
    world.declare_runtime();
    world.declare("db.yaml", &[database("db").serving(mounts)]);
    world.start().await;
    let ready = world.until_ready("db").await;
    (ready, world.database_host("db").await)
}

/// A controller with Vault's plugin for Redis, which reaches it on the machine's own network, and a host with a connection.
async fn redis_plugin(world: &World) -> (SlotStatus, Option<DatabaseHost>) {
    world.declare("runtime.yaml", &[runtime(&world.engine.host).with("/spec/network", json!("host"))]);
    world.declare("db.yaml", &[redis("db")]);
    world.start().await;
    let ready = world.until_ready("db").await;
    let host = world.database_host("db").await;
    if let Some(host) = &host {
        assert_eq!(host.open("db", "db").await, Ok(false), "it does not multiplex");
    }
    (ready, host)
}

/// Kills a container, and waits for the next.
async fn killed(world: &World, instance: &str, before: &SlotStatus) -> SlotStatus {
    world.engine.kill(before.container_id.as_deref().unwrap()).await;
    world.until_ready_again(instance, before).await
}
