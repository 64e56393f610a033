//! Promise 9: whatever a plugin does costs that plugin alone, and its status says why.

use std::collections::BTreeMap;

use go_plugin::external::tonic::Code;
use plugward_api::{Phase, RestartReason, SlotStatus};
use plugward_tests::real::{LIMIT, Manifest, World, counter, hostile, on_each_engine, restarts, slot};
use serde_json::json;

/// What the controller may use while a plugin floods it.
const MEMORY_LIMIT: u64 = 100 << 20;

/// What the controller may write to its log in a test, in bytes.
const LOG_LIMIT: usize = 4 << 20;

#[tokio::test]
async fn a_line_that_is_no_handshake_costs_that_plugin_alone() {
    fails_alone(&["garbage"], RestartReason::HandshakeFailed, "it is no handshake").await;
}

#[tokio::test]
async fn a_line_without_end_costs_that_plugin_alone() {
    fails_alone(&["endless-line"], RestartReason::HandshakeFailed, "longer than 64 KiB").await;
}

#[tokio::test]
async fn a_line_that_stops_in_the_middle_costs_that_plugin_alone() {
    fails_alone(&["half-line"], RestartReason::Exited, "").await;
}

#[tokio::test]
async fn no_line_at_all_costs_that_plugin_alone() {
    fails_alone(&["no-line"], RestartReason::HandshakeFailed, "no handshake line").await;
}

#[tokio::test]
async fn another_core_protocol_costs_that_plugin_alone() {
    fails_alone(&["core-version"], RestartReason::HandshakeFailed, "version 2 of go-plugin's own protocol")
        .await;
}

#[tokio::test]
async fn another_application_protocol_costs_that_plugin_alone() {
    fails_alone(&["app-version"], RestartReason::HandshakeFailed, "serves version 99").await;
}

#[tokio::test]
async fn net_rpc_costs_that_plugin_alone() {
    fails_alone(&["net-rpc"], RestartReason::HandshakeFailed, "net/rpc").await;
}

#[tokio::test]
async fn no_certificate_costs_that_plugin_alone() {
    fails_alone(&["no-certificate"], RestartReason::HandshakeFailed, "gave no certificate").await;
}

#[tokio::test]
async fn another_certificate_than_it_told_costs_that_plugin_alone() {
    fails_alone(&["wrong-certificate"], RestartReason::HandshakeFailed, "certificate").await;
}

#[tokio::test]
async fn a_socket_outside_of_its_directory_costs_that_plugin_alone() {
    fails_alone(&["outside"], RestartReason::HandshakeFailed, "built with go-plugin older than 1.5").await;
}

#[tokio::test]
async fn a_socket_that_is_not_there_costs_that_plugin_alone() {
    fails_alone(&["missing-socket"], RestartReason::HandshakeFailed, "does not exist").await;
}

#[tokio::test]
async fn a_symbolic_link_in_place_of_its_socket_costs_that_plugin_alone() {
    fails_alone(&["symlink"], RestartReason::HandshakeFailed, "is a symbolic link").await;
}

#[tokio::test]
async fn a_socket_that_accepts_nothing_costs_that_plugin_alone() {
    fails_alone(&["no-accept"], RestartReason::HandshakeFailed, "not usable in time").await;
}

#[tokio::test]
async fn a_plugin_that_says_it_is_not_healthy_costs_itself_alone() {
    fails_alone(&["not-serving"], RestartReason::HandshakeFailed, "does not serve").await;
}

#[tokio::test]
async fn a_plugin_that_hangs_at_its_start_costs_itself_alone() {
    fails_alone(&["freeze"], RestartReason::HandshakeFailed, "not usable in time").await;
}

