//! The host's half of the broker against plugins made with the real go-plugin library, with a socket for each server and with one
//! session for all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod golang;
mod process;
mod storage;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures::future::join_all;
use go_plugin::{
    BrokerMessage, BrokerReceiver, BrokerSender, Channel, Cookie, Handshake, Health, Listener, Plugin,
    SocketAddress,
    external::{
        rustls::{HandshakeKind, ServerConfig},
        tonic::Code,
    },
};
use process::{LIMIT, Process};
use storage::{Storage, increment};
use tokio::{process::Command, sync::mpsc, task::JoinHandle, time};

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/plugins/go");
const COUNTER: &str =
    "github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/plugin-counter";

/// How long a Go plugin waits for an announcement or an answer.
const RENDEZVOUS: Duration = Duration::from_secs(5);

fn counter() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| golang::build(MODULE, COUNTER, "plugin-counter-brokered")).as_deref()
}

fn offering() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| golang::build(MODULE, "./offering", "go-offering")).as_deref()
}

/// A plugin that runs, and a host that speaks to its broker.
struct World {
    process: Process,
    plugin: Plugin,
    server: Option<Arc<ServerConfig>>,
    sender: BrokerSender,
}

impl World {
    async fn start(binary: &Path, automtls: bool, multiplexed: bool) -> (Self, BrokerReceiver) {
        let cookie = Cookie::new("BASIC_PLUGIN", "hello").unwrap();
        let mut process = Process::start_with(&mut Command::new(binary), cookie, automtls, multiplexed);
        let handshake: Handshake = process.handshake().await;
        let plugin = process.connect(&handshake).await;
        assert_eq!(plugin.session().is_some(), multiplexed);
        let server = process.identity.as_ref().map(|identity| {
            let certificate = handshake.server_certificate.as_ref().unwrap();
            Arc::new(identity.server_config(certificate).unwrap())
        });
        let (sender, receiver) = plugin.broker();
        (Self { process, plugin, server, sender }, receiver)
    }

    /// Serves the storage under every number that it is told, each on a socket of its own.
    fn serve_on_sockets(&self, storage: &Storage, mut receiver: BrokerReceiver) -> Serving {
        let (serve, mut numbers) = mpsc::channel(1);
        let (directory, server) = (self.process.directory.path().to_owned(), self.server.clone());
        let (sender, storage) = (self.sender.clone(), storage.clone());
        let task = tokio::spawn(async move {
            loop {
                let id = tokio::select! {
                    number = numbers.recv() => number.unwrap(),
                    message = receiver.recv() => panic!("{message:?}"),
                };
                let listener = Listener::bind(&directory, None).unwrap();
                let address = listener.address_in(directory.to_str().unwrap());
                sender.send(BrokerMessage::Announce { id, address }).await.unwrap();
                let (server, storage) = (server.clone(), storage.clone());
                tokio::spawn(async move {
                    let connection = listener.accept().await.unwrap();
                    storage.serve(connection.secured(server, LIMIT).await.unwrap()).await;
                });
            }
        });
        Serving { serve, task }
    }

    /// The same in the plugin's session: the streams that it opens belong to the numbers that it knocked for, in their order.
    fn serve_in_session(&self, storage: &Storage, mut receiver: BrokerReceiver) -> Serving {
        let (serve, mut numbers) = mpsc::channel::<u32>(1);
        let mut inbound = self.plugin.session().unwrap().inbound().unwrap();
        let (sender, storage, server) = (self.sender.clone(), storage.clone(), self.server.clone());
        let task = tokio::spawn(async move {
            let (mut served, mut expected) = (Vec::new(), VecDeque::new());
            loop {
                tokio::select! {
                    number = numbers.recv() => served.push(number.unwrap()),
                    message = receiver.recv() => {
                        let Ok(BrokerMessage::Knock { id }) = message else { return };
                        let known = served.contains(&id);
                        if known {
                            expected.push_back(id);
                        }
                        let error = (!known).then(|| format!("no listener for id {id}"));
                        sender.send(BrokerMessage::Ack { id, error }).await.unwrap();
                    }
                    Some(stream) = inbound.accept() => {
                        assert!(expected.pop_front().is_some(), "a stream that nobody knocked for");
                        let (storage, server) = (storage.clone(), server.clone());
                        tokio::spawn(async move {
                            storage.serve(stream.secured(server, LIMIT).await.unwrap()).await;
                        });
                    }
                }
            }
        });
        Serving { serve, task }
    }
}

