//! Plugins and hosts that misuse their brokers cost themselves what they offer, and nobody else anything.

use std::fs;
use std::os::unix::fs::symlink;

use futures::future::join_all;
use go_plugin::external::Bytes;
use go_plugin::external::http::HeaderMap;
use go_plugin::external::http::uri::PathAndQuery;
use go_plugin::external::tonic::Code;
use go_plugin::{Address, Answer, BrokerError, BrokerMessage, BrokerReceiver, CallError, Plugin};
use plugward_engine::ContainerState;
use plugward_tests::real::{
    Held, Instance, LIMIT, Load, Outside, World, busy, callback, go_counter, hostile, on_one_engine, skipped,
};
use prost::Message as _;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Calls of a good host beside the bad ones, each with a callback.
const LOAD: Load = Load { callers: 4, rate: Some(40.0), deadline: LIMIT };

/// How many messages are too many, as `hostile broker` has it.
const MANY: usize = 100_000;

/// The first number of a good server of `hostile broker`.
const MARK: u32 = 1_000_000_000;

/// As many servers as a container's plugin and its hosts have at a time.
const MOST_SOCKETS: usize = 1024;

/// As many descriptors more than before may be open: two for each server, and those of hosts, of the load, and of calls to the engine.
const MORE_FILES: usize = 2 * MOST_SOCKETS + 200;

/// The most memory that the controller may take, whatever they do.
const MEMORY_LIMIT: u64 = 128 << 20;

/// What the controller may write to its log, in bytes.
const LOG_LIMIT: usize = 4 << 20;

/// A user who is no host's.
const NOBODY: u32 = 65534;

#[tokio::test]
async fn plugins_that_misuse_their_brokers_cost_nobody_else_anything() {
    let _alone = busy().await;
    on_one_engine(|world| async move {
        let outside = Outside::listen(&world.path("outside.sock"));
        let misuses = ["numbers", "outside", "deaf", "knocks"];
        world.declare_runtime();
        world.declare("good.yaml", &[callback("good")]);
        let broken = |name| hostile(name, &["broker", name, "--on-signal", "--outside", outside.path()]);
        world.declare("hostile.yaml", &misuses.map(broken));
        world.start().await;
        for name in ["good"].iter().chain(&misuses) {
            world.until_ready(name).await;
        }
        // Where `..` leads from a plugin's directory.
        let above = Outside::listen(&world.sockets().join("plugins/outside.sock"));
        let Some(good) = world.callback_host("good").await else { return };
        let load = good.load(Instance::only("good"), &LOAD).await.unwrap();
        load.until_answered(20).await;
        let before = world.held();

        // Of 100,000 numbers as many are offered as may be, to a host that does not read until then.
        let (_numbers, mut heard) = listens(&world, "numbers").await;
        world
            .wait("all the sockets are made that may be", async || {
                (world.held().offered >= MOST_SOCKETS).then_some(())
            })
            .await;
        let full = world.held();
        until_marked(&mut heard, 0).await;
        within(&full, &before);
        within(&world.held(), &before);

        // Of 100,000 addresses elsewhere none is told.
        let (_outside, mut heard) = listens(&world, "outside").await;
        let told = until_marked(&mut heard, 0).await;
        assert!(told.is_empty(), "none of these is in its directory: {told:?}");

        // Who connects to a server that accepts nothing is let go.
        let (_deaf, mut heard) = listens(&world, "deaf").await;
        let Ok(BrokerMessage::Announce { id: 1, address: Address::Unix(told) }) = heard.recv().await else {
            panic!("another message")
        };
        let connected = join_all((0..64).map(|_| until_let_go(told.clone()))).await;
        assert!(connected.iter().all(|connected| *connected), "all of them could connect");
        // And of one that has become a link, too.
        signal(&world, "deaf", Signal::USR1).await;
        world.wait("there is a link", async || is_link(&world).then_some(())).await;
        until_let_go(told).await;

        // Knocks go on without end.
        let (_knocks, mut heard) = listens(&world, "knocks").await;
        until_marked(&mut heard, 2).await;

        load.until_answered(load.tally().await.answered + 20).await;
        let tally = load.stop().await;
        let now = world.held();
        eprintln!("{}: beside plugins with hostile brokers: {tally:?}", world.engine.name);
        eprintln!("{}: before {before:?}, full {full:?}, now {now:?}", world.engine.name);
        assert_eq!((tally.failures(), tally.lost, tally.repeated, tally.wrong), (0, 0, 0, 0), "{tally:?}");
        assert_eq!((outside.connections(), above.connections()), (0, 0));
        within(&now, &before);
        unharmed(&world);
    })
    .await;
}

