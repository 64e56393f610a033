//! What is remembered over a restart of the controller.

use super::super::*;
use super::support::*;

#[tokio::test]
async fn an_adopted_container_is_primed_and_its_successor_is_not() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    world.host("orders").call("Initialize", "redis").await.unwrap();
    let world = world.restart().await;
    world.gateway.up(first.backend.clone());
    let mut host = world.host("orders");
    assert_eq!(host.call("Call", "x").await.unwrap(), "p1 redis x");
    world.kill(&first);
    let second = world.up(2);
    let status = limited(host.call("Call", "x")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(status.message().contains("does not know"), "{}", status.message());
    assert_eq!(second.plugin.initialized(), 0);
    host.call("Initialize", "mongo").await.unwrap();
    assert_eq!(host.call("Call", "x").await.unwrap(), "p2 mongo x");
    world.kill(&second);
    world.up(3);
    assert_eq!(limited(host.call("Call", "x")).await.unwrap(), "p3 mongo x");
}

#[tokio::test]
async fn a_call_that_waited_for_a_container_that_is_not_primed_is_refused_too() {
    let world = World::new(&["orders"]);
    world.memory.primed(&db(), &mount("orders"), 1);
    let world = world.restart().await;
    let mut host = world.host("orders");
    host.connected().await;
    let waiting = tokio::spawn({
        let mut host = host.clone();
        async move { host.call("Call", "x").await }
    });
    world.until_waiting(1).await;
    // On the same connection, behind it.
    let priming = tokio::spawn({
        let mut host = host.clone();
        async move { host.call("Initialize", "redis").await }
    });
    world.until_waiting(2).await;
    world.up(2);
    let status = limited(waiting).await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    limited(priming).await.unwrap().unwrap();
    assert_eq!(host.call("Call", "x").await.unwrap(), "p2 redis x");
}

#[tokio::test]
async fn an_update_waits_for_hosts_to_say_what_is_not_known() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    world.host("orders").call("Initialize", "redis").await.unwrap();
    let world = world.restart().await;
    world.gateway.up(first.backend.clone());
    let second = world.up(2);
    assert_eq!(
        world.gateway.sight(&second.place),
        ServiceSight::PrimingUnknown { mounts: vec![mount("orders")] }
    );
    let mut host = world.host("orders");
    assert_eq!(host.call("Call", "x").await.unwrap(), "p1 redis x");
    host.call("Initialize", "redis").await.unwrap();
    world.until_serving(&second).await;
    assert_eq!(host.another().call("Call", "x").await.unwrap(), "p2 redis x");
}

#[tokio::test]
async fn what_is_remembered_is_the_start_whose_container_was_primed() {
    let world = World::new(&["orders"]);
    let orders = mount("orders");
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "bad").await.unwrap_err();
    eventually(|| world.memory.last_primed(&db(), &orders).is_none()).await;
    host.call("Initialize", "redis").await.unwrap();
    assert_eq!(world.memory.last_primed(&db(), &orders), Some(1));
    world.kill(&first);
    let second = world.up(2);
    world.until_serving(&second).await;
    eventually(|| world.memory.last_primed(&db(), &orders) == Some(2)).await;
}

#[tokio::test]
async fn a_priming_call_that_fails_changes_nothing_that_is_remembered() {
    let world = World::new(&["orders"]);
    let orders = mount("orders");
    world.memory.primed(&db(), &orders, 1);
    let world = world.restart().await;
    let second = world.up(2);
    world.host("orders").call("Initialize", "bad").await.unwrap_err();
    assert_eq!(world.memory.last_primed(&db(), &orders), Some(1));

    // The next controller does not take the container for one that was primed, whichever host calls.
    let world = world.restart().await;
    world.gateway.up(second.backend.clone());
    let mut host = world.host("orders");
    let status = limited(host.call("Call", "x")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    host.call("Initialize", "redis").await.unwrap();
    assert_eq!(world.memory.last_primed(&db(), &orders), Some(2));
}
