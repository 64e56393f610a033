//! From a manifest, and from a death, to a plugin that is ready.

use std::time::{Duration, Instant};

use plugward_api::Phase;
use plugward_tests::real::{TestEngine, World, counter, slot};

use crate::raw;
use crate::table::{Pairs, Row};

/// How often each is done.
const ROUNDS: usize = 21;

/// How often to ask whether the plugin is ready.
const POLL: Duration = Duration::from_millis(2);

/// On each engine that the environment names.
pub(crate) async fn measure() -> Vec<Row> {
    let engines = TestEngine::all().await;
    let mut rows = Vec::new();
    for engine in &engines {
        rows.extend(on(engine, &engines).await);
    }
    rows
}

async fn on(engine: &TestEngine, engines: &[TestEngine]) -> [Row; 2] {
    eprintln!("start: {ROUNDS} rounds on {}", engine.name);
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    world.start().await;
    world.until_synced().await;
    let mut dropped = Pairs { ours: Vec::new(), raw: Vec::new() };
    let mut killed = Pairs { ours: Vec::new(), raw: Vec::new() };
    // The first round warms caches, the engine's too.
    for round in 0..=ROUNDS {
        let name = format!("bench-{round}");
        let file = format!("{name}.yaml");
        let record = counter(&name);

        let raw = raw::start(&*engine.port).await;
        let began = Instant::now();
        world.declare(&file, &[record]);
        let container = until_ready(&world, &name, None).await;
        let start = began.elapsed();

        let raw_again = raw::start(&*engine.port).await;
        engine.kill(&container).await;
        let began = Instant::now();
        until_ready(&world, &name, Some(&container)).await;
        let restart = began.elapsed();

        world.remove(&file);
        world.until_gone(&name).await;
        if round > 0 {
            dropped.ours.push(start);
            dropped.raw.push(raw);
            killed.ours.push(restart);
            killed.raw.push(raw_again);
        }
    }
    world.terminate().await;
    world.clear_away().await;
    let against = "create + start + handshake";
    [
        dropped.row(format!("manifest dropped → ready, {}", engine.name), against, 1.10),
        killed.row(format!("killed → ready again, {}", engine.name), against, 1.15),
    ]
}

/// Waits until an instance is ready in another container than that one. Answers with its container.
async fn until_ready(world: &World, instance: &str, but: Option<&str>) -> String {
    let deadline = Instant::now() + plugward_tests::real::LIMIT;
    loop {
        if let Some(status) = world.status(instance).await {
            let container = slot(&status).container_id.as_deref();
            if status.phase == Phase::Ready
                && let Some(container) = container.filter(|container| Some(*container) != but)
            {
                return container.to_owned();
            }
        }
        assert!(Instant::now() < deadline, "{instance} does not become ready");
        tokio::time::sleep(POLL).await;
    }
}
