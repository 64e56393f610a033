//! An engine that runs without root's rights: its containers' root is its user.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use plugward_api::{InstanceCondition, Phase};
use plugward_tests::real::{
    CallbackHost, GO_COUNTER, GO_COUNTER_NONROOT, HostOptions, Instance, LIMIT, Manifest, TestEngine,
    UserDirectory, World, counter, go_counter_of, on_each_spare_engine, on_the_rootless_engine, runtime,
};
use rustix::fs::getxattr;
use rustix::process::Signal;
use serde_json::json;

const LONG: Option<Duration> = Some(LIMIT);

/// The runtime of a rootless engine, with sockets in its user's directory.
fn rootless_runtime(engine: &TestEngine, sockets: &UserDirectory) -> Manifest {
    runtime(&engine.host).with("/spec/engine/socketDirectory", json!(sockets.path()))
}

/// Declares the plugin of an image, sees it ready, called, killed and called again, and removes it. The host is of
/// this user.
async fn lives(world: &World, runtime: &Manifest, plugin: &Manifest, user: Option<u32>) {
    world.declare("runtime.yaml", std::slice::from_ref(runtime));
    world.declare("counter.yaml", std::slice::from_ref(plugin));
    let seen = world.until_ready("counter").await;
    let options = HostOptions { user, ..HostOptions::default() };
    let Some(host) = CallbackHost::start(&world.reattach("counter").await, &options) else { return };
    let only = Instance::only("counter");
    assert_eq!(host.increment(only, "a", 1, LONG).await, Ok(1));
    world.engine.kill(seen.container_id.as_deref().unwrap()).await;
    world.until_ready_again("counter", &seen).await;
    assert_eq!(host.increment(only, "a", 1, LONG).await, Ok(2));
    world.remove("counter.yaml");
    world.until_gone("counter").await;
}

/// Each image on each OCI runtime. The plugins connect to sockets of ours where their runtime lets them, else they share their
/// connection.
async fn live_on_every_runtime(world: &World, runtime: &Manifest, images: &[&str]) {
    for image in images {
        for (oci_runtime, multiplexing) in
            [("runc", "Disabled"), ("crun", "Disabled"), ("runsc-all", "Disabled"), ("runsc", "Enabled")]
        {
            let plugin = go_counter_of("counter", image).on(oci_runtime);
            let plugin = plugin.with("/spec/brokerMultiplexing", json!(multiplexing));
            lives(world, &runtime.clone().on(oci_runtime), &plugin, None).await;
        }
    }
}

#[tokio::test]
async fn plugins_live_on_a_rootless_engine_under_every_runtime_whoever_they_run_as() {
    on_the_rootless_engine(|world| async move {
        let sockets = UserDirectory::new(&world.engine);
        world.start().await;
        let runtime = rootless_runtime(&world.engine, &sockets);
        live_on_every_runtime(&world, &runtime, &[GO_COUNTER, GO_COUNTER_NONROOT]).await;
    })
    .await;
}

#[tokio::test]
async fn plugins_live_there_with_the_list_and_the_capability_of_rootless_too() {
    on_the_rootless_engine(|world| async move {
        let sockets = UserDirectory::new(&world.engine);
        world.start().await;
        let runtime = rootless_runtime(&world.engine, &sockets).with("/spec/rootless", json!(true));
        live_on_every_runtime(&world, &runtime, &[GO_COUNTER_NONROOT]).await;

        world.declare("runtime.yaml", &[runtime]);
        world.declare("counter.yaml", &[go_counter_of("counter", GO_COUNTER_NONROOT)]);
        let seen = world.until_ready("counter").await;
        let id = seen.container_id.as_deref().unwrap();
        let (_, found) = world.engine.api("GET", &format!("/containers/{id}/json")).await;
        assert!(found["HostConfig"]["CapAdd"].to_string().contains("DAC_OVERRIDE"), "{found}");
        assert_eq!(found["HostConfig"]["CapDrop"], json!(["ALL"]));
        let shared = world.shared_directory(&seen).await;
        let (user, group) = world.engine.user();
        let owner = fs::metadata(&shared).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (user, group));
        let mut list = [0; 64];
        assert_eq!(getxattr(&shared, "system.posix_acl_default", &mut list[..]), Ok(44));
    })
    .await;
}

#[tokio::test]
async fn the_engines_own_user_runs_the_controller_and_needs_no_socket_directory() {
    on_the_rootless_engine(|world| async move {
        let user = world.engine.user();
        world.run_as(user);
        world.start().await;
        for image in [GO_COUNTER, GO_COUNTER_NONROOT] {
            for (oci_runtime, rootless) in [("runc", false), ("runc", true), ("runsc-all", true)] {
                let runtime =
                    runtime(&world.engine.host).on(oci_runtime).with("/spec/rootless", json!(rootless));
                lives(&world, &runtime, &go_counter_of("counter", image).on(oci_runtime), Some(user.0)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_rootless_engine_without_a_directory_of_its_user_is_told_what_it_needs() {
    on_the_rootless_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let message = world
            .until_condition("counter", InstanceCondition::RuntimeAvailable, "SocketDirectoryUnusable")
            .await;
        let (user, _) = world.engine.user();
        assert!(message.contains("engine.socketDirectory"), "{message}");
        assert!(message.contains(&format!("/run/user/{user}")), "{message}");
        assert_eq!(world.status("counter").await.unwrap().phase, Phase::Pending);

        let sockets = UserDirectory::new(&world.engine);
        world.declare("runtime.yaml", &[rootless_runtime(&world.engine, &sockets)]);
        world.until_ready("counter").await;
    })
    .await;
}

#[tokio::test]
async fn one_of_three_kinds_of_engines_stops_and_plugins_of_the_others_notice_nothing() {
    on_each_spare_engine(false, |world, stopped| async move {
        let Some(rootless) = TestEngine::rootless().await else { return };
        let sockets = UserDirectory::new(&rootless);
        let mut runtimes = vec![
            runtime(&world.engine.host).named_by_runtime("stopped"),
            rootless_runtime(&rootless, &sockets).named_by_runtime("rootless"),
        ];
        for engine in TestEngine::all().await {
            runtimes.push(runtime(&engine.host).named_by_runtime(&engine.name));
        }
        world.declare("runtimes.yaml", &runtimes);
        let names = ["stopped", "rootless", "debian", "current"];
        let plugins = names.map(|name| counter(name).named_by_runtime(name));
        world.declare("plugins.yaml", &plugins);
        world.start().await;
        let mut before = Vec::new();
        for name in names {
            before.push(world.until_ready(name).await);
        }

        stopped.end(Signal::TERM).await;
        world.until("stopped", "has lost its engine", |status| status.phase != Phase::Ready).await;
        for (name, before) in names.iter().zip(&before).skip(1) {
            let Some(host) = world.generic_host(name).await else { return };
            assert_eq!(host.increment(name, "a", 1, LONG).await, Ok(1), "{name}");
            let status = world.status(name).await.unwrap();
            assert_eq!(
                (status.phase, &status.slots[0].container_id),
                (Phase::Ready, &before.container_id),
                "{name}"
            );
        }
        stopped.start().await;
        world.until_ready_again("stopped", &before[0]).await;
        for (name, before) in names.iter().zip(&before).skip(1) {
            assert_eq!(world.status(name).await.unwrap().slots[0].restarts, before.restarts, "{name}");
        }
    })
    .await;
}
