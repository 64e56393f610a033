//! Servers that a plugin and the host of a session offer each other, in every mode of either.

use go_plugin::{Address, Answer, BrokerMessage};
use plugward_api::PluginType;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;

use super::super::*;
use super::support::*;

fn backend(terms: &mut Terms) {
    terms.priming = PrimingRules::of(PluginType::Secret, &[]);
}

async fn dialled(path: &str) -> UnixStream {
    UnixStream::connect(path).await.unwrap()
}

/// Whether what each of the two says arrives at the other.
async fn speak(
    mut host: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    mut plugin: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) {
    let mut word = [0; 5];
    host.write_all(b"hello").await.unwrap();
    host.flush().await.unwrap();
    limited(plugin.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"hello");
    plugin.write_all(b"there").await.unwrap();
    plugin.flush().await.unwrap();
    limited(host.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"there");
}

/// Greets, and gives the stream. Without TLS a stream has arrived when its server says something.
async fn greeting(mut stream: DuplexStream) -> DuplexStream {
    stream.write_all(b"!").await.unwrap();
    stream
}

async fn greeted(mut stream: go_plugin::PluginStream) -> go_plugin::PluginStream {
    assert_eq!(limited(stream.read_u8()).await.unwrap(), b'!');
    stream
}

#[tokio::test]
async fn a_host_with_sockets_is_reached_by_its_launcher() {
    for automtls in [false, true] {
        let mut world = World::new(&[]);
        let host = world.session_host(false, automtls).await;
        let container = world.up(1);
        host.is_served().await;
        assert!(!host.session.brokered(), "nothing was said over the broker");
        let server = host.offer(7, "storage").await;
        let offered = container.plugin.broker.offered(1).await;
        assert_eq!(offered[0].0, 7);
        assert!(host.session.brokered());
        assert_eq!(all_said(dialled(&offered[0].1).await).await, "storage");
        assert_eq!(*host.session.hand.dialled.borrow(), std::slice::from_ref(&server));

        // Nobody can look whether it is still there: it is believed until it is dialled in vain.
        std::fs::remove_file(server).unwrap();
        assert_eq!(all_said(dialled(&offered[0].1).await).await, "");
        eventually(|| !std::path::Path::new(&offered[0].1).exists()).await;
    }
}

#[tokio::test]
async fn a_plugin_that_knocks_reaches_a_host_with_sockets() {
    for automtls in [false, true] {
        let mut world = World::new(&[]);
        let host = world.session_host(false, automtls).await;
        let container = world.up_with(1, TestPlugin::sharing("p1"));
        host.is_served().await;
        host.offer(7, "storage").await;
        container.plugin.broker.knock(7);
        assert_eq!(container.plugin.broker.answers(1).await, [(7, None)]);
        assert_eq!(all_said(container.plugin.broker.open()).await, "storage");
    }
}

#[tokio::test]
async fn who_listens_where_a_host_said_and_is_not_the_host_is_not_spoken_to() {
    let mut world = World::new(&[]);
    let host = world.session_host(false, true).await;
    let container = world.up(1);
    let other = world.session_host(false, true).await;
    host.announce(7, &other.naming_server("another's")).await;
    let offered = container.plugin.broker.offered(1).await;
    assert_eq!(all_said(dialled(&offered[0].1).await).await, "");
}

#[tokio::test]
async fn a_host_that_multiplexes_is_knocked_at_when_its_plugin_knocks() {
    for automtls in [false, true] {
        let mut world = World::new(&[]);
        let mut host = world.session_host(true, automtls).await;
        let container = world.up_with(1, TestPlugin::sharing("p1"));
        host.is_served().await;
        assert!(!host.session.brokered(), "nothing was said over the broker");
        container.plugin.broker.until_opened().await;
        for (count, name) in ["one", "two"].into_iter().enumerate() {
            container.plugin.broker.knock(7);
            host.let_in(7, name).await;
            assert_eq!(container.plugin.broker.answers(count + 1).await[count], (7, None));
            assert_eq!(all_said(container.plugin.broker.open()).await, name);
            host.is_served().await;
        }
        assert!(host.session.brokered());

        container.plugin.broker.knock(8);
        assert_eq!(host.heard().await, BrokerMessage::Knock { id: 8 });
        let error = Some("no listener for id 8".to_owned());
        host.say(BrokerMessage::Ack { id: 8, error }).await;
        let (id, error) = container.plugin.broker.answers(3).await.remove(2);
        assert_eq!(id, 8);
        assert!(error.unwrap().ends_with("no listener for id 8"));
    }
}

#[tokio::test]
async fn a_plugin_with_sockets_reaches_a_host_that_multiplexes_where_its_number_is_known() {
    for automtls in [false, true] {
        let mut world = World::with(&[], backend);
        let mut host = world.session_host(true, automtls).await;
        let container = world.up(1);
        host.set_up(7).await;
        let offered = container.plugin.broker.offered(1).await.remove(0).1;
        assert!(host.session.brokered());
        let storage = dialled(&offered).await;
        host.let_in(7, "storage").await;
        assert_eq!(all_said(storage).await, "storage");

        // And no more, once the host says that it has it no more.
        let again = dialled(&offered).await;
        assert_eq!(host.heard().await, BrokerMessage::Knock { id: 7 });
        host.say(BrokerMessage::Ack { id: 7, error: Some("no listener for id 7".to_owned()) }).await;
        assert_eq!(all_said(again).await, "");
        eventually(|| !std::path::Path::new(&offered).exists()).await;
    }
}

