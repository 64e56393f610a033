//! Calls that are served, and by whom.

use super::super::*;
use super::support::*;

#[tokio::test]
async fn a_call_is_served_and_one_that_came_before_its_plugin_too() {
    let world = World::new(&["orders"]);
    let mut host = world.host("orders");
    let early = tokio::spawn({
        let mut host = host.another();
        async move { host.call("Plain", "early").await }
    });
    world.until_waiting(1).await;
    assert_eq!(world.demand().in_flight, 0);
    let container = world.up(1);
    assert_eq!(limited(early).await.unwrap().unwrap(), "p1 early");
    assert_eq!(host.call("Plain", "late").await.unwrap(), "p1 late");
    assert_eq!(world.gateway.sight(&container.place), ServiceSight::Serving);
    assert_eq!(world.gateway.mounts_served(&container.place), 1);
    eventually(|| world.demand().is_idle()).await;
}

#[tokio::test]
async fn a_call_that_waits_asks_for_a_container() {
    let world = World::new(&["orders"]);
    world.prospect(Prospect::Asleep);
    let mut wakes = world.wakes.clone();
    wakes.mark_unchanged();
    let mut host = world.host("orders");
    let waiting = tokio::spawn(async move { host.call("Plain", "x").await });
    limited(wakes.changed()).await.unwrap();
    assert_eq!(world.demand().waiting, 1);
    world.up(1);
    assert_eq!(limited(waiting).await.unwrap().unwrap(), "p1 x");
}

#[tokio::test]
async fn mounts_of_one_plugin_are_told_apart_and_so_are_the_users_of_a_mount() {
    let world = World::new(&["orders", "billing"]);
    let container = world.up(1);
    let mut hosts = [
        world.host("orders"),
        world.host("billing"),
        world.host("orders").with_id("same"),
        world.host("billing").with_id("same"),
    ];
    let mut ids = Vec::new();
    for (index, host) in hosts.iter_mut().enumerate() {
        host.call("Initialize", &format!("config-{index}")).await.unwrap();
        ids.push(host.call("Who", "").await.unwrap());
    }
    for (index, host) in hosts.iter_mut().enumerate() {
        assert_eq!(host.call("Call", "x").await.unwrap(), format!("p1 config-{index} x"));
        assert!(!ids[index].contains(',') && ids[index] != "same", "{}", ids[index]);
    }
    let mut different = ids.clone();
    different.sort();
    assert_eq!(container.plugin.ids(), different);
    // The question is not the application's.
    let question = "/pluginutil.multiplexing.PluginMultiplexing/MultiplexingSupport";
    assert_eq!(hosts[0].raw(question, Bytes::new()).await.unwrap(), "");
    // The same with the next container, and with the next controller.
    let world = world.restart().await;
    world.up(2);
    assert_eq!(
        world.host("orders").call("Who", "").await.unwrap_err().code(),
        tonic::Code::FailedPrecondition
    );
    let mut host = world.host("orders");
    host.call("Initialize", "again").await.unwrap();
    assert_eq!(host.call("Who", "").await.unwrap(), ids[0]);
}

#[tokio::test]
async fn a_plugin_that_does_not_multiplex_gets_what_its_host_sends() {
    let world = World::new(&["orders"]);
    world.up_with(1, TestPlugin::single("p1"));
    assert_eq!(world.host("orders").call("Who", "").await.unwrap(), "");
    assert_eq!(world.host("orders").with_id("own").call("Who", "").await.unwrap(), "own");
}

#[tokio::test]
async fn a_mount_that_is_added_is_served_by_the_same_container() {
    let mut world = World::new(&["orders"]);
    let container = world.up(1);
    let mut orders = world.host("orders");
    orders.call("Plain", "x").await.unwrap();
    world.terms.mounts.insert(mount("billing"), SlotName::Shared);
    world.serve();
    assert_eq!(world.host("billing").call("Plain", "x").await.unwrap(), "p1 x");
    assert_eq!(orders.call("Plain", "y").await.unwrap(), "p1 y");
    assert_eq!(*container.plugin.connections.borrow(), 2, "nobody had to connect again");
    assert_eq!(world.gateway.mounts_served(&container.place), 2);
}

