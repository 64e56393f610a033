//! Servers that hosts and plugins offer each other.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use futures::FutureExt;
use go_plugin::{Address, BrokerMessage, Listener};
use plugward_api::PluginType;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tonic::Code;

use super::super::*;
use super::support::*;

/// A host's server, which says its name to whoever connects.
fn server(directory: &TempDir, name: &'static str) -> BrokerMessage {
    BrokerMessage::Announce { id: 1, address: Address::Unix(naming_server(directory, name)) }
}

/// What a server says.
async fn said(path: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let mut text = String::new();
    limited(stream.read_to_string(&mut text)).await.unwrap();
    text
}

/// Has a plugin offer a server to the only host that listens: where the plugin has it, and where the host is told that it is.
async fn offered_to(container: &Container, broker: &mut Watching) -> (Listener, String) {
    limited(container.plugin.broker.opened.subscribe().wait_for(|opened| *opened == 1)).await.unwrap();
    let listener = container.plugin.broker.listen();
    let address = Address::Unix(listener.path().display().to_string());
    container.plugin.broker.say(BrokerMessage::Announce { id: 7, address: address.clone() });
    let message = limited(broker.answers.message()).await.unwrap().unwrap();
    let Ok(BrokerMessage::Announce { id: 7, address: Address::Unix(path) }) =
        BrokerMessage::from_bytes(message)
    else {
        panic!("another message")
    };
    assert_ne!(Address::Unix(path.clone()), address, "it is led there, not told where it is");
    (listener, path)
}

#[tokio::test]
async fn a_plugin_reaches_what_its_host_offers_and_so_does_the_next() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let mut host = world.host("orders");
    let broker = host.open(BROKER, Some(server(&directory, "storage").to_bytes())).await;
    let first = world.up(1);
    let offered = first.plugin.broker.offered(1).await;
    assert_eq!(offered[0].0, 1, "of a plugin whose messages nobody knows the number stays");
    assert_eq!(said(&offered[0].1).await, "storage");
    assert_eq!(world.memory.broker(&first), Some(true));

    world.kill(&first);
    let second = world.up(2);
    let again = second.plugin.broker.offered(1).await;
    assert_eq!(again[0].0, 1);
    assert_eq!(said(&again[0].1).await, "storage");
    eventually(|| !Path::new(&offered[0].1).exists()).await;
    drop(broker);
    eventually(|| !Path::new(&again[0].1).exists()).await;
}

#[tokio::test]
async fn a_server_for_one_connection_goes_with_it_and_the_same_number_can_be_offered_again() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let container = world.up(1);
    let broker = world.host("orders").open(BROKER, None).await;
    for round in 0..20 {
        let id = if round < 10 { round } else { 3 };
        let path = directory.path().join(format!("server-{round}"));
        let listener = UnixListener::bind(&path).unwrap();
        let announced = BrokerMessage::Announce { id, address: Address::Unix(path.display().to_string()) };
        broker.requests.send(announced.to_bytes()).await.unwrap();
        let offered = container.plugin.broker.offered(round as usize + 1).await.pop().unwrap();
        assert_eq!(offered.0, id);
        let (said, ()) = tokio::join!(said(&offered.1), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            std::fs::remove_file(&path).unwrap();
            stream.write_all(b"once").await.unwrap();
        });
        assert_eq!(said, "once");
        // Long before anybody looks for what nobody tells of.
        eventually(|| !Path::new(&offered.1).exists()).await;
    }
}

#[tokio::test]
async fn hosts_reach_what_their_plugin_offers() {
    let world = World::new(&["orders"]);
    let container = world.up(1);
    let mut broker = world.host("orders").open(BROKER, None).await;
    let (listener, path) = offered_to(&container, &mut broker).await;
    let mut host = UnixStream::connect(&path).await.unwrap();
    let plugin = limited(listener.accept()).await.unwrap();
    let mut plugin = plugin.secured(None, Duration::from_secs(60)).await.unwrap();
    host.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    limited(plugin.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"hello");
    world.kill(&container);
    eventually(|| !Path::new(&path).exists()).await;
}

#[tokio::test]
async fn what_a_plugin_offers_is_led_to_no_longer_when_those_who_were_told_have_gone() {
    let world = World::new(&["orders"]);
    let container = world.up(1);
    let mut host = world.host("orders");
    let mut broker = host.open(BROKER, None).await;
    let (listener, path) = offered_to(&container, &mut broker).await;
    drop((broker, host));
    eventually(|| !Path::new(&path).exists()).await;
    assert!(listener.path().exists(), "the plugin may keep it for as long as it lives");
}

