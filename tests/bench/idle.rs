//! What a controller costs whose plugins just run.

use std::time::Duration;

use plugward_tests::real::{TestEngine, World, counter};

use crate::process::Process;
use crate::table::{Row, mebibytes};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(30);

/// More wake-ups than this in that time are no idling: a resync, the rescans of the manifests, and nothing else.
const MOST_SWITCHES: u64 = 150;

/// On the first engine that the environment names.
pub(crate) async fn measure() -> Vec<Row> {
    let engines = TestEngine::all().await;
    let Some(engine) = engines.first() else { return Vec::new() };
    eprintln!("idle: watching a controller for {} s", WATCHED.as_secs());
    let world = World::new(engine.clone(), &engines);
    world.declare_runtime();
    let names = ["one", "two"];
    for name in names {
        world.declare(&format!("{name}.yaml"), &[counter(name)]);
    }
    world.start().await;
    for name in names {
        world.until_ready(name).await;
    }
    world.settle().await;
    let process = Process(world.with_program(|program| program.pid()));
    let before = process.activity();
    tokio::time::sleep(WATCHED).await;
    let after = process.activity();
    let memory = process.memory();
    world.terminate().await;
    world.clear_away().await;
    let switches = after.switches_since(&before);
    vec![
        Row {
            work: "idle controller, two plugins: memory".into(),
            seen: mebibytes(memory),
            against: "–".into(),
            goal: "< 25 MiB".into(),
            met: Some(memory < 25 << 20),
        },
        Row {
            work: format!("the same: context switches in {} s", WATCHED.as_secs()),
            seen: format!("{switches} ({} ms on processors)", (after.ticks - before.ticks) * 10),
            against: "–".into(),
            goal: format!("no busy wake-ups: < {MOST_SWITCHES}"),
            met: Some(switches < MOST_SWITCHES),
        },
    ]
}
