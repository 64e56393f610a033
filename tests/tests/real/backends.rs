//! Secrets engines and auth methods: set up by their hosts, whose storage they keep everything in.

use go_plugin::external::tonic::Code;
use plugward_tests::real::{
    BackendHost, LIMIT, Load, Manifest, World, jwt, kv, on_each_engine, on_one_engine, restarts, runtime,
};
use serde_json::json;

const KILLS: u64 = 3;

const LOAD: Load = Load { callers: 4, rate: Some(60.0), deadline: LIMIT };

/// Two backends of a plugin that multiplexes, on this OCI runtime, over kills.
async fn two_backends_keep_what_is_theirs(world: &World, oci_runtime: &str, plugin: Manifest) {
    let plugin = plugin.serving(&["orders", "billing"]);
    let mounts = [("eu", "orders"), ("us", "billing")];
    let Some(host) = enabled_on(world, oci_runtime, plugin, "kv", &mounts).await else { return };
    let mut seen = world.until_ready("kv").await;
    assert_eq!(world.containers().await.len(), 1, "it multiplexes");
    for backend in ["eu", "us"] {
        host.write(backend, "secret/one", &json!({ "of": backend })).await.unwrap();
    }
    for _ in 0..KILLS {
        world.engine.kill(seen.container_id.as_deref().unwrap()).await;
        seen = world.until_ready_again("kv", &seen).await;
        for backend in ["eu", "us"] {
            let read = host.read(backend, "secret/one").await.unwrap();
            assert_eq!(read.data, json!({ "of": backend }), "with no word of its host's");
        }
    }
    for backend in ["eu", "us"] {
        host.write(backend, "secret/two", &json!({ "of": backend })).await.unwrap();
        let keys = host.keys(backend).await.unwrap();
        assert_eq!(keys.len(), 2, "{backend}: {keys:?}");
    }
    assert_eq!(restarts(&seen).get("killed"), Some(&KILLS));
}

#[tokio::test]
async fn two_backends_of_one_container_keep_what_is_theirs_over_kills() {
    on_each_engine(|world| async move {
        two_backends_keep_what_is_theirs(&world, "runc", kv("kv")).await;
    })
    .await;
}

#[tokio::test]
async fn two_backends_in_gvisor_keep_what_is_theirs_though_it_lets_them_connect_to_no_socket() {
    on_each_engine(|world| async move {
        two_backends_keep_what_is_theirs(&world, "runsc", kv("kv")).await;
    })
    .await;
}

#[tokio::test]
async fn two_backends_in_gvisor_keep_what_is_theirs_over_sockets_where_it_lets_them() {
    on_each_engine(|world| async move {
        let plugin = kv("kv").with("/spec/brokerMultiplexing", json!("Disabled"));
        two_backends_keep_what_is_theirs(&world, "runsc-all", plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_was_cleaned_up_is_not_set_up_again() {
    on_one_engine(|world| async move {
        let Some(host) = enabled(&world, kv("kv"), "kv", &[("eu", "kv")]).await else { return };
        let seen = world.until_ready("kv").await;
        host.write("eu", "one", &json!({ "a": "b" })).await.unwrap();
        host.cleanup("eu").await.unwrap();
        world.engine.kill(seen.container_id.as_deref().unwrap()).await;
        world.until_ready_again("kv", &seen).await;
        assert!(host.read("eu", "one").await.is_err(), "nobody set it up");
        host.enable("eu", "kv", &[]).await.unwrap();
        assert_eq!(host.read("eu", "one").await.unwrap().data, json!({ "a": "b" }));
    })
    .await;
}

#[tokio::test]
async fn an_update_under_load_fails_no_request_of_a_backend() {
    on_one_engine(|world| async move {
        let Some(host) = enabled(&world, kv("kv"), "kv", &[("eu", "kv")]).await else { return };
        let seen = world.until_ready("kv").await;
        let load = host.load("eu", &LOAD).await.unwrap();
        load.until_answered(50).await;
        world.declare("backend.yaml", &[kv("kv").with("/spec/env", json!({ "EDIT": "1" }))]);
        world.until_ready_again("kv", &seen).await;
        load.until_answered(load.tally().await.answered + 50).await;
        let tally = load.stop().await;
        eprintln!("a Surge update of a backend: {tally:?}");
        assert_eq!((tally.lost, tally.wrong), (0, 0), "{tally:?}");
        assert!(tally.failed.is_empty(), "{tally:?}");
    })
    .await;
}

async fn an_auth_method_keeps_its_roles(world: &World, oci_runtime: &str) {
    let plugin = jwt("jwt");
    let Some(host) = enabled_on(world, oci_runtime, plugin, "jwt", &[("logins", "jwt")]).await else {
        return;
    };
    let seen = world.until_ready("jwt").await;
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"] });
    host.write("logins", "role/reader", &role).await.unwrap();
    world.engine.kill(seen.container_id.as_deref().unwrap()).await;
    world.until_ready_again("jwt", &seen).await;
    let read = host.read("logins", "role/reader").await.unwrap();
    assert_eq!(read.data["user_claim"], "sub", "{read:?}");
}

#[tokio::test]
async fn an_auth_method_keeps_its_roles_over_a_kill() {
    on_each_engine(|world| async move { an_auth_method_keeps_its_roles(&world, "runc").await }).await;
}

#[tokio::test]
async fn an_auth_method_in_gvisor_keeps_its_roles_over_a_kill() {
    on_each_engine(|world| async move { an_auth_method_keeps_its_roles(&world, "runsc").await }).await;
}

#[tokio::test]
async fn after_a_restart_of_the_controller_a_backend_has_to_be_set_up_again_and_says_so() {
    on_one_engine(|world| async move {
        let Some(host) = enabled(&world, kv("kv"), "kv", &[("eu", "kv")]).await else { return };
        let seen = world.until_ready("kv").await;
        host.write("eu", "one", &json!({ "a": "b" })).await.unwrap();
        world.kill().await;
        world.start().await;
        let seen = world.until_ready_again("kv", &seen).await;
        assert_eq!(restarts(&seen).get("not_adoptable"), Some(&1));
        let failure = host.read("eu", "one").await.unwrap_err();
        assert_eq!(failure.code, Code::FailedPrecondition, "{failure:?}");

        // And after one that was asked to end.
        let Some(host) = world.backend_host("kv").await else { return };
        host.enable("us", "kv", &[]).await.unwrap();
        world.terminate().await;
        world.start().await;
        world.until_ready_again("kv", &seen).await;
        let failure = host.read("us", "one").await.unwrap_err();
        assert_eq!(failure.code, Code::FailedPrecondition, "{failure:?}");
    })
    .await;
}

/// A controller with this plugin, ready, and a host that has set these backends up on its mounts. `None` where there is no Go.
async fn enabled(
    world: &World,
    plugin: Manifest,
    name: &str,
    backends: &[(&str, &str)],
) -> Option<BackendHost> {
    enabled_on(world, "runc", plugin, name, backends).await
}

/// The same on this OCI runtime.
async fn enabled_on(
    world: &World,
    oci_runtime: &str,
    plugin: Manifest,
    name: &str,
    backends: &[(&str, &str)],
) -> Option<BackendHost> {
    world.declare("runtime.yaml", &[runtime(&world.engine.host).on(oci_runtime)]);
    world.declare("backend.yaml", &[plugin.on(oci_runtime)]);
    world.start().await;
    world.until_ready(name).await;
    let host = world.backend_host(name).await?;
    for (backend, mount) in backends {
        host.enable(backend, mount, &[]).await.unwrap();
    }
    Some(host)
}
