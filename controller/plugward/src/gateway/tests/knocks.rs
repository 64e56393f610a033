//! Plugins that share their one connection, and knock for what hosts offer.

use go_plugin::{Address, BrokerMessage};
use plugward_api::PluginType;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time;

use super::super::*;
use super::support::*;

/// What a host says that offers, as this number, a server that says its name to whoever connects.
fn offer(directory: &TempDir, id: u32, name: &'static str) -> Bytes {
    let address = Address::Unix(naming_server(directory, name));
    BrokerMessage::Announce { id, address }.to_bytes()
}

async fn said(mut stream: DuplexStream) -> String {
    let mut text = String::new();
    limited(stream.read_to_string(&mut text)).await.unwrap();
    text
}

#[tokio::test]
async fn a_plugin_that_knocks_is_let_in_to_what_its_host_offers_and_so_is_the_next() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let _broker = world.host("orders").open(BROKER, Some(offer(&directory, 7, "storage"))).await;
    let first = world.up_with(1, TestPlugin::sharing("p1"));
    for knocks in 1..=3 {
        first.plugin.broker.knock(7);
        assert_eq!(first.plugin.broker.answers(knocks).await[knocks - 1], (7, None));
        assert_eq!(said(first.plugin.broker.open()).await, "storage");
    }
    assert_eq!(world.memory.broker(&first), Some(true));
    world.kill(&first);
    let second = world.up_with(2, TestPlugin::sharing("p2"));
    second.plugin.broker.knock(7);
    assert_eq!(second.plugin.broker.answers(1).await, [(7, None)]);
    assert_eq!(said(second.plugin.broker.open()).await, "storage");
}

#[tokio::test]
async fn a_knock_waits_for_a_host_that_is_about_to_offer() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let broker = world.host("orders").open(BROKER, None).await;
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    container.plugin.broker.until_opened().await;
    container.plugin.broker.knock(1);
    broker.requests.send(offer(&directory, 1, "storage")).await.unwrap();
    assert_eq!(container.plugin.broker.answers(1).await, [(1, None)]);
    assert_eq!(said(container.plugin.broker.open()).await, "storage");
}

#[tokio::test]
async fn no_knock_is_answered_before_the_stream_of_the_one_before_is_here() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let broker = world.host("orders").open(BROKER, Some(offer(&directory, 1, "one"))).await;
    broker.requests.send(offer(&directory, 2, "two")).await.unwrap();
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    container.plugin.broker.until_opened().await;
    container.plugin.broker.knock(1);
    container.plugin.broker.knock(2);
    assert_eq!(container.plugin.broker.answers(1).await, [(1, None)]);
    assert_eq!(said(container.plugin.broker.open()).await, "one");
    assert_eq!(container.plugin.broker.answers(2).await[1], (2, None));
    assert_eq!(said(container.plugin.broker.open()).await, "two");
}

#[tokio::test]
async fn a_knock_for_what_nobody_offers_is_answered_with_the_reason_and_a_stream_without_one_leads_nowhere() {
    let world = World::with(&["orders"], |terms| terms.priming = PrimingRules::of(PluginType::Secret, &[]));
    let _broker = world.host("orders").open(BROKER, None).await;
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    container.plugin.broker.until_opened().await;
    assert_eq!(said(container.plugin.broker.open()).await, "");
    container.plugin.broker.knock(9);
    let (id, error) = container.plugin.broker.answers(1).await.remove(0);
    assert_eq!((id, error.as_deref()), (9, Some("no host offers a server 9")));
    assert_eq!(*container.plugin.broken.borrow(), None);
}

#[tokio::test]
async fn a_host_that_does_not_have_what_it_offered_is_named_as_the_reason() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let broker = world.host("orders").open(BROKER, None).await;
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    container.plugin.broker.until_opened().await;
    let gone = Address::Unix(directory.path().join("gone").display().to_string());
    broker.requests.send(BrokerMessage::Announce { id: 1, address: gone }.to_bytes()).await.unwrap();
    container.plugin.broker.knock(1);
    let (_, error) = container.plugin.broker.answers(1).await.remove(0);
    assert!(error.unwrap().contains("cannot be opened"));
}

#[tokio::test]
async fn a_plugin_that_is_let_in_and_does_not_come_is_replaced() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let _broker = world.host("orders").open(BROKER, Some(offer(&directory, 1, "storage"))).await;
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    container.plugin.broker.knock(1);
    container.plugin.broker.answers(1).await;
    time::pause();
    let mut broken = container.plugin.broken.subscribe();
    limited(broken.wait_for(|what| *what == Some(Broken::Broker))).await.unwrap();
}

#[tokio::test]
async fn what_a_host_offered_ends_with_the_host() {
    let (world, directory) = (World::new(&["orders"]), tempfile::tempdir().unwrap());
    let broker = world.host("orders").open(BROKER, Some(offer(&directory, 1, "storage"))).await;
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    container.plugin.broker.knock(1);
    container.plugin.broker.answers(1).await;
    let mut stream = container.plugin.broker.open();
    let mut name = [0; 7];
    limited(stream.read_exact(&mut name)).await.unwrap();
    drop(broker);
    assert_eq!(said(stream).await, "");
}
