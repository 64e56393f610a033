//! The call that the counter has least to do for.

use std::time::{Duration, Instant};

use futures::future::join_all;
use go_plugin::Channel;
use go_plugin::external::http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::way::{Way, on_one_thread};

/// `counter.Counter/Get`. On the wire its messages are ones that prost has: a text and a number.
const GET: &str = "/counter.Counter/Get";

/// The bytes of a request's message are these and two more.
const KEY_BYTES: usize = 100;

/// How long calls are made before they count.
const WARM_UP: Duration = Duration::from_millis(200);

/// What came out of calling for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    /// Calls per second.
    pub(crate) rate: f64,
    /// The time that the half took at most.
    pub(crate) p50: Duration,
    /// The time that 99 of 100 took at most.
    pub(crate) p99: Duration,
}

/// Asks a counter that nobody has counted with.
pub(crate) async fn get(channel: &Channel, key: &str) -> Result<i64, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await?;
    let codec = ProstCodec::<String, i64>::default();
    let answer = client.unary(Request::new(key.to_owned()), PathAndQuery::from_static(GET), codec).await?;
    Ok(answer.into_inner())
}

/// Calls by each way in turns, `rounds` times, for `time`, on a new connection each, with so many calls in flight: what came out,
/// by way and round. All from one thread.
pub(crate) async fn rounds(ways: &[Way], in_flight: usize, time: Duration, rounds: usize) -> Vec<Vec<Calls>> {
    let ways = ways.to_vec();
    on_one_thread(async move || {
        let mut seen: Vec<Vec<Calls>> = vec![Vec::new(); ways.len()];
        for _ in 0..rounds {
            for (way, seen) in ways.iter().zip(&mut seen) {
                let channel = way.connect().await;
                keep_calling(&channel, in_flight, WARM_UP).await;
                seen.push(keep_calling(&channel, in_flight, time).await);
            }
        }
        seen
    })
    .await
}

async fn keep_calling(channel: &Channel, in_flight: usize, time: Duration) -> Calls {
    let began = Instant::now();
    let callers = (0..in_flight).map(|_| async {
        let key = "k".repeat(KEY_BYTES);
        let mut times = Vec::new();
        while began.elapsed() < time {
            let called = Instant::now();
            assert_eq!(get(channel, &key).await.unwrap(), 0);
            times.push(called.elapsed());
        }
        times
    });
    let mut times = join_all(callers).await.concat();
    let took = began.elapsed();
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = times.len() as f64 / took.as_secs_f64();
    let percentile = |percent| times[(times.len() - 1) * percent / 100];
    Calls { rate, p50: percentile(50), p99: percentile(99) }
}
