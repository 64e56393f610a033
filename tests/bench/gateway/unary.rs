//! Small calls: how many a second, and how long each.

use std::time::Duration;

use plugward_tests::real::{TestEngine, World, counter};

use super::calls::{self, Calls};
use super::nginx::Nginx;
use super::pump::Pump;
use super::way::{Way, slot_file};
use crate::table::{Goal, Row, compare};

/// How long one way is taken.
const TURN: Duration = Duration::from_millis(1500);

/// How often each is.
const ROUNDS: usize = 9;

/// The plugin's instance and mount.
const NAME: &str = "unary";

pub(crate) async fn measure(engine: &TestEngine, engines: &[TestEngine]) -> Vec<Row> {
    eprintln!("gateway: {ROUNDS} rounds of unary calls to a plugin on {}", engine.name);
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    world.declare("unary.yaml", &[counter(NAME)]);
    world.start().await;
    world.until_ready(NAME).await;
    let slot_file = slot_file(&world, NAME);
    let pump = Pump::start(&world.path("pump"), &slot_file).await;
    let nginx = Nginx::start().await;

    let mut ways = vec![Way::mount(&world, NAME, NAME), Way::direct(&slot_file), pump.way.clone()];
    ways.extend(nginx.as_ref().ok().map(|nginx| nginx.way.clone()));
    let many = calls::rounds(&ways, 64, TURN, ROUNDS).await;
    let mut rows = throughput(&ways, &many, nginx.as_ref().err());
    let few = [ways[0].clone(), pump.way.clone()];
    let one = calls::rounds(&few, 1, TURN, ROUNDS).await;
    rows.extend(latency(&few, &one));
    world.terminate().await;
    world.clear_away().await;
    rows
}

/// The mount socket, the first of the ways, against each of the others.
fn throughput(ways: &[Way], seen: &[Vec<Calls>], no_nginx: Option<&String>) -> Vec<Row> {
    let work = "unary gRPC, 64 in flight: calls/s".to_owned();
    let rates = |way: usize| seen[way].iter().map(|calls| calls.rate).collect::<Vec<_>>();
    let goals = [Some(Goal::AtLeast(0.85)), None, Some(Goal::AtLeast(1.5))];
    let mut rows: Vec<Row> = (1..ways.len())
        .zip(goals)
        .map(|(way, goal)| {
            let against = &ways[way].name;
            compare(work.clone(), &rates(0), against, &rates(way), |rate| format!("{rate:.0}"), goal)
        })
        .collect();
    if let Some(why) = no_nginx {
        eprintln!("SKIPPED: nginx: {why}");
        rows.push(Row {
            work,
            seen: "SKIPPED".to_owned(),
            against: format!("nginx: {why}"),
            goal: "≥ 1.50 ×".to_owned(),
            met: None,
        });
    }
    rows
}

fn latency(ways: &[Way; 2], seen: &[Vec<Calls>]) -> [Row; 2] {
    let row = |name: &str, part: fn(&Calls) -> Duration| {
        let times = |way: usize| seen[way].iter().map(|calls| part(calls).as_secs_f64()).collect::<Vec<_>>();
        let work = format!("unary gRPC, 1 in flight: {name}");
        let micros = |seconds: f64| format!("{:.0} µs", seconds * 1e6);
        compare(work, &times(0), &ways[1].name, &times(1), micros, Some(Goal::AtMost(1.10)))
    };
    [row("p50", |calls| calls.p50), row("p99", |calls| calls.p99)]
}