#[tokio::test]
async fn hosts_that_misuse_their_brokers_cost_nobody_else_anything() {
    let _alone = busy().await;
    on_one_engine(|world| async move {
        if !geteuid().is_root() {
            return skipped("only root can listen as another user");
        }
        world.declare_runtime();
        world.declare("both.yaml", &[callback("good"), go_counter("bad")]);
        world.start().await;
        world.until_ready("good").await;
        let ready = world.until_ready("bad").await;
        let alone = world.held().sockets;
        let Some(good) = world.callback_host("good").await else { return };
        let load = good.load(Instance::only("good"), &LOAD).await.unwrap();
        load.until_answered(20).await;
        let before = world.held();

        offers_what_is_not_there(&world, &before).await;

        // One server, again and again.
        let own = Outside::listen(&world.path("own.sock"));
        let host = world.wayward_host("bad", "bad").await;
        let (says, mut hears) = host.broker();
        for _ in 0..MANY {
            let address = Address::Unix(own.path().to_owned());
            says.send(BrokerMessage::Announce { id: 1, address }).await.unwrap();
        }
        // What has no address ends the stream, when all before it was taken.
        let address = Address::Unix(String::new());
        says.send(BrokerMessage::Announce { id: 2, address }).await.unwrap();
        ended_with(&mut hears, Code::InvalidArgument).await;
        within(&world.held(), &before);

        offers_what_is_not_its_own(&world, &own).await;
        knocks(&world).await;
        let host = world.wayward_host("bad", "bad").await;
        let (says, unread) = host.broker();
        let flood =
            tokio::spawn(async move { while says.send(BrokerMessage::Knock { id: 7 }).await.is_ok() {} });

        load.until_answered(load.tally().await.answered + 20).await;
        let tally = load.stop().await;
        let now = world.held();
        eprintln!("{}: beside hosts with hostile brokers: {tally:?}", world.engine.name);
        eprintln!("{}: before {before:?}, now {now:?}", world.engine.name);
        assert_eq!((tally.failures(), tally.lost, tally.repeated, tally.wrong), (0, 0, 0, 0), "{tally:?}");
        within(&now, &before);
        assert_eq!(
            world.until_ready("bad").await.container_id,
            ready.container_id,
            "it is not its plugin's fault"
        );
        drop((host, unread));
        flood.await.unwrap();
        world
            .wait("nothing is left of what was offered", async || {
                (world.held().sockets <= alone).then_some(())
            })
            .await;
        unharmed(&world);
    })
    .await;
}

/// A host offers 100,000 servers that are not there: with what is too many its stream ends, and it begins another.
async fn offers_what_is_not_there(world: &World, before: &Held) {
    let mut announced = 0;
    while announced < MANY {
        let host = world.wayward_host("bad", "bad").await;
        let (says, mut hears) = host.broker();
        let path = world.path("nothing").display().to_string();
        for id in 0.. {
            let message = BrokerMessage::Announce { id, address: Address::Unix(path.clone()) };
            if says.send(message).await.is_err() {
                break;
            }
            announced += 1;
        }
        within(&world.held(), before);
        ended_with(&mut hears, Code::ResourceExhausted).await;
    }
}

/// A host offers servers that are somebody else's, or behind links, and `own`.
async fn offers_what_is_not_its_own(world: &World, own: &Outside) {
    let others = Outside::listen(&world.path("others.sock")).of(NOBODY);
    symlink(others.path(), world.path("link.sock")).unwrap();
    symlink(own.path(), world.path("own-link.sock")).unwrap();
    fs::create_dir(world.path("d")).unwrap();
    fs::write(world.path("file"), "").unwrap();
    let places = ["others.sock", "link.sock", "own-link.sock", "d", "file", "missing"];
    let host = world.wayward_host("bad", "bad").await;
    let (says, unread) = host.broker();
    for (id, place) in (10..).zip(places) {
        let address = Address::Unix(world.path(place).display().to_string());
        says.send(BrokerMessage::Announce { id, address }).await.unwrap();
    }
    let address = Address::Unix("../relative".to_owned());
    says.send(BrokerMessage::Announce { id: 9, address }).await.unwrap();
    let calls = (9..).take(places.len() + 1).map(|id| calls_back(&host, id));
    join_all(calls).await;
    assert_eq!((others.connections(), own.connections()), (0, 0), "nobody is led there");
    // While the host's own server is reached.
    says.send(BrokerMessage::Announce { id: 99, address: Address::Unix(own.path().to_owned()) })
        .await
        .unwrap();
    calls_back(&host, 99).await;
    assert_ne!(own.connections(), 0);
    drop(unread);
}

