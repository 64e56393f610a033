//! Priming calls that are made again, and fail.

use super::super::*;
use super::support::*;

/// A mount that was primed, whose next container does not take it.
async fn failing(world: &World) -> (Host, Container) {
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "redis").await.unwrap();
    world.kill(&first);
    let plugin = TestPlugin::multiplexing("p2");
    plugin.refuse(true);
    let second = world.up_with(2, plugin);
    (host, second)
}

#[tokio::test]
async fn calls_that_wait_fail_with_what_the_plugin_said_until_it_takes_what_it_is_told() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "redis").await.unwrap();
    world.kill(&first);
    let waiting = tokio::spawn({
        let mut host = host.clone();
        async move { host.call("Call", "x").await }
    });
    world.until_waiting(1).await;
    let plugin = TestPlugin::multiplexing("p2");
    plugin.refuse(true);
    let second = world.up_with(2, plugin);
    let status = limited(waiting).await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::Internal);
    assert_eq!(
        status.message(),
        "the plugin was restarted, and failed at what had made it usable before: Initialize: cannot verify redis"
    );
    assert!(matches!(world.gateway.sight(&second.place), ServiceSight::PrimingFailed { .. }));
    second.plugin.refuse(false);
    world.until_serving(&second).await;
    assert_eq!(limited(host.call("Call", "y")).await.unwrap(), "p2 redis y");
}

#[tokio::test]
async fn a_host_that_primes_a_failing_plugin_itself_replaces_what_was_kept() {
    let world = World::new(&["orders"]);
    let (mut host, second) = failing(&world).await;
    world.until(&second, |sight| matches!(sight, ServiceSight::PrimingFailed { .. })).await;
    // Not the old one in between.
    second.plugin.refuse(true);
    assert_eq!(limited(host.call("Initialize", "x")).await.unwrap_err().message(), "cannot verify x");
    second.plugin.refuse(false);
    assert_eq!(limited(host.call("Initialize", "mongo")).await.unwrap(), "initialized");
    assert_eq!(limited(host.call("Call", "y")).await.unwrap(), "p2 mongo y");
    world.kill(&second);
    world.up(3);
    assert_eq!(limited(host.call("Call", "z")).await.unwrap(), "p3 mongo z");
}

#[tokio::test]
async fn a_failed_priming_call_does_not_replace_the_one_that_succeeded() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "redis").await.unwrap();
    host.call("Initialize", "bad").await.unwrap_err();
    world.kill(&first);
    world.up(2);
    assert_eq!(limited(host.call("Call", "x")).await.unwrap(), "p2 redis x");
}

#[tokio::test]
async fn what_its_host_undid_is_not_told_again() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "redis").await.unwrap();
    host.call("Close", "").await.unwrap();
    assert_eq!(world.memory.last_primed(&db(), &mount("orders")), None);
    world.kill(&first);
    let second = world.up(2);
    assert_eq!(limited(host.call("Call", "x")).await.unwrap_err().message(), "not initialized");
    assert_eq!(second.plugin.initialized(), 0);
}

#[tokio::test]
async fn one_mount_that_cannot_be_primed_does_not_hold_up_another() {
    let world = World::new(&["orders", "billing"]);
    let first = world.up(1);
    let (mut orders, mut billing) = (world.host("orders"), world.host("billing"));
    billing.call("Initialize", "mongo").await.unwrap();
    orders.call("Initialize", "redis").await.unwrap();
    world.kill(&first);
    let plugin = TestPlugin::multiplexing("p2");
    plugin.refuse_message("redis");
    let second = world.up_with(2, plugin);
    assert_eq!(limited(billing.call("Call", "x")).await.unwrap(), "p2 mongo x");
    world.until(&second, |sight| matches!(sight, ServiceSight::PrimingFailed { .. })).await;
    assert_eq!(world.gateway.mounts_served(&second.place), 1);
}

#[tokio::test]
async fn a_plugin_that_dies_while_it_is_told_fails_no_call() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "redis").await.unwrap();
    world.kill(&first);
    let waiting = tokio::spawn({
        let mut host = host.clone();
        async move { host.call("Call", "x").await }
    });
    world.until_waiting(1).await;
    let plugin = TestPlugin::multiplexing("p2");
    plugin.kill();
    let second = world.up_with(2, plugin);
    // It is told, does not answer, and only then is it known to be dead.
    eventually(|| second.plugin.asked() > 0).await;
    world.gateway.down(&second.place);
    world.up(3);
    assert_eq!(limited(waiting).await.unwrap().unwrap(), "p3 redis x");
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_told_by_its_host_again() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders");
    let large = "x".repeat(300 << 10);
    host.call("Initialize", &large).await.unwrap();
    assert_eq!(host.call("Call", "").await.unwrap().len(), large.len() + 4);
    let unkept = world.gateway.unkept(&db());
    assert_eq!(unkept[&mount("orders")], "its request is larger than 262144 bytes");
    world.kill(&first);
    world.up(2);
    let status = limited(host.call("Call", "x")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    host.call("Initialize", "small").await.unwrap();
    assert_eq!(host.call("Call", "x").await.unwrap(), "p2 small x");
    assert!(world.gateway.unkept(&db()).is_empty());
}