#[tokio::test]
async fn a_plugin_that_closes_its_connections_for_good_costs_itself_alone() {
    on_each_engine(|world| async move {
        let record = hostile("hostile", &["close", "--after-ms", "500"]);
        let neighbour = with_neighbour(&world, record).await;
        let ready = world.until_ready("hostile").await;
        let again = world.until_ready_again("hostile", &ready).await;
        assert_eq!(restarts(&again), BTreeMap::from([("unhealthy", 1)]));
        assert_eq!(again.failures, 1, "it was of no use half a second after it was ready");
        let exit = again.last_exit.unwrap();
        assert!(exit.message.contains("does not accept connections"), "{exit:?}");
        unharmed(&world, &neighbour).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_breaks_the_rules_of_http_is_replaced_and_costs_itself_alone() {
    on_each_engine(|world| async move {
        let neighbour = with_neighbour(&world, hostile("hostile", &["break-http"])).await;
        let ready = world.until_ready("hostile").await;
        let Some(host) = world.generic_host("hostile").await else { return };
        let failure = host.increment("hostile", "a", 1, Some(LIMIT)).await.unwrap_err();
        assert_eq!(failure.code, Code::Unavailable, "{failure:?}");
        let again = world.until_ready_again("hostile", &ready).await;
        // A host of grpc-go's tries once more by itself.
        assert!(restarts(&again).keys().eq(&["protocol_error"]), "{again:?}");
        assert!(again.failures > 0, "it was of no use right after it was ready");
        let exit = again.last_exit.unwrap();
        assert!(exit.message.contains("unexpected_frame"), "{exit:?}");
        unharmed(&world, &neighbour).await;
    })
    .await;
}

#[tokio::test]
async fn a_flood_in_place_of_the_handshake_costs_that_plugin_alone() {
    fails_alone(&["flood", "stdout", "--early"], RestartReason::HandshakeFailed, "it is no handshake").await;
}

#[tokio::test]
async fn a_flood_on_standard_output_is_the_plugins_own_affair() {
    floods_alone("stdout").await;
}

#[tokio::test]
async fn a_flood_on_standard_error_is_the_plugins_own_affair() {
    floods_alone("stderr").await;
}

#[tokio::test]
async fn a_flood_through_the_connection_is_the_plugins_own_affair() {
    floods_alone("stdio").await;
}

#[tokio::test]
async fn a_plugin_that_cannot_be_ended_is_killed() {
    on_each_engine(|world| async move {
        let neighbour = with_neighbour(&world, hostile("hostile", &["immortal"])).await;
        world.until_ready("hostile").await;
        world.remove("hostile.yaml");
        world.until_gone("hostile").await;
        unharmed(&world, &neighbour).await;
    })
    .await;
}

/// A plugin with these arguments never serves for long: its status says `reason` and `phrase`, and nobody else is harmed.
async fn fails_alone(args: &'static [&str], reason: RestartReason, phrase: &'static str) {
    on_each_engine(|world| async move {
        let record = hostile("hostile", args).with("/spec/startTimeout", json!("3s"));
        let neighbour = with_neighbour(&world, record).await;
        let status = world
            .until("hostile", "has failed twice", |status| {
                slot(status).failures >= 2 && status.phase == Phase::BackingOff
            })
            .await;
        let exit = slot(&status).last_exit.clone().unwrap();
        assert_eq!(exit.reason, reason, "{exit:?}");
        assert!(exit.message.contains(phrase), "{phrase:?} is not in {:?}", exit.message);
        let told = world.cli(&["describe", "instance", "hostile"]).await;
        assert!(told.stdout.contains(phrase), "{}", told.stdout);
        assert!(world.metrics().await.restarts("hostile", reason.as_str()).unwrap() >= 1.0);
        unharmed(&world, &neighbour).await;
        bounded(&world);
        world.remove("hostile.yaml");
        world.until_gone("hostile").await;
    })
    .await;
}

/// A plugin that floods a channel serves all the same, and costs the controller nothing.
async fn floods_alone(channel: &'static str) {
    on_each_engine(|world| async move {
        let neighbour = with_neighbour(&world, hostile("hostile", &["flood", channel])).await;
        let flooding = world.until_ready("hostile").await;
        // A restart of another, and one of the flooding plugin itself, in the midst of it.
        world.engine.kill(neighbour.container_id.as_deref().unwrap()).await;
        let neighbour = world.until_ready_again("neighbour", &neighbour).await;
        world.engine.kill(flooding.container_id.as_deref().unwrap()).await;
        let again = world.until_ready_again("hostile", &flooding).await;
        assert_eq!(again.failures, 0);
        let lines = again.last_exit.unwrap().output;
        assert!(lines.len() <= 20 && lines.iter().all(|line| line.len() <= 512), "{lines:?}");
        unharmed(&world, &neighbour).await;
        bounded(&world);
    })
    .await;
}

/// A controller with this plugin and, ready, a good one.
async fn with_neighbour(world: &World, hostile: Manifest) -> SlotStatus {
    world.declare_runtime();
    world.declare("neighbour.yaml", &[counter("neighbour")]);
    world.start().await;
    let neighbour = world.until_ready("neighbour").await;
    world.declare("hostile.yaml", &[hostile]);
    neighbour
}

/// The good one is as it was.
async fn unharmed(world: &World, neighbour: &SlotStatus) {
    let status = world.status("neighbour").await.unwrap();
    assert_eq!(status.phase, Phase::Ready);
    assert_eq!(slot(&status).container_id, neighbour.container_id);
    assert_eq!(slot(&status).restarts, neighbour.restarts);
    assert_eq!(world.http("/healthz").await.unwrap().0, 200);
}

fn bounded(world: &World) {
    let memory = world.with_program(|program| program.peak_memory());
    assert!(memory < MEMORY_LIMIT, "the controller used {memory} bytes");
    let log = world.log().len();
    assert!(log < LOG_LIMIT, "the controller wrote {log} bytes to its log");
}