/// A host that serves a storage.
struct Serving {
    serve: mpsc::Sender<u32>,
    task: JoinHandle<()>,
}

impl Serving {
    async fn serve(&self, id: u32) {
        self.serve.send(id).await.unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts once after the other, and then many times at once.
async fn count(world: &World, serving: &Serving, storage: &Storage) {
    for (id, sum) in [(1, 5), (2, 10), (3, 15)] {
        serving.serve(id).await;
        assert_eq!(increment(&world.plugin, "one", 5, id, LIMIT).await, Ok(sum));
    }
    let keys: Vec<String> = (0..40).map(|key| format!("key{key}")).collect();
    for round in 1..=3 {
        join_all((100 * round..).zip(&keys).map(async |(id, key)| {
            serving.serve(id).await;
            let value = increment(&world.plugin, key, 2, id, LIMIT).await;
            assert_eq!(value, Ok(2 * i64::from(round)), "{key}");
        }))
        .await;
    }
    assert!(keys.iter().all(|key| storage.get(key) == 6));
}

#[tokio::test]
async fn a_plugin_calls_its_host_back_on_sockets() {
    let Some(binary) = counter() else { return };
    for automtls in [true, false] {
        let (world, receiver) = World::start(binary, automtls, false).await;
        let storage = Storage::default();
        let serving = world.serve_on_sockets(&storage, receiver);
        count(&world, &serving, &storage).await;
    }
}

#[tokio::test]
async fn a_plugin_calls_its_host_back_in_its_session() {
    let Some(binary) = counter() else { return };
    for automtls in [true, false] {
        let (world, receiver) = World::start(binary, automtls, true).await;
        let storage = Storage::default();
        let serving = world.serve_in_session(&storage, receiver);
        count(&world, &serving, &storage).await;
    }
}

#[tokio::test]
async fn a_plugin_is_dialled_again_and_again_while_it_calls_back_in_its_session() {
    let Some(binary) = counter() else { return };
    let (world, receiver) = World::start(binary, true, true).await;
    let storage = Storage::default();
    let serving = world.serve_in_session(&storage, receiver);
    let dialling = async {
        let mut resumed = 0;
        for _ in 0..30 {
            let stream = world.plugin.dial(LIMIT).await.unwrap();
            resumed += u32::from(stream.handshake_kind() == Some(HandshakeKind::Resumed));
            let channel = Channel::over(stream).await.unwrap();
            is_the_main_server(channel).await;
        }
        assert!(resumed >= 29, "{resumed}");
    };
    tokio::join!(dialling, count(&world, &serving, &storage));
    assert_eq!(world.plugin.health(LIMIT).await.unwrap(), Health::Serving);
}

async fn is_the_main_server(channel: Channel) {
    use go_plugin::proto::health::{HealthCheckRequest, health_client::HealthClient};
    let request = HealthCheckRequest { service: "plugin".to_owned() };
    HealthClient::new(channel).check(request).await.unwrap();
}

#[tokio::test]
async fn a_host_calls_a_server_that_a_plugin_offers_on_a_socket() {
    let Some(binary) = offering() else { return };
    for automtls in [true, false] {
        let (world, mut receiver) = World::start(binary, automtls, false).await;
        let directory = world.process.directory.path();
        for id in 1..=20 {
            increment(&world.plugin, "key", 7, id, LIMIT).await.unwrap();
            let message = time::timeout(LIMIT, receiver.recv()).await.unwrap().unwrap();
            let BrokerMessage::Announce { id: announced, address } = message else {
                panic!("{message:?}");
            };
            assert_eq!(announced, id);
            let address = SocketAddress::translate(&address, directory, directory).unwrap();
            let stream = world.plugin.dial_at(&address, LIMIT).await.unwrap();
            check_offered(Channel::over(stream).await.unwrap()).await;
            let main = world.plugin.dial(LIMIT).await.unwrap();
            let kind = automtls.then_some(HandshakeKind::Resumed);
            assert_eq!(main.handshake_kind(), kind, "the brokered ones do not spoil it");
            is_the_main_server(Channel::over(main).await.unwrap()).await;
        }
    }
}

#[tokio::test]
async fn a_host_calls_a_server_that_a_plugin_offers_in_its_session() {
    let Some(binary) = offering() else { return };
    for automtls in [true, false] {
        let (world, receiver) = World::start(binary, automtls, true).await;
        let receiver = Mutex::new(Some(receiver));
        let session = world.plugin.session().unwrap();
        let dialling = async {
            for _ in 0..30 {
                let channel = Channel::over(world.plugin.dial(LIMIT).await.unwrap()).await.unwrap();
                is_the_main_server(channel).await;
            }
        };
        let knocking = async {
            let mut receiver = receiver.lock().unwrap().take().unwrap();
            for id in 1..=20 {
                increment(&world.plugin, "key", 7, id, LIMIT).await.unwrap();
                let turn = session.turn().await;
                world.sender.send(BrokerMessage::Knock { id }).await.unwrap();
                let answer = time::timeout(LIMIT, receiver.recv()).await.unwrap().unwrap();
                assert_eq!(answer, BrokerMessage::Ack { id, error: None });
                let stream = turn.open_stream(LIMIT).await.unwrap();
                check_offered(Channel::over(stream).await.unwrap()).await;
            }
        };
        tokio::join!(dialling, knocking);
    }
}

async fn check_offered(channel: Channel) {
    assert_eq!(storage::get(channel.clone(), "key").await, 7);
    storage::put(channel.clone(), "key", 8).await;
    assert_eq!(storage::get(channel, "key").await, 8);
}

#[tokio::test]
async fn a_knock_for_what_nobody_serves_is_refused_and_does_no_harm() {
    let Some(binary) = counter() else { return };
    let (world, receiver) = World::start(binary, true, true).await;
    let storage = Storage::default();
    let serving = world.serve_in_session(&storage, receiver);
    // grpc-go tries again and again until the call's own time is over.
    let refused = increment(&world.plugin, "key", 1, 77, RENDEZVOUS).await.unwrap_err();
    assert!(matches!(refused.0, Code::Unavailable | Code::Unknown | Code::DeadlineExceeded), "{refused:?}");
    serving.serve(78).await;
    assert_eq!(increment(&world.plugin, "key", 1, 78, LIMIT).await, Ok(1));
}

#[tokio::test]
async fn a_session_ends_with_its_plugin_and_a_plugin_with_its_session() {
    let Some(binary) = counter() else { return };
    let (mut world, mut receiver) = World::start(binary, true, true).await;
    let session = world.plugin.session().unwrap();
    let mut inbound = session.inbound().unwrap();
    let ended =
        async { tokio::join!(world.plugin.closed(), session.ended(), inbound.accept(), receiver.recv()) };
    let (kill, (.., none, end)) = tokio::join!(world.process.child.kill(), ended);
    kill.unwrap();
    assert!(none.is_none());
    assert_eq!(end.unwrap_err().as_str(), "broker_failed");
    assert_eq!(world.plugin.dial(LIMIT).await.unwrap_err().as_str(), "session_ended");

    let (World { mut process, plugin, sender, .. }, receiver) = World::start(binary, true, true).await;
    drop((plugin, sender, receiver));
    assert!(time::timeout(LIMIT, process.child.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn a_plugin_in_a_session_ends_when_told() {
    let Some(binary) = counter() else { return };
    let (mut world, _receiver) = World::start(binary, true, true).await;
    world.plugin.shutdown(LIMIT).await.unwrap();
    world.plugin.closed().await;
    assert!(time::timeout(LIMIT, world.process.child.wait()).await.unwrap().unwrap().success());
    // Its socket is still there: a Go plugin with a session does not remove it.
}

#[tokio::test]
async fn a_connection_that_comes_too_late_gets_an_error() {
    let Some(binary) = counter() else { return };
    let cookie = Cookie::new("BASIC_PLUGIN", "hello").unwrap();
    let mut process = Process::start_with(&mut Command::new(binary), cookie, true, true);
    let handshake = process.handshake().await;
    // It is the plugin's patience that has to pass, and nothing shows that it has.
    time::sleep(RENDEZVOUS + Duration::from_secs(1)).await;
    let identity = process.identity.as_ref().unwrap();
    let tls = identity.client_config(handshake.server_certificate.as_ref().unwrap()).unwrap();
    let address = process.address(&handshake);
    let late = Plugin::connect_multiplexed(&address, Some(Arc::new(tls)), LIMIT).await;
    let error = late.map(|_| ()).unwrap_err();
    assert!(matches!(error.as_str(), "tls" | "session_ended" | "socket_refused"), "{error}");
}
