//! One container follows another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::*;
use super::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_when_containers_are_switched_under_load() {
    let world = World::new(&["orders", "billing"]);
    let mut last = world.up(1);
    for mount in ["orders", "billing"] {
        world.host(mount).call("Initialize", mount).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..8)
        .map(|index| {
            let mount = if index % 2 == 0 { "orders" } else { "billing" };
            let (mut host, done, served) = (world.host(mount), done.clone(), served.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let answer = host.call("Call", "x").await.unwrap();
                    assert_eq!(answer.split(' ').nth(1), Some(mount));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for start in 2..12 {
        let before = served.load(Ordering::Relaxed);
        eventually(|| served.load(Ordering::Relaxed) > before + 50).await;
        let next = world.up(start);
        world.until_serving(&next).await;
        world.until(&last, |sight| *sight == ServiceSight::Drained).await;
        // Only now does its process end.
        world.kill(&last);
        last = next;
    }
    done.store(true, Ordering::Relaxed);
    for worker in workers {
        limited(worker).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_does_not_end_in_time_is_failed_and_others_are_served_elsewhere() {
    let world = World::with(&["orders"], |terms| terms.drain_timeout = Duration::from_millis(200));
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Plain", "x").await.unwrap();
    let hanging = tokio::spawn({
        let mut host = host.clone();
        async move { host.call("Hang", "").await }
    });
    limited(first.plugin.hanging.subscribe().wait_for(|count| *count == 1)).await.unwrap();
    world.up(2);
    assert_eq!(world.gateway.sight(&first.place), ServiceSight::Draining);
    assert_eq!(world.host("orders").call("Plain", "y").await.unwrap(), "p2 y");
    let status = limited(hanging).await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(
        status.message(),
        "the plugin's container was replaced, and this call did not end within 200ms"
    );
    world.until(&first, |sight| *sight == ServiceSight::Drained).await;
    world.gateway.down(&first.place);
    assert_eq!(world.gateway.sight(&first.place), ServiceSight::None);
}

#[tokio::test]
async fn a_withdrawn_container_gets_no_calls_and_those_wait_for_the_next() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Plain", "x").await.unwrap();
    world.gateway.withdraw(&first.place);
    world.until(&first, |sight| *sight == ServiceSight::Drained).await;
    let waiting = tokio::spawn(async move { host.call("Plain", "y").await });
    world.until_waiting(1).await;
    // Said again, as the controller does.
    world.gateway.withdraw(&first.place);
    world.gateway.up(first.backend.clone());
    assert_eq!(world.gateway.sight(&first.place), ServiceSight::Drained);
    world.up(2);
    assert_eq!(limited(waiting).await.unwrap().unwrap(), "p2 y");
}

#[tokio::test]
async fn a_container_that_cannot_be_primed_leaves_the_old_one_serving() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "redis").await.unwrap();
    let plugin = TestPlugin::multiplexing("p2");
    plugin.refuse(true);
    let second = world.up_with(2, plugin.clone());
    let sight = world.until(&second, |sight| matches!(sight, ServiceSight::PrimingFailed { .. })).await;
    let ServiceSight::PrimingFailed { message, .. } = sight else { unreachable!() };
    assert_eq!(message, "mount orders: INTERNAL when it was told again");
    assert_eq!(host.call("Call", "x").await.unwrap(), "p1 redis x");
    assert_eq!(world.gateway.sight(&first.place), ServiceSight::Serving);
    plugin.refuse(false);
    world.until_serving(&second).await;
    assert_eq!(host.another().call("Call", "y").await.unwrap(), "p2 redis y");
}
