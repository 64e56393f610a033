//! The same calls in two ways, in turns: to a plugin in a container, and to one that is a process of its host's.

use std::time::{Duration, Instant};

use plugward_tests::real::{LIMIT, Load, RunningLoad};
use tokio::time::sleep;

use crate::table::{Goal, Row, compare};

/// How long calls are made before they count.
const WARM_UP: Duration = Duration::from_millis(200);

/// How long one way is taken.
const TURN: Duration = Duration::from_millis(1500);

/// How often each is.
const ROUNDS: usize = 9;

/// Calls at a time.
const IN_FLIGHT: [usize; 2] = [1, 64];

/// Compares the calls per second of our way, the first, with those of the plugin as a process, the second.
pub(crate) async fn against_process<'a, W: Copy>(
    work: &str,
    ways: [W; 2],
    begin: impl AsyncFn(W, &Load) -> RunningLoad<'a>,
    goal: Goal,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for in_flight in IN_FLIGHT {
        let load = Load { callers: in_flight, rate: None, deadline: LIMIT };
        let mut rates = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            for (way, rates) in ways.into_iter().zip(&mut rates) {
                rates.push(per_second(begin(way, &load).await).await);
            }
        }
        let [ours, process] = rates;
        let work = format!("{work}, {in_flight} in flight: per second");
        let told = |rate: f64| format!("{rate:.0}");
        rows.push(compare(work, &ours, "the plugin as a process", &process, told, Some(goal)));
    }
    rows
}

/// The calls per second of a load that has just begun, of which none may fail.
async fn per_second(load: RunningLoad<'_>) -> f64 {
    sleep(WARM_UP).await;
    let before = load.tally().await.answered;
    let began = Instant::now();
    sleep(TURN).await;
    let answered = load.tally().await.answered - before;
    let took = began.elapsed();
    let all = load.stop().await;
    assert_eq!((all.failures(), all.lost, all.wrong), (0, 0, 0), "{all:?}");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = answered as f64 / took.as_secs_f64();
    rate
}
