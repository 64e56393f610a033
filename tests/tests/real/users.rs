//! Plugins whose containers run as root, and as others.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use plugward_tests::real::{
    CallbackHost, GO_COUNTER, GO_COUNTER_NONROOT, HostOptions, Instance, LIMIT, World, go_counter_of,
    on_each_engine, runtime,
};
use serde_json::json;

const LONG: Option<Duration> = Some(LIMIT);

/// A user who is not root, and has no account.
const SOMEBODY: u32 = 54_322;

/// On each the plugin can connect to sockets of ours, unless it shares its connection.
const CASES: [(&str, &str); 3] = [("runc", "Disabled"), ("runsc-all", "Disabled"), ("runsc", "Enabled")];

/// The plugin of an image is reached and reaches its host, before and after a kill, on every runtime. The host is of this user.
async fn is_reached_and_reaches(world: &World, image: &str, user: Option<u32>) {
    for (oci_runtime, multiplexing) in CASES {
        world.declare("runtime.yaml", &[runtime(&world.engine.host).on(oci_runtime)]);
        let plugin = go_counter_of("counter", image).on(oci_runtime);
        world.declare("counter.yaml", &[plugin.with("/spec/brokerMultiplexing", json!(multiplexing))]);
        let seen = world.until_ready("counter").await;
        let shared = world.shared_directory(&seen).await;
        assert_eq!(fs::metadata(&shared).unwrap().mode() & 0o7777, 0o2771);
        let options = HostOptions { user, ..HostOptions::default() };
        let Some(host) = CallbackHost::start(&world.reattach("counter").await, &options) else { return };
        let only = Instance::only("counter");
        assert_eq!(host.increment(only, "a", 1, LONG).await, Ok(1), "{image} on {oci_runtime}");
        world.engine.kill(seen.container_id.as_deref().unwrap()).await;
        world.until_ready_again("counter", &seen).await;
        assert_eq!(host.increment(only, "a", 1, LONG).await, Ok(2), "{image} on {oci_runtime}");
        world.remove("counter.yaml");
        world.until_gone("counter").await;
        assert!(!shared.exists());
    }
}

#[tokio::test]
async fn a_plugin_is_reached_and_reaches_its_host_whoever_it_runs_as() {
    on_each_engine(|world| async move {
        world.start().await;
        for image in [GO_COUNTER, GO_COUNTER_NONROOT] {
            is_reached_and_reaches(&world, image, None).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_is_not_root_shares_its_group_with_plugins_whoever_they_run_as() {
    on_each_engine(|world| async move {
        world.run_as((SOMEBODY, world.engine.group()));
        world.start().await;
        for image in [GO_COUNTER, GO_COUNTER_NONROOT] {
            is_reached_and_reaches(&world, image, Some(SOMEBODY)).await;
        }
    })
    .await;
}
