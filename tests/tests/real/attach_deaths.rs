//! Hosts that attached, their launchers and the controller die: a session goes on whole, or it ends, and nothing is left of it.

use std::collections::BTreeSet;
use std::time::Duration;

use go_plugin::external::tonic::Code;
use plugward_tests::real::{
    BackendHost, CallbackHost, DatabaseHost, HostOptions, Instance, LIMIT, NewUser, RedisServer, Sdk, World,
    callback, database, gone, kill, kv, on_each_engine, on_one_engine, redis, starts,
};
use serde_json::{Value, json};

use super::attach::controller;

const LONG: Option<Duration> = Some(LIMIT);

const NUMBERS: Instance<'_> = Instance::only("numbers");

/// What a user of Redis may do.
const READ: NewUser<'_> = NewUser { password: "first", statements: &[r#"["+@read"]"#], deadline: LIMIT };

/// A host that has attached to the plugin that calls it back, and was, in this mode of the broker.
async fn called_back(world: &World, multiplexed: bool) -> Option<CallbackHost> {
    let start = world.attach("numbers", 1);
    let start = if multiplexed { start.multiplexed() } else { start };
    let host = CallbackHost::start(&starts([("numbers", start)]), &HostOptions::default())?;
    host.attach(NUMBERS).await.unwrap();
    let opened = host.open(NUMBERS).await.unwrap();
    host.echo(&opened, "hello").await.unwrap();
    world.until_sessions(1).await;
    Some(host)
}