#[tokio::test]
async fn a_mount_that_is_removed_is_refused_and_the_others_go_on() {
    let mut world = World::new(&["orders", "billing"]);
    world.up(1);
    let (mut orders, mut billing) = (world.host("orders"), world.host("billing"));
    orders.call("Plain", "x").await.unwrap();
    billing.call("Plain", "x").await.unwrap();
    world.terms.mounts.remove(&mount("billing"));
    world.serve();
    assert!(!world.socket("billing").exists());
    let gone = tokio::net::UnixStream::connect(world.socket("billing")).await;
    assert!(gone.is_err());
    assert_eq!(orders.call("Plain", "y").await.unwrap(), "p1 y");
}

#[tokio::test]
async fn a_deleted_instance_refuses_calls_lets_those_end_that_it_has_and_is_forgotten() {
    let world = World::new(&["orders"]);
    let container = world.up(1);
    let mut host = world.host("orders");
    host.call("Plain", "x").await.unwrap();
    let hanging = tokio::spawn({
        let mut host = host.clone();
        async move { host.call("Hang", "").await }
    });
    limited(container.plugin.hanging.subscribe().wait_for(|count| *count == 1)).await.unwrap();
    world.gateway.refuse(&db(), "deleted");
    assert_eq!(world.gateway.sight(&container.place), ServiceSight::Draining);
    let status = world.host("orders").call("Plain", "x").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(status.message(), "plugin instance db: deleted");
    assert_eq!(world.demand().in_flight, 1, "it goes on");
    world.gateway.forget(&db());
    assert_eq!(limited(hanging).await.unwrap().unwrap_err().code(), tonic::Code::Unavailable);
    assert!(!world.socket("orders").exists());
    assert_eq!(world.gateway.sight(&container.place), ServiceSight::None);
}

#[tokio::test]
async fn a_record_that_is_there_again_is_served_again() {
    let world = World::new(&["orders"]);
    world.up(1);
    world.gateway.refuse(&db(), "deleted");
    world.serve();
    let mut host = world.host("orders");
    let waiting = tokio::spawn(async move { host.call("Plain", "x").await });
    world.until_waiting(1).await;
    world.up(2);
    assert_eq!(limited(waiting).await.unwrap().unwrap(), "p2 x");
}

#[tokio::test]
async fn a_gateway_that_shuts_down_lets_calls_end() {
    let world = World::new(&["orders"]);
    let container = world.up(1);
    let mut host = world.host("orders");
    host.call("Plain", "x").await.unwrap();
    let hanging = tokio::spawn({
        let mut host = host.clone();
        async move { host.call("Hang", "").await }
    });
    limited(container.plugin.hanging.subscribe().wait_for(|count| *count == 1)).await.unwrap();
    let gateway = world.gateway.clone();
    let limit = Duration::from_millis(100);
    limited(gateway.shut_down(limit)).await;
    let status = limited(hanging).await.unwrap().unwrap_err();
    assert_eq!(status.message(), "plugward is shutting down");
    // Nobody is to take this for a reason to stop plugins.
    assert_eq!(gateway.sight(&container.place), ServiceSight::Serving);
}

#[tokio::test]
async fn a_gateway_that_shuts_down_opens_no_socket_for_mounts_that_come_yet() {
    let mut world = World::new(&["orders"]);
    world.up(1);
    world.gateway.shut_down(Duration::ZERO).await;
    world.terms.mounts.insert(mount("billing"), SlotName::Shared);
    world.serve();
    assert!(!world.socket("billing").exists());
    world.gateway.serve(&name("another"), &world.terms);
    assert!(!world.directory_of(&name("another")).exists());
}

#[tokio::test]
async fn a_mount_that_moves_to_a_slot_of_its_own_takes_its_hosts_and_what_they_said_along() {
    let mut world = World::new(&["orders"]);
    world.up(1);
    let mut host = world.host("orders");
    host.call("Initialize", "redis").await.unwrap();
    let own = SlotName::Mount(mount("orders"));
    let plugin = TestPlugin::multiplexing("own");
    world.up_in(own.clone(), 1, plugin.clone());
    assert_eq!(host.call("Call", "x").await.unwrap(), "p1 redis x");
    world.terms.mounts.insert(mount("orders"), own);
    world.serve();
    assert_eq!(limited(host.another().call("Call", "y")).await.unwrap(), "own redis y");
    limited(async { while host.call("Call", "z").await.unwrap() != "own redis z" {} }).await;
    assert_eq!(plugin.initialized(), 1);
}