#[tokio::test]
async fn a_server_has_as_many_connections_at_a_time_as_a_mount_and_others_wait() {
    const MOST: u8 = 64;
    let world = World::new(&["orders"]);
    let container = world.up(1);
    let mut broker = world.host("orders").open(BROKER, None).await;
    let (listener, path) = offered_to(&container, &mut broker).await;
    let mut hosts = BTreeMap::new();
    for number in 0..=MOST {
        let mut host = UnixStream::connect(&path).await.unwrap();
        host.write_u8(number).await.unwrap();
        hosts.insert(number, host);
    }
    let mut arrived = Vec::new();
    for _ in 0..MOST {
        let plugin = limited(listener.accept()).await.unwrap();
        let mut plugin = plugin.secured(None, Duration::from_secs(60)).await.unwrap();
        let number = limited(plugin.read_u8()).await.unwrap();
        // The way is there in both directions: whoever could come has come.
        plugin.write_u8(number).await.unwrap();
        assert_eq!(limited(hosts.get_mut(&number).unwrap().read_u8()).await.unwrap(), number);
        arrived.push((number, plugin));
    }
    assert!(listener.accept().now_or_never().is_none(), "one more has come");
    let (number, plugin) = arrived.remove(0);
    drop((plugin, hosts.remove(&number)));
    limited(listener.accept()).await.unwrap();
}

#[tokio::test]
async fn a_host_that_comes_while_the_one_before_it_goes_may_use_its_broker() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let container = world.up(1);
    let first = world.host("orders").open(BROKER, Some(server(&directory, "first").to_bytes())).await;
    container.plugin.broker.offered(1).await;
    // Another client of the same process, on the same mount.
    let second = world.host("orders").open(BROKER, Some(server(&directory, "second").to_bytes())).await;
    drop(first);
    let offered = container.plugin.broker.offered(2).await;
    assert_eq!(said(&offered[1].1).await, "second");
    drop(second);
}

#[tokio::test]
async fn of_two_hosts_whose_servers_nobody_could_tell_apart_the_second_is_refused() {
    let (world, directory) = (World::new(&["orders", "billing"]), tempfile::tempdir().unwrap());
    let container = world.up(1);
    let first = world.host("orders").open(BROKER, Some(server(&directory, "first").to_bytes())).await;
    let offered = container.plugin.broker.offered(1).await[0].1.clone();
    let mut second = world.host("billing").open(BROKER, None).await;
    second.requests.send(server(&directory, "second").to_bytes()).await.unwrap();
    let refused = limited(second.answers.message()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("multiplexing: Disabled"), "{refused}");
    drop(first);
    eventually(|| !Path::new(&offered).exists()).await;
    // The plugin may be at a call of the first yet, whose numbers its own would be taken for.
    let mut again = world.host("billing").open(BROKER, Some(server(&directory, "third").to_bytes())).await;
    assert_eq!(limited(again.answers.message()).await.unwrap_err().code(), Code::FailedPrecondition);
    let _next = world.host("orders").open(BROKER, Some(server(&directory, "fourth").to_bytes())).await;
    assert_eq!(said(&container.plugin.broker.offered(2).await[1].1).await, "fourth");
}

#[tokio::test]
async fn with_the_next_container_any_mount_may_be_the_one_whose_hosts_servers_are_offered() {
    let (world, directory) = (World::new(&["orders", "billing"]), tempfile::tempdir().unwrap());
    let container = world.up(1);
    let first = world.host("orders").open(BROKER, Some(server(&directory, "first").to_bytes())).await;
    let offered = container.plugin.broker.offered(1).await[0].1.clone();
    drop(first);
    eventually(|| !Path::new(&offered).exists()).await;
    world.kill(&container);
    let successor = world.up(2);
    let _second = world.host("billing").open(BROKER, Some(server(&directory, "second").to_bytes())).await;
    assert_eq!(said(&successor.plugin.broker.offered(1).await[0].1).await, "second");
}

