//! The two halves of the broker against each other, in one process, on sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod storage;

use std::{collections::HashMap, sync::Arc, time::Duration};

use go_plugin::{
    Address, BrokerMessage, BrokerReceiver, BrokerSender, Channel, Cookie, Identity, Launch, Listener,
    Plugin, SocketAddress,
    external::{
        rustls::{ClientConfig, ServerConfig},
        tonic::service::Routes,
    },
    serve::{Broker, Server},
};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use storage::Storage;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::watch,
    time,
};

/// Long enough for any machine. No test waits for it to pass in real time.
const LIMIT: Duration = Duration::from_mins(1);

struct World {
    directory: TempDir,
    plugin: Plugin,
    sender: BrokerSender,
    receiver: BrokerReceiver,
    server: Option<Arc<ServerConfig>>,
    /// The plugin's own handle.
    broker: Broker,
}

impl World {
    async fn start(automtls: bool) -> Self {
        let directory = TempDir::new().unwrap();
        let host = automtls.then(|| Identity::generate().unwrap());
        let cookie = Cookie::new("TEST_PLUGIN", "hello").unwrap();
        let launch = Launch {
            cookie: cookie.clone(),
            protocol_versions: vec![1],
            socket_directory: directory.path().to_str().unwrap().to_owned(),
            socket_group: None,
            client_certificate: host.as_ref().map(Identity::certificate_pem),
            multiplex_broker: false,
        };
        let environment: HashMap<_, _> = launch.environment().into_iter().collect();
        let server = Server::new(cookie).version(1, Routes::default());
        let broker = server.broker();
        assert_eq!(broker.dial(1).await.unwrap_err().as_str(), "brokering_too_early");
        let mut listening = server.listen(|name| environment.get(name).cloned()).unwrap();
        let handshake = listening.handshake().clone();
        tokio::spawn(async move { listening.serve().await });
        let settings = host.map(|host| {
            let certificate = handshake.server_certificate.as_ref().unwrap();
            let client: ClientConfig = host.client_config(certificate).unwrap();
            (Arc::new(client), Arc::new(host.server_config(certificate).unwrap()))
        });
        let address =
            SocketAddress::translate(&handshake.address, directory.path(), directory.path()).unwrap();
        let (client, server) = settings.unzip();
        let plugin = Plugin::connect(&address, client, LIMIT).await.unwrap();
        let (sender, receiver) = plugin.broker();
        Self { directory, plugin, sender, receiver, server, broker }
    }

    /// Serves this storage to the plugin under this number, to one who connects.
    async fn offer(&self, id: u32, storage: Storage) {
        let listener = Listener::bind(self.directory.path(), None).unwrap();
        let address = listener.address_in(self.directory.path().to_str().unwrap());
        let server = self.server.clone();
        tokio::spawn(async move {
            let connection = listener.accept().await.unwrap();
            storage.serve(connection.secured(server, LIMIT).await.unwrap()).await;
        });
        self.sender.send(BrokerMessage::Announce { id, address }).await.unwrap();
    }
}

#[tokio::test]
async fn a_plugin_uses_a_server_of_its_hosts() {
    for automtls in [true, false] {
        let world = World::start(automtls).await;
        for id in 1..=5 {
            let storage = Storage::default();
            storage.put("key".to_owned(), 7);
            // In either order.
            let ((), channel) = if id % 2 == 0 {
                tokio::join!(world.offer(id, storage.clone()), world.broker.dial(id))
            } else {
                let (channel, ()) = tokio::join!(world.broker.dial(id), world.offer(id, storage.clone()));
                ((), channel)
            };
            let channel = channel.unwrap();
            assert_eq!(storage::get(channel.clone(), "key").await, 7);
            storage::put(channel, "key", 8).await;
            assert_eq!(storage.get("key"), 8);
        }
    }
}

#[tokio::test]
async fn a_host_uses_a_server_of_its_plugins() {
    for automtls in [true, false] {
        let mut world = World::start(automtls).await;
        for expected in 1..=3 {
            let brokered = world.broker.accept(None).await.unwrap();
            assert_eq!(brokered.id(), expected);
            let BrokerMessage::Announce { id, address } = world.receiver.recv().await.unwrap() else {
                panic!("it announces nothing");
            };
            assert_eq!(id, expected);
            let directory = world.directory.path();
            let address = SocketAddress::translate(&address, directory, directory).unwrap();
            let storage = Storage::default();
            storage.put("key".to_owned(), 7);
            let serving = tokio::spawn(async move {
                let stream = brokered.accept().await.secured().await.unwrap();
                storage.serve(stream).await;
            });
            let stream = world.plugin.dial_at(&address, LIMIT).await.unwrap();
            assert_eq!(storage::get(Channel::over(stream).await.unwrap(), "key").await, 7);
            serving.await.unwrap();
            let error = world.plugin.dial_at(&address, LIMIT).await.unwrap_err();
            assert_eq!(error.as_str(), "socket_missing");
        }
    }
}