fn names(sessions: &[Value]) -> BTreeSet<String> {
    sessions.iter().map(|session| session["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn nothing_is_left_of_a_session_whose_launcher_is_killed() {
    on_each_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        for multiplexed in [false, true] {
            let before = world.left(None).await;
            let Some(host) = called_back(&world, multiplexed).await else { return };
            let launcher = host.process().child();

            kill(launcher);
            gone(launcher).await;

            assert_eq!(host.add(NUMBERS, "a", 1, LONG).await.unwrap_err().code, Code::Unavailable);
            world.until_left(before, None).await;
            // Hosts start another: it is another session.
            host.client("numbers").kill().await.unwrap();
            host.add(NUMBERS, "a", 1, LONG).await.unwrap();
            assert!(host.client("numbers").kill().await.unwrap().graceful);
            world.until_left(before, None).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_a_session_whose_host_is_killed() {
    on_each_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        for multiplexed in [false, true] {
            let before = world.left(None).await;
            let Some(host) = called_back(&world, multiplexed).await else { return };
            let launcher = host.process().child();

            host.process().kill();
            host.process().ended().await;

            gone(launcher).await;
            world.until_left(before, None).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_shared_container_outlives_the_hosts_that_are_killed() {
    on_one_engine(|world| async move {
        controller(&world, kv("kv").attachable(&["root"]), "none").await;
        let ready = world.until_ready("kv").await;
        let before = world.left(None).await;
        let mounts = starts([("kv", world.attach("kv", 5))]);
        let mut hosts = Vec::new();
        for sdk in Sdk::ALL {
            let Some(host) = BackendHost::with(sdk, &mounts, &HostOptions::default()) else { return };
            host.enable("secrets", "kv", &[]).await.unwrap();
            host.write("secrets", "one", &json!({ "a": "b" })).await.unwrap();
            hosts.push(host);
        }
        world.until_sessions(2).await;

        let first = hosts.remove(0);
        first.process().kill();
        first.process().ended().await;
        world.until_sessions(1).await;
        assert_eq!(hosts[0].read("secrets", "one").await.unwrap().data, json!({ "a": "b" }));

        drop((first, hosts));
        world.until_left(before, None).await;
        assert_eq!(world.until_ready("kv").await.container_id, ready.container_id);
    })
    .await;
}

/// A database host's session is whole after the controller was killed: what primed it is known, as its container's death shows.
async fn is_whole_after_a_kill(world: &World, host: &DatabaseHost, instance: &str) {
    let before = world.until_sessions(1).await;
    let launcher = host.process().child();

    world.kill().await;
    world.start().await;
    host.new_user("orders", &READ).await.unwrap();
    assert_eq!(names(&world.until_sessions(1).await), names(&before));
    let resumed = format!("plugward_attach_resumed_total{{plugin_instance=\"{instance}\"}}");
    assert_eq!(world.metrics().await.get(&resumed), Some(1.0));

    world.kill_containers_of(instance).await;
    host.new_user("orders", &READ).await.unwrap();
    assert_eq!(host.process().child(), launcher, "the host saw one plugin");
}

#[tokio::test]
async fn a_session_of_a_database_goes_on_whole_under_the_next_controller() {
    on_each_engine(|world| async move {
        let Some(server) = RedisServer::start().await else { return };
        controller(&world, redis("db").attachable(&["root"]), "host").await;
        for sdk in Sdk::ALL {
            let mounts = starts([("db", world.attach("db", 5))]);
            let Some(host) = DatabaseHost::with(sdk, &mounts, &HostOptions::default()) else { return };
            let before = world.left(host.process().sockets()).await;
            host.open("orders", "db").await.unwrap();
            host.initialize_and_verify("orders", &server.config()).await.unwrap();
            is_whole_after_a_kill(&world, &host, "db").await;
            host.close("orders").await.unwrap();
            world.until_left(before, host.process().sockets()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_goes_on_when_its_controller_is_stopped_and_started_as_in_an_upgrade() {
    on_one_engine(|world| async move {
        controller(&world, database("db").attachable(&["root"]), "none").await;
        let mounts = starts([("db", world.attach("db", 6))]);
        let Some(host) = DatabaseHost::start(&mounts, &HostOptions::default()) else { return };
        host.open("orders", "db").await.unwrap();
        host.initialize("orders", &json!({ "label": "orders" })).await.unwrap();
        let before = world.until_sessions(1).await;
        let (launcher, container) = (host.process().child(), world.containers_of("db").await[0].id.clone());

        world.terminate().await;
        // Called while there is none, it waits.
        let waiting = host.new_user("orders", &READ);
        world.start().await;
        let user = waiting.await.unwrap();

        assert!(user.starts_with("orders_"), "{user}");
        assert_eq!(names(&world.until_sessions(1).await), names(&before));
        assert_eq!(host.process().child(), launcher);
        assert_eq!(world.containers_of("db").await[0].id, container);
    })
    .await;
}

#[tokio::test]
async fn sessions_of_a_shared_database_go_on_whole_under_the_next_controller() {
    on_one_engine(|world| async move {
        controller(&world, database("db").attachable(&["root"]), "none").await;
        world.until_ready("db").await;
        let mounts = starts([("db", world.attach("db", 6))]);
        let Some(host) = DatabaseHost::start(&mounts, &HostOptions::default()) else { return };
        assert_eq!(host.open("orders", "db").await, Ok(true), "it multiplexes");
        host.initialize("orders", &json!({ "label": "orders" })).await.unwrap();
        is_whole_after_a_kill(&world, &host, "db").await;
        let user = host.new_user("orders", &READ).await.unwrap();
        assert!(user.starts_with("orders_"), "{user}: it is primed as it was");
    })
    .await;
}

#[tokio::test]
async fn a_backend_whose_storage_went_with_the_controller_is_started_again_by_its_host() {
    on_each_engine(|world| async move {
        controller(&world, kv("kv").attachable(&["root"]), "none").await;
        world.until_ready("kv").await;
        for sdk in Sdk::ALL {
            let mounts = starts([("kv", world.attach("kv", 5))]);
            let Some(host) = BackendHost::with(sdk, &mounts, &HostOptions::default()) else { return };
            host.enable("secrets", "kv", &[]).await.unwrap();
            host.write("secrets", "one", &json!({ "a": "b" })).await.unwrap();
            let launcher = host.process().child();

            world.kill().await;
            world.start().await;

            gone(launcher).await;
            host.read("secrets", "one").await.unwrap_err();
            host.enable("secrets", "kv", &[]).await.unwrap();
            assert_eq!(host.read("secrets", "one").await.unwrap().data, json!({ "a": "b" }), "{sdk:?}");
            world.until_sessions(1).await;
            drop(host);
            world.until_sessions(0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_launcher_whose_controller_stays_away_ends_and_its_host_is_told_why() {
    on_one_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let Some(host) = called_back(&world, false).await else { return };
        let launcher = host.process().child();

        world.kill().await;

        gone(launcher).await;
        assert_eq!(host.add(NUMBERS, "a", 1, LONG).await.unwrap_err().code, Code::Unavailable);
        host.client("numbers").kill().await.unwrap();
        let refused = host.client("numbers").start().await.unwrap_err();
        host.client("numbers").until_logged("plugward").await;
        assert!(!refused.message.is_empty());
        world.start().await;
        host.add(NUMBERS, "a", 1, LONG).await.unwrap();
    })
    .await;
}