#[tokio::test]
async fn what_a_host_that_was_refused_calls_names_no_server_of_another_mount() {
    let (world, directory) = (World::new(&["orders", "billing"]), tempfile::tempdir().unwrap());
    let container = world.up(1);
    let mut orders = world.host("orders");
    let first = orders.open(BROKER, Some(server(&directory, "first").to_bytes())).await;
    container.plugin.broker.offered(1).await;
    let mut billing = world.host("billing");
    let mut second = billing.open(BROKER, None).await;
    assert!(billing.call("Plain", "x").await.is_ok(), "it may offer nothing");
    second.requests.send(server(&directory, "second").to_bytes()).await.unwrap();
    limited(second.answers.message()).await.unwrap_err();
    let refused = billing.call("Plain", "server 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("is mount orders's"), "{refused}");
    assert!(orders.call("Plain", "server 1").await.is_ok());
    // Its next client begins anew.
    let _third = billing.open(BROKER, None).await;
    limited(async { while billing.call("Plain", "x").await.is_err() {} }).await;
    drop(first);
}

#[tokio::test]
async fn a_second_client_of_one_process_that_uses_its_broker_on_one_mount_is_refused() {
    // All hosts of a test are of one process.
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let container = world.up(1);
    let first = world.host("orders").open(BROKER, Some(server(&directory, "first").to_bytes())).await;
    container.plugin.broker.offered(1).await;
    let mut second = world.host("orders").open(BROKER, None).await;
    assert_eq!(
        world.host("orders").call("Plain", "x").await.unwrap(),
        "p1 x",
        "who does not use it may be there"
    );
    second.requests.send(server(&directory, "second").to_bytes()).await.unwrap();
    let refused = limited(second.answers.message()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("another client of the same process"), "{refused}");
    let gone = container.plugin.broker.offered(1).await[0].1.clone();
    drop(first);
    eventually(|| !Path::new(&gone).exists()).await;
    let again = directory.path().join("second").display().to_string();
    let again = BrokerMessage::Announce { id: 1, address: Address::Unix(again) }.to_bytes();
    let _third = world.host("orders").open(BROKER, Some(again)).await;
    assert_eq!(said(&container.plugin.broker.offered(2).await[1].1).await, "second");
}

#[tokio::test]
async fn a_broker_that_has_lived_is_not_opened_again_and_its_plugin_is_replaced_once_it_is_needed() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let plugin = TestPlugin::multiplexing("p1");
    plugin.broker.opened.send_replace(1);
    let container = world.up_with(1, plugin);
    let broker = world.host("orders").open(BROKER, None).await;
    assert_eq!(world.host("orders").call("Plain", "x").await.unwrap(), "p1 x");
    assert_eq!(*container.plugin.broken.borrow(), None, "nobody needs it");
    broker.requests.send(server(&directory, "storage").to_bytes()).await.unwrap();
    let mut broken = container.plugin.broken.subscribe();
    limited(broken.wait_for(|what| *what == Some(Broken::Broker))).await.unwrap();
    assert_eq!(*container.plugin.broker.opened.borrow(), 1);
    // What it calls from now on may be about what it offers, and waits though the container is there.
    let mut host = world.host("orders");
    let (answer, successor) = tokio::join!(host.call("Plain", "y"), async {
        world.until_waiting(1).await;
        world.kill(&container);
        world.up(2)
    });
    assert_eq!(answer.unwrap(), "p2 y");
    assert_eq!(said(&successor.plugin.broker.offered(1).await[0].1).await, "storage");
}

#[tokio::test]
async fn what_a_host_offers_before_it_knows_that_its_container_goes_is_offered_to_both() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let first = world.up(1);
    let broker = world.host("orders").open(BROKER, None).await;
    let hanging = tokio::spawn({
        let mut host = world.host("orders");
        async move { host.call("Hang", "").await }
    });
    limited(first.plugin.hanging.subscribe().wait_for(|count| *count == 1)).await.unwrap();
    let second = world.up(2);
    assert_eq!(world.gateway.sight(&first.place), ServiceSight::Draining);
    broker.requests.send(server(&directory, "server").to_bytes()).await.unwrap();
    for container in [&first, &second] {
        assert_eq!(said(&container.plugin.broker.offered(1).await[0].1).await, "server");
    }
    hanging.abort();
}

#[tokio::test]
async fn what_a_host_may_not_say_ends_its_broker_with_the_reason() {
    let world = World::new(&["orders"]);
    for (message, code) in [
        (Bytes::from_static(b"\xff"), Code::InvalidArgument),
        (
            BrokerMessage::Announce { id: 1, address: Address::Tcp("127.0.0.1:1".into()) }.to_bytes(),
            Code::Unimplemented,
        ),
    ] {
        let mut broker = world.host("orders").open(BROKER, Some(message)).await;
        assert_eq!(limited(broker.answers.message()).await.unwrap_err().code(), code);
    }
    let mut broker = world.host("orders").open(BROKER, Some(BrokerMessage::Knock { id: 3 }.to_bytes())).await;
    let answer = BrokerMessage::from_bytes(limited(broker.answers.message()).await.unwrap().unwrap());
    assert!(matches!(answer, Ok(BrokerMessage::Ack { id: 3, error: Some(_) })), "{answer:?}");
}

#[tokio::test]
async fn a_host_that_offers_nothing_cannot_set_a_backend_up() {
    let world = World::with(&["orders"], |terms| terms.priming = PrimingRules::of(PluginType::Secret, &[]));
    world.up(1);
    let setup = Bytes::from_static(&[8, 1]);
    let refused = limited(world.host("orders").raw("/pb.Backend/Setup", setup)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("no broker stream open"), "{refused}");
}

#[tokio::test]
async fn a_server_is_told_of_again_for_a_call_that_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::with(&["orders"], |terms| terms.priming = PrimingRules::of(PluginType::Secret, &[]));
    let container = world.up(1);
    let mut host = world.host("orders");
    let _broker = host.open(BROKER, Some(server(&directory, "storage").to_bytes())).await;
    for count in 1..=2 {
        // go-plugin's broker forgets a server once it has connected to it.
        let _ = limited(host.raw("/pb.Backend/Setup", Bytes::from_static(&[8, 1]))).await;
        assert_eq!(container.plugin.broker.offered(count).await.len(), count);
    }
    let offered = container.plugin.broker.offered(2).await;
    assert_eq!(offered[0], offered[1]);
}