#[tokio::test]
async fn a_server_that_its_host_does_not_announce_is_waited_for_and_given_up() {
    let world = World::start(false).await;
    time::pause();
    let error = world.broker.dial(9).await.unwrap_err();
    assert_eq!(error.as_str(), "brokering_timed_out");
}

#[tokio::test]
async fn an_announcement_is_used_up_and_what_means_nothing_does_no_harm() {
    let world = World::start(true).await;
    world.sender.send(BrokerMessage::Knock { id: 3 }).await.unwrap();
    let nowhere = Address::Unix(String::new());
    world.sender.send(BrokerMessage::Announce { id: 3, address: nowhere }).await.unwrap();
    let tcp = Address::Tcp("127.0.0.1:1".to_owned());
    world.sender.send(BrokerMessage::Announce { id: 3, address: tcp }).await.unwrap();
    assert_eq!(world.broker.dial(3).await.unwrap_err().as_str(), "brokering_tcp");
    world.offer(3, Storage::default()).await;
    assert_eq!(storage::get(world.broker.dial(3).await.unwrap(), "key").await, 0);
}

#[tokio::test]
async fn a_plugin_without_a_broker_says_so() {
    let directory = TempDir::new().unwrap();
    let listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let services = TowerToHyperService::new(Routes::default().prepare());
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), services));
        }
    });
    let path = directory.path().join("plugin1").to_str().unwrap().to_owned();
    let address = Address::Unix(path);
    let address = SocketAddress::translate(&address, directory.path(), directory.path()).unwrap();
    let plugin = Plugin::connect(&address, None, LIMIT).await.unwrap();
    let (sender, mut receiver) = plugin.broker();
    for _ in 0..2 {
        assert_eq!(receiver.recv().await.unwrap_err().as_str(), "broker_unimplemented");
    }
    let ended = async { while sender.send(BrokerMessage::Knock { id: 1 }).await.is_ok() {} };
    time::timeout(LIMIT, ended).await.unwrap();
    serving.abort();
}

#[tokio::test]
async fn the_stream_ends_with_its_receiver_and_with_its_plugin() {
    let World { sender, receiver, plugin, .. } = World::start(false).await;
    drop(receiver);
    let ended = async { while sender.send(BrokerMessage::Knock { id: 1 }).await.is_ok() {} };
    time::timeout(LIMIT, ended).await.unwrap();

    let (sender, mut receiver) = plugin.broker();
    plugin.shutdown(LIMIT).await.unwrap();
    let end = time::timeout(LIMIT, receiver.recv()).await.unwrap().unwrap_err();
    assert!(matches!(end.as_str(), "broker_failed" | "broker_ended"), "{end}");
    let ended = async { while sender.send(BrokerMessage::Knock { id: 1 }).await.is_ok() {} };
    time::timeout(LIMIT, ended).await.unwrap();
}

/// A peer that takes as much as HTTP/2 lets be sent at first, and nothing more.
async fn takes_nothing_more(listener: UnixListener) {
    /// Settings, of which there are none.
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(&SETTINGS).await.unwrap();
    let mut heard = vec![0; 4096];
    while peer.read(&mut heard).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test]
async fn who_sends_to_a_broker_that_takes_nothing_is_let_go_when_nobody_listens_to_it_any_more() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("plugin");
    tokio::spawn(takes_nothing_more(UnixListener::bind(&path).unwrap()));
    let address = Address::Unix(path.to_str().unwrap().to_owned());
    let address = SocketAddress::translate(&address, directory.path(), directory.path()).unwrap();
    let plugin = Plugin::connect(&address, None, LIMIT).await.unwrap();
    let (sender, receiver) = plugin.broker();
    let (count, mut sent) = watch::channel(0_usize);
    let sending = tokio::spawn(async move {
        while sender.send(BrokerMessage::Knock { id: 7 }).await.is_ok() {
            count.send_modify(|count| *count += 1);
        }
    });
    // Messages of 11 bytes, as many as a stream's first window of 65,535 has room for, and those that wait on the way there.
    time::timeout(LIMIT, sent.wait_for(|count| *count >= 5_960)).await.unwrap().unwrap();
    drop((plugin, receiver));
    time::timeout(LIMIT, sending).await.expect("it is let go").unwrap();
}
