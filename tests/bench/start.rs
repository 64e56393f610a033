//! From a manifest, and from a death, to a plugin that is ready.

use std::time::{Duration, Instant};

use plugward_api::Phase;
use plugward_engine::Engine as _;
use plugward_tests::real::{TestEngine, UserDirectory, World, counter, runtime, slot};
use serde_json::json;

use crate::raw;
use crate::table::{Pairs, Row};

/// How often each is done.
const ROUNDS: usize = 21;

/// How often under each of all OCI runtimes, some of which are slow.
const ROUNDS_OF_EACH: usize = 9;

/// How often to ask whether the plugin is ready.
const POLL: Duration = Duration::from_millis(2);

/// With `runc` on each engine that the environment names.
pub(crate) async fn measure() -> Vec<Row> {
    let engines = TestEngine::all().await;
    let mut rows = Vec::new();
    for engine in &engines {
        let times = Times::take(engine, &engines, "runc", ROUNDS).await;
        rows.extend(times.rows(&engine.name, [Some(1.10), Some(1.15)]));
    }
    rows
}

/// Under each OCI runtime of each engine.
pub(crate) async fn measure_runtimes() -> Vec<Row> {
    let mut engines = TestEngine::all().await;
    engines.extend(TestEngine::rootless().await);
    let mut rows = Vec::new();
    for engine in &engines {
        for oci_runtime in engine.oci_runtimes().await {
            if !raw::runs(&*engine.port, &oci_runtime).await {
                eprintln!("runtimes: {oci_runtime} runs nothing on {}", engine.name);
                continue;
            }
            let times = Times::take(engine, &engines, &oci_runtime, ROUNDS_OF_EACH).await;
            rows.extend(times.rows(&format!("{}, {oci_runtime}", engine.name), [None, None]));
        }
    }
    rows
}

/// How long starts took, beside containers made by hand.
struct Times {
    dropped: Pairs,
    killed: Pairs,
}

impl Times {
    async fn take(engine: &TestEngine, engines: &[TestEngine], oci_runtime: &str, rounds: usize) -> Self {
        eprintln!("start: {rounds} rounds on {}, {oci_runtime}", engine.name);
        let world = World::new(engine.clone(), engines);
        let rootless = engine.port.info().await.unwrap().rootless;
        let sockets = rootless.then(|| UserDirectory::new(engine));
        let record = runtime(&engine.host).on(oci_runtime);
        world.declare(
            "runtime.yaml",
            &[match &sockets {
                Some(sockets) => record.with("/spec/engine/socketDirectory", json!(sockets.path())),
                None => record,
            }],
        );
        world.start().await;
        world.until_synced().await;
        let mut dropped = Pairs::default();
        let mut killed = Pairs::default();
        // The first round warms caches, the engine's too.
        for round in 0..=rounds {
            let name = format!("bench-{round}");
            let file = format!("{name}.yaml");
            let record = counter(&name).on(oci_runtime);

            let raw = raw::start(&*engine.port, oci_runtime).await;
            let began = Instant::now();
            world.declare(&file, &[record]);
            let container = until_ready(&world, &name, None).await;
            let start = began.elapsed();

            let raw_again = raw::start(&*engine.port, oci_runtime).await;
            engine.kill(&container).await;
            let began = Instant::now();
            until_ready(&world, &name, Some(&container)).await;
            let restart = began.elapsed();

            world.remove(&file);
            world.until_gone(&name).await;
            if round > 0 {
                dropped.push(start, raw);
                killed.push(restart, raw_again);
            }
        }
        world.terminate().await;
        world.clear_away().await;
        Self { dropped, killed }
    }

    /// Their rows, with the goals that there are.
    fn rows(self, place: &str, [dropped, killed]: [Option<f64>; 2]) -> [Row; 2] {
        let against = "create + start + handshake";
        [
            self.dropped.row(format!("manifest dropped → ready, {place}"), against, dropped),
            self.killed.row(format!("killed → ready again, {place}"), against, killed),
        ]
    }
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
