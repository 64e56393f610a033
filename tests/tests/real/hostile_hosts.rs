//! Hosts that break the rules cost themselves their connections, and nobody else anything.

use std::path::PathBuf;

use futures::future::{join, join_all};
use plugward_api::InstanceCondition;
use plugward_tests::real::{LIMIT, Load, counter, on_one_engine};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The load of a good host beside the bad ones.
const LOAD: Load = Load { callers: 4, rate: Some(200.0), deadline: LIMIT };

/// The most memory that the controller may take, whatever hosts do.
const MEMORY_LIMIT: u64 = 128 << 20;

/// As many connections as a mount has at once.
const CONNECTIONS: usize = 64;

/// What a host sends that does not care for what it is allowed: more than all may that are connected.
const FLOOD: usize = 4 << 20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn hosts_that_break_the_rules_cost_nobody_else_anything() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let shared = counter("counter")
            .serving(&["good", "garbled", "silent", "endless", "deaf"])
            .with("/spec/args", json!(["--multiplex"]));
        let missing = json!({ "repository": world.repository(), "tag": "never" });
        let waiting = counter("waiting").serving(&["endless", "flooded"]).with("/spec/image", missing);
        world.declare("counters.yaml", &[shared, waiting]);
        world.start().await;
        let before = world.until_ready("counter").await;
        world.until_condition("waiting", InstanceCondition::ImageVerified, "ImageNotFound").await;
        let Some(host) = world.generic_host("counter").await else { return };
        let load = host.load("good", &LOAD).await.unwrap();
        load.until_answered(100).await;
        let memory = || world.with_program(|program| program.peak_memory());
        let at_ease = memory();
        let counter = |mount| world.mount_socket("counter", mount);
        let waiting = |mount| world.mount_socket("waiting", mount);

        // Nothing after the preface, on all connections that a mount has.
        let silent = join_all((0..CONNECTIONS).map(|_| connected(counter("silent"), PREFACE))).await;
        // Calls that never end, at the plugin and where they wait for one.
        let mut calls = opening();
        for stream in (1..200).step_by(2) {
            calls.extend(request(stream));
            // The head of a message of 100 bytes, and one of them.
            calls.extend(frame(DATA, 0, stream, &[0, 0, 0, 0, 100, 7]));
        }
        let endless =
            [connected(counter("endless"), &calls).await, connected(waiting("endless"), &calls).await];
        // No HTTP/2 at all.
        let garbage: Vec<u8> = b"GET / HTTP/1.1\r\n\r\n".iter().copied().cycle().take(4096).collect();
        join_all((0..8).map(|_| until_ended(counter("garbled"), garbage.clone()))).await;
        // More than they may send, where nobody can take it.
        let mut flood = opening();
        flood.extend(request(1));
        let piece = frame(DATA, 0, 1, &[0; 16_384]);
        flood.extend(piece.iter().copied().cycle().take(FLOOD / piece.len() * piece.len()));
        join_all((0..16).map(|_| until_ended(waiting("flooded"), flood.clone()))).await;
        // Calls whose answers nobody reads.
        join_all((0..4).map(|_| reads_nothing(counter("deaf")))).await;

        // A good host finds its place everywhere, when those are ended that were to be.
        for mount in ["silent", "endless", "garbled", "deaf"] {
            assert_eq!(host.increment(mount, "a", 1, Some(LIMIT)).await, Ok(1), "{mount}");
        }
        drop(silent);

        load.until_answered(load.tally().await.answered + 100).await;
        let tally = load.stop().await;
        let (before_them, beside_them) = (at_ease >> 10, memory() >> 10);
        eprintln!("beside hostile hosts: {tally:?}; memory: {before_them} KiB before, {beside_them} KiB now");
        assert_eq!((tally.failures(), tally.lost, tally.repeated), (0, 0, 0), "{tally:?}");
        assert!(memory() < MEMORY_LIMIT, "{} bytes", memory());
        assert_eq!(world.until_ready("counter").await.container_id, before.container_id);
        assert!(!world.log().contains("panicked"), "{}", world.log());
        drop(endless);
    })
    .await;
}

/// A connection on which this was said.
async fn connected(socket: PathBuf, said: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(said).await.unwrap();
    stream
}

/// Says this, and waits until the connection is ended, before all is said or after.
async fn until_ended(socket: PathBuf, said: Vec<u8>) {
    let (mut reading, mut writing) = UnixStream::connect(socket).await.unwrap().into_split();
    let says = async {
        // Not all of it is taken.
        let _ = writing.write_all(&said).await;
    };
    let hears = async {
        // A reset is an end, too.
        let _ = reading.read_to_end(&mut Vec::new()).await;
    };
    timeout(LIMIT, join(says, hears)).await.expect("the connection is ended");
}

/// Makes one call after the other, and reads nothing, until the connection is ended.
async fn reads_nothing(socket: PathBuf) {
    let mut host = connected(socket, &opening()).await;
    let calls = async {
        for stream in (1..u32::MAX >> 1).step_by(2) {
            let mut call = request(stream);
            // A `GetRequest` whose key is "a".
            call.extend(frame(DATA, END_STREAM, stream, &[0, 0, 0, 0, 3, 10, 1, b'a']));
            if host.write_all(&call).await.is_err() {
                return;
            }
        }
    };
    timeout(LIMIT, calls).await.expect("the connection is ended");
}

// === HTTP/2, as far as it is needed to misuse it ===

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The preface, and settings that change none.
fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call of the counter's `Get`, all in literals but for what the static table has.
fn request(stream: u32) -> Vec<u8> {
    const POST: u8 = 0x83;
    const HTTP: u8 = 0x86;
    let mut block = vec![POST, HTTP];
    let mut field = |name: &[u8], value: &str| {
        block.extend(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    };
    field(&[0x04], "/counter.Counter/Get");
    field(&[0x01], "plugin");
    field(b"\x0f\x10", "application/grpc");
    field(b"\x00\x02te", "trailers");
    frame(HEADERS, END_HEADERS, stream, &block)
}
