//! Plugins that die.

use super::super::*;
use super::support::*;

#[tokio::test]
async fn a_call_of_a_plugin_that_dies_says_so_and_the_next_is_served_by_a_primed_successor() {
    let world = World::new(&["orders"]);
    let mut host = world.host("orders");
    let mut last = world.up(1);
    host.call("Initialize", "redis").await.unwrap();
    for start in 2..7 {
        let hanging = tokio::spawn({
            let mut host = host.clone();
            async move { host.call("Hang", "").await }
        });
        limited(last.plugin.hanging.subscribe().wait_for(|count| *count == 1)).await.unwrap();
        world.kill(&last);
        let status = limited(hanging).await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status.message(), "the plugin died during this call: exited 137");
        let next = tokio::spawn({
            let mut host = host.clone();
            async move { host.call("Call", "x").await }
        });
        world.until_waiting(1).await;
        last = world.up(start);
        assert_eq!(limited(next).await.unwrap().unwrap(), format!("p{start} redis x"));
        assert_eq!(last.plugin.initialized(), 1, "by the gateway");
    }
}

#[tokio::test]
async fn a_connection_that_ends_alone_is_followed_by_one_to_the_same_container_without_priming() {
    let world = World::new(&["orders"]);
    let container = world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "redis").await.unwrap();
    container.plugin.cut();
    eventually(|| world.demand().is_idle()).await;
    assert_eq!(limited(host.call("Call", "x")).await.unwrap(), "p1 redis x");
    // And after our own was made again.
    world.gateway.down(&container.place);
    assert_eq!(world.gateway.sight(&container.place), ServiceSight::None);
    world.gateway.up(container.backend.clone());
    assert_eq!(host.another().call("Call", "y").await.unwrap(), "p1 redis y");
    assert_eq!((container.plugin.initialized(), *container.plugin.connections.borrow()), (1, 3));
}

#[tokio::test]
async fn a_plugin_that_takes_no_connection_is_tried_again() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    first.plugin.kill();
    let mut host = world.host("orders");
    let waiting = tokio::spawn(async move { host.call("Plain", "x").await });
    world.until_waiting(1).await;
    world.gateway.down(&first.place);
    world.up(2);
    assert_eq!(limited(waiting).await.unwrap().unwrap(), "p2 x");
}
