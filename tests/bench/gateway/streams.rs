//! Streams of a GiB, and what the controller holds of them.

use std::time::Instant;

use futures::stream;
use go_plugin::external::Bytes;
use go_plugin::external::http::uri::PathAndQuery;
use plugward_tests::real::{TestEngine, World, hostile};
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use super::pump::Pump;
use super::way::{Way, on_one_thread, slot_file};
use crate::process::Process;
use crate::table::{Goal, Row, compare, mebibytes};

/// The length of a stream.
const BYTES: u64 = 1 << 30;

/// The piece that it is sent up in, again and again; the plugin sends the same.
static PIECE: [u8; 64 << 10] = [7; 64 << 10];

/// How often each way is taken in each direction.
const ROUNDS: usize = 5;

/// The plugin's instance and mount.
const NAME: &str = "streams";

/// What the controller's memory may grow by: what the windows of a connection let on its way, with room.
const FLAT: u64 = 16 << 20;

/// The direction of a stream.
#[derive(Debug, Clone, Copy)]
enum Direction {
    /// From the plugin to the host.
    Down,
    /// From the host to the plugin.
    Up,
}

pub(crate) async fn measure(engine: &TestEngine, engines: &[TestEngine]) -> Vec<Row> {
    eprintln!("gateway: {ROUNDS} rounds of 1 GiB each way");
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    world.declare("streams.yaml", &[hostile(NAME, &["bulk"])]);
    world.start().await;
    world.until_ready(NAME).await;
    let slot_file = slot_file(&world, NAME);
    let pump = Pump::start(&world.path("pump"), &slot_file).await;
    let ways = [Way::mount(&world, NAME, NAME), Way::direct(&slot_file), pump.way.clone()];
    world.settle().await;
    let controller = Process(world.with_program(|program| program.pid()));

    let mut rows = Vec::new();
    for direction in [Direction::Down, Direction::Up] {
        let before = controller.memory();
        controller.forget_peak_memory();
        let [ours, direct, pump] = rounds(ways.clone(), direction).await;
        let grown = controller.peak_memory().saturating_sub(before);
        let work = match direction {
            Direction::Down => "1 GiB from plugin to host",
            Direction::Up => "1 GiB from host to plugin",
        };
        let mebibytes_per_second = |rate: f64| format!("{rate:.0} MiB/s");
        let goals = [Some(Goal::AtLeast(0.85)), None];
        for ((way, others), goal) in ways[1..].iter().zip([direct, pump]).zip(goals) {
            rows.push(compare(work.to_owned(), &ours, &way.name, &others, mebibytes_per_second, goal));
        }
        rows.push(Row {
            work: format!("{work}: growth of the controller"),
            seen: mebibytes(grown),
            against: format!("{} before", mebibytes(before)),
            goal: format!("flat: < {}", mebibytes(FLAT)),
            met: Some(grown < FLAT),
        });
    }
    world.terminate().await;
    world.clear_away().await;
    rows
}

/// Each way in turns: MiB per second, by way and round. All from one thread.
async fn rounds(ways: [Way; 3], direction: Direction) -> [Vec<f64>; 3] {
    on_one_thread(async move || {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (way, rates) in ways.iter().zip(&mut rates) {
                rates.push(direction.stream(way).await);
            }
        }
        rates
    })
    .await
}

// === impl Direction ===

impl Direction {
    /// Streams on a new connection: MiB per second. On the wire the messages are ones that prost has: a number and bytes.
    async fn stream(self, way: &Way) -> f64 {
        let mut client = Grpc::new(way.connect().await);
        client.ready().await.unwrap();
        let began = Instant::now();
        let bytes = match self {
            Self::Down => {
                let path = PathAndQuery::from_static("/bulk.Bulk/Download");
                let codec = ProstCodec::<u64, Bytes>::default();
                let answer = client.server_streaming(Request::new(BYTES), path, codec).await;
                let mut pieces = answer.unwrap().into_inner();
                let mut bytes = 0;
                while let Some(piece) = pieces.message().await.unwrap() {
                    bytes += piece.len() as u64;
                }
                bytes
            }
            Self::Up => {
                let path = PathAndQuery::from_static("/bulk.Bulk/Upload");
                let codec = ProstCodec::<Bytes, u64>::default();
                let pieces = (0..BYTES / PIECE.len() as u64).map(|_| Bytes::from_static(&PIECE));
                let answer = client.client_streaming(Request::new(stream::iter(pieces)), path, codec).await;
                answer.unwrap().into_inner()
            }
        };
        let took = began.elapsed();
        assert_eq!(bytes, BYTES, "{}: all of it arrives", way.name);
        1024.0 / took.as_secs_f64()
    }
}