#[tokio::test]
async fn a_backend_that_knocks_is_led_to_the_host_that_set_it_up() {
    let mut world = World::with(&[], backend);
    let (mut first, mut second) =
        (world.session_host(true, false).await, world.session_host(true, true).await);
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    first.set_up(7).await;
    second.set_up(7).await;
    container.plugin.broker.knock(2);
    second.let_in(7, "second").await;
    container.plugin.broker.answers(1).await;
    assert_eq!(all_said(container.plugin.broker.open()).await, "second");
    container.plugin.broker.knock(1);
    first.let_in(7, "first").await;
    container.plugin.broker.answers(2).await;
    assert_eq!(all_said(container.plugin.broker.open()).await, "first");
}

#[tokio::test]
async fn of_two_hosts_that_never_tell_what_they_offer_none_is_taken_for_the_other() {
    let mut world = World::new(&[]);
    let first = world.session_host(true, false).await;
    let second = world.session_host(true, false).await;
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    first.is_served().await;
    second.is_served().await;
    container.plugin.broker.until_opened().await;
    container.plugin.broker.knock(1);
    let (_, error) = container.plugin.broker.answers(1).await.remove(0);
    assert!(error.unwrap().contains("multiplexing: Disabled"));
}

#[tokio::test]
async fn a_host_that_comes_when_another_uses_the_broker_is_refused() {
    let mut world = World::new(&[]);
    let mut first = world.session_host(true, false).await;
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    first.is_served().await;
    container.plugin.broker.until_opened().await;
    container.plugin.broker.knock(1);
    first.let_in(1, "first").await;
    assert_eq!(container.plugin.broker.answers(1).await, [(1, None)]);
    assert_eq!(all_said(container.plugin.broker.open()).await, "first");
    let second = world.session_host(true, false).await;
    limited(async {
        loop {
            match second.call("/test.Plugin/Plain", b"server 1".to_vec()).await {
                Answer::Message(_) => {}
                Answer::Status { message, .. } => break assert!(message.contains("multiplexing: Disabled")),
            }
        }
    })
    .await;
    container.plugin.broker.knock(1);
    first.let_in(1, "again").await;
}

#[tokio::test]
async fn hosts_find_what_their_plugin_offers_where_they_are() {
    for automtls in [false, true] {
        let mut world = World::new(&[]);
        let mut host = world.session_host(false, automtls).await;
        let container = world.up(1);
        host.is_served().await;
        container.plugin.broker.until_opened().await;
        let listener = container.plugin.broker.listen();
        let address = Address::Unix(listener.path().display().to_string());
        container.plugin.broker.say(BrokerMessage::Announce { id: 3, address });
        let BrokerMessage::Announce { id: 3, address: Address::Unix(path) } = host.heard().await else {
            panic!("another message")
        };
        assert!(host.session.brokered());
        let (dialled, arrived) = tokio::join!(host.dial(&path), async {
            let plugin = limited(listener.accept()).await.unwrap();
            plugin.secured(None, Duration::from_secs(60)).await.unwrap()
        });
        speak(dialled, arrived).await;
        world.kill(&container);
        eventually(|| !std::path::Path::new(&path).exists()).await;
    }
}

#[tokio::test]
async fn a_host_that_multiplexes_is_led_to_a_plugin_that_does() {
    for automtls in [false, true] {
        let mut world = World::new(&[]);
        let mut host = world.session_host(true, automtls).await;
        let container = world.up_with(1, TestPlugin::sharing("p1"));
        host.is_served().await;
        let broker = &container.plugin.broker;
        broker.until_opened().await;
        for count in 1..=2 {
            let (knocked, plugin) = tokio::join!(host.knock(3), async {
                assert_eq!(broker.told(count).await[count - 1], BrokerMessage::Knock { id: 3 });
                broker.answer(3, None);
                greeting(broker.accept().await).await
            });
            speak(greeted(knocked.unwrap()).await, plugin).await;
            host.is_served().await;
        }
        assert!(host.session.brokered());
        let (refused, ()) = tokio::join!(host.knock(4), async {
            assert_eq!(broker.told(3).await[2], BrokerMessage::Knock { id: 4 });
            broker.answer(4, Some("it is closed"));
        });
        assert!(refused.unwrap_err().ends_with("it is closed"));
        host.is_served().await;
    }
}