/// A host knocks where nothing is multiplexed. Each knock is answered, as far as the answers are read.
async fn knocks(world: &World) {
    let host = world.wayward_host("bad", "bad").await;
    let (says, mut hears) = host.broker();
    let knocks = async {
        for id in 0..u32::try_from(MANY).unwrap() {
            says.send(BrokerMessage::Knock { id }).await.unwrap();
        }
    };
    let answers = async {
        for knock in 0..u32::try_from(MANY).unwrap() {
            let answer = timeout(LIMIT, hears.recv()).await.expect("knocks are answered").unwrap();
            assert!(matches!(answer, BrokerMessage::Ack { id, error: Some(_) } if id == knock), "{answer:?}");
        }
    };
    tokio::join!(knocks, answers);
}

/// A host of a mount of that name, and what it hears over the broker. Nothing is heard after it is dropped.
async fn listens(world: &World, name: &str) -> ((Plugin, go_plugin::BrokerSender), BrokerReceiver) {
    let host = world.wayward_host(name, name).await;
    let (says, hears) = host.broker();
    ((host, says), hears)
}

/// Waits for a good server of this number or a later one. Answers with what is told before.
async fn until_marked(hears: &mut BrokerReceiver, number: u32) -> Vec<u32> {
    let mut told = Vec::new();
    loop {
        let message = timeout(LIMIT, hears.recv()).await.expect("the plugin is still listened to").unwrap();
        match message {
            BrokerMessage::Announce { id, .. } if id >= MARK + number => return told,
            BrokerMessage::Announce { id, .. } => told.push(id),
            other => panic!("{other:?}"),
        }
    }
}

async fn ended_with(hears: &mut BrokerReceiver, wanted: Code) {
    let end = timeout(LIMIT, hears.recv()).await.expect("the stream ends").unwrap_err();
    assert!(
        matches!(&end, BrokerError::Failed(CallError::Refused { code, .. }) if *code == wanted),
        "{end:?}"
    );
}

/// Connects, and waits until the connection is ended. Answers whether there was anything to connect to.
async fn until_let_go(path: String) -> bool {
    let Ok(mut stream) = UnixStream::connect(path).await else { return false };
    // A reset is an end, too.
    let _ = timeout(LIMIT, stream.read_to_end(&mut Vec::new())).await.expect("the connection is ended");
    true
}

/// Has HashiCorp's `plugin-counter` call back: it cannot be answered.
async fn calls_back(host: &Plugin, server: u32) {
    #[derive(prost::Message)]
    struct Increment {
        #[prost(string, tag = "1")]
        key: String,
        #[prost(int64, tag = "2")]
        value: i64,
        #[prost(uint32, tag = "3")]
        storage_server: u32,
    }
    let message = Increment { key: "a".to_owned(), value: 1, storage_server: server }.encode_to_vec();
    let path = PathAndQuery::from_static("/proto.Counter/Increment");
    let answer = host.call(path, HeaderMap::new(), Bytes::from(message), LIMIT).await.unwrap();
    assert!(matches!(answer, Answer::Status { .. }), "no storage is behind it");
}

/// Whether one of those that accept nothing has become a link.
fn is_link(world: &World) -> bool {
    let directories = fs::read_dir(world.sockets().join("plugins")).unwrap().flatten();
    let mut places = directories.map(|directory| directory.path().join("bait"));
    places.any(|place| place.symlink_metadata().is_ok_and(|found| found.is_symlink()))
}

async fn signal(world: &World, name: &str, signal: Signal) {
    let slot = world.until_ready(name).await;
    let ContainerState::Running { pid, .. } = world.container(&slot).await.state else {
        panic!("a container that serves runs")
    };
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// It holds no more than it may.
fn within(now: &Held, before: &Held) {
    assert!(now.offered <= MOST_SOCKETS + 64, "{now:?}");
    assert!(now.sockets <= before.sockets + MOST_SOCKETS + 64, "{now:?} after {before:?}");
    assert!(now.files <= before.files + MORE_FILES, "{now:?} after {before:?}");
    assert!(now.peak_memory < MEMORY_LIMIT, "{now:?} after {before:?}");
}

fn unharmed(world: &World) {
    let log = world.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.len() < LOG_LIMIT, "the controller wrote {} bytes to its log", log.len());
}