#[tokio::test]
async fn a_knock_that_a_plugin_answers_too_late_leads_nobody_astray() {
    let mut world = World::new(&[]);
    let mut host = world.session_host(true, false).await;
    let container = world.up_with(1, TestPlugin::sharing("p1"));
    host.is_served().await;
    let broker = &container.plugin.broker;
    broker.until_opened().await;
    tokio::time::pause();
    assert!(host.knock(3).await.unwrap_err().contains("not answered"));
    tokio::time::resume();
    broker.answer(3, None);
    // It counts on a stream, and gets one that leads nowhere.
    assert_eq!(all_said(broker.accept().await).await, "");
    let (knocked, plugin) = tokio::join!(host.knock(4), async {
        broker.told(2).await;
        broker.answer(4, None);
        greeting(broker.accept().await).await
    });
    speak(greeted(knocked.unwrap()).await, plugin).await;
}

#[tokio::test]
async fn a_host_that_multiplexes_waits_for_what_its_plugin_is_about_to_announce() {
    for automtls in [false, true] {
        let mut world = World::new(&[]);
        let mut host = world.session_host(true, automtls).await;
        let container = world.up(1);
        host.is_served().await;
        let broker = &container.plugin.broker;
        broker.until_opened().await;
        let listener = broker.listen();
        let address = Address::Unix(listener.path().display().to_string());
        for round in 0..2 {
            let (knocked, plugin) = tokio::join!(host.knock(3), async {
                if round == 0 {
                    broker.say(BrokerMessage::Announce { id: 3, address: address.clone() });
                }
                let plugin = limited(listener.accept()).await.unwrap();
                let mut plugin = plugin.secured(None, Duration::from_secs(60)).await.unwrap();
                plugin.write_u8(b'!').await.unwrap();
                plugin
            });
            speak(greeted(knocked.unwrap()).await, plugin).await;
            host.is_served().await;
        }
    }
}

#[tokio::test]
async fn what_a_host_may_not_say_is_answered_with_words() {
    let mut world = World::new(&[]);
    world.up(1);
    let mut host = world.session_host(false, false).await;
    host.say(BrokerMessage::Knock { id: 5 }).await;
    let BrokerMessage::Ack { id: 5, error: Some(error) } = host.heard().await else { panic!("let in") };
    assert!(error.contains("PLUGIN_MULTIPLEX_GRPC"), "{error}");

    let mut host = world.session_host(true, false).await;
    tokio::time::pause();
    let error = host.knock(5).await.unwrap_err();
    assert_eq!(error, "the plugin does not offer a server 5 in time");
}

#[tokio::test]
async fn the_one_connection_of_a_host_is_its_session() {
    for automtls in [false, true] {
        let mut world = World::new(&[]);
        world.up(1);
        let session = world.session(true, automtls);
        // Who only connects does not take the host's place.
        let idle = UnixStream::connect(&session.socket).await.unwrap();
        let socket = session.socket.clone();
        let host = session.host(true).await;
        host.is_served().await;
        assert_eq!(all_said(UnixStream::connect(&socket).await.unwrap()).await, "", "another is closed");
        host.is_served().await;
        assert!(!*host.session.hand.shut_down.borrow());
        let mut over = host.session.hand.shut_down.subscribe();
        drop(host);
        limited(over.wait_for(|over| *over)).await.unwrap();
        drop(idle);
    }
}

#[tokio::test]
async fn a_session_that_waits_for_its_container_does_not_hold_up_the_end() {
    let mut world = World::new(&[]);
    let (session, id, listener) = world.joined_session(false, false);
    limited(world.gateway.shut_down(Duration::ZERO)).await;
    // What comes too late is not served.
    world.gateway.admit(&db(), &id, Arrivals::Ours(listener));
    eventually(|| std::os::unix::net::UnixStream::connect(&session.socket).is_err()).await;
}

#[tokio::test]
async fn a_host_that_is_let_in_and_does_not_come_loses_its_session() {
    let mut world = World::new(&[]);
    let mut host = world.session_host(true, false).await;
    let container = world.up(1);
    host.is_served().await;
    let broker = &container.plugin.broker;
    broker.until_opened().await;
    let listener = broker.listen();
    let address = Address::Unix(listener.path().display().to_string());
    broker.say(BrokerMessage::Announce { id: 3, address });
    host.say(BrokerMessage::Knock { id: 3 }).await;
    assert_eq!(host.heard().await, BrokerMessage::Ack { id: 3, error: None });
    let mut over = host.session.hand.shut_down.subscribe();
    tokio::time::pause();
    limited(over.wait_for(|over| *over)).await.unwrap();
}

#[tokio::test]
async fn what_is_bridged_ends_with_the_host_and_with_the_plugin() {
    for host_ends in [false, true] {
        let mut world = World::new(&[]);
        let mut host = world.session_host(true, true).await;
        let container = world.up_with(1, TestPlugin::sharing("p1"));
        host.is_served().await;
        let broker = &container.plugin.broker;
        broker.until_opened().await;
        let (knocked, plugin) = tokio::join!(host.knock(3), async {
            broker.told(1).await;
            broker.answer(3, None);
            greeting(broker.accept().await).await
        });
        let knocked = greeted(knocked.unwrap()).await;
        if host_ends {
            drop(host);
            assert_eq!(all_said(plugin).await, "");
        } else {
            world.kill(&container);
            let mut knocked = knocked;
            // Cut off, whatever the plugin says.
            let _ = limited(knocked.read_to_end(&mut Vec::new())).await;
        }
    }
}
