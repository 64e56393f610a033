//! What a host that attaches notices: how soon it has its handshake line, how fast its calls are, and how soon it goes on after a death.
//!
//! All hosts are the same program in Go, on the real go-plugin, and the plugins are the same: in containers, where the host starts the
//! launcher, and as processes, where it starts them. The two take turns.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugward_tests::real::{
    DatabaseHost, GenericHost, HostOptions, LIMIT, Load, Manifest, RunningLoad, Start, TestEngine, World,
    couchbase, counter, go_program, starts,
};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::gateway::revival::{process_of, until_spared, with_spare};
use crate::raw;
use crate::table::{Goal, Pairs, Row, millis, percentile};
use crate::turns::against_process;

/// How often a host attaches, and starts the same plugin.
const CYCLES: usize = 200;

/// What 99 of 100 handshake lines may take.
const MOST_TO_ATTACH: Duration = Duration::from_millis(10);

/// What calls through a session should reach of those to a process.
const GOAL: Goal = Goal::AtLeast(0.85);

/// How often a plugin is killed, alone and beside a spare.
const KILLS: usize = 15;
const KILLS_WITH_SPARE: usize = 50;

/// What 99 of 100 answers may take after a kill beside a spare.
const MOST_WITH_SPARE: Duration = Duration::from_millis(20);

const NAME: &str = "plugin";

pub(crate) async fn measure() -> Vec<Row> {
    let engines = TestEngine::all().await;
    let Some(engine) = engines.first() else { return Vec::new() };
    let package = "github.com/hashicorp/vault-plugin-database-couchbase/cmd/vault-plugin-database-couchbase";
    let Some(database) = go_program("plugins/couchbase", package) else {
        eprintln!("attach: Go is not installed");
        return Vec::new();
    };
    let program = PathBuf::from(
        std::env::var_os("PLUGWARD_BENCH_COUNTER").expect("PLUGWARD_BENCH_COUNTER is the counter's program"),
    );
    let mut rows = attaching(engine, &engines, &database).await;
    rows.extend(calling(engine, &engines, &program).await);
    for engine in &engines {
        rows.push(dying(engine, &engines).await);
        rows.push(dying_beside_a_spare(engine, &engines).await);
    }
    rows
}

async fn world(engine: &TestEngine, engines: &[TestEngine], plugin: Manifest) -> World {
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    world.declare("plugin.yaml", &[plugin.attachable(&["root"])]);
    world.start().await;
    world
}

/// From the start of its process to its handshake line: of the launcher, where the container is shared and ready, and of the plugin.
async fn attaching(engine: &TestEngine, engines: &[TestEngine], program: &Path) -> Vec<Row> {
    eprintln!("attach: {CYCLES} hosts");
    let world = world(engine, engines, couchbase(NAME)).await;
    world.until_open(NAME).await;
    let environment = go_plugin::Application::Database.environment("1.21.0", false);
    let mounts = starts([
        ("attached", world.attach(NAME, 6)),
        ("process", Start::program(program, &[], 6).envs(environment)),
    ]);
    let host = DatabaseHost::start(&mounts, &HostOptions::default()).expect("there is Go");
    let mut took = [const { Vec::new() }; 2];
    // In turns of ten, of which the first warms what there is to be warmed.
    for turn in 0..=CYCLES / 10 {
        for (mount, took) in ["attached", "process"].into_iter().zip(&mut took) {
            let cycles = host.client(mount).cycles(10, 1).await.unwrap();
            assert!(cycles.iter().all(|cycle| cycle.failure.is_none()), "{cycles:?}");
            if turn > 0 {
                took.extend(cycles.iter().map(|cycle| cycle.line));
            }
        }
    }
    world.terminate().await;
    world.clear_away().await;
    let [[half, most], [process_half, process_most]] =
        [&took[0], &took[1]].map(|took| [50, 99].map(|percent| percentile(took, percent)));
    vec![Row {
        work: "launcher started → handshake line: 99 of 100".to_owned(),
        seen: format!("{}, half {}", millis(most), millis(half)),
        against: format!("the plugin as a process: {}, half {}", millis(process_most), millis(process_half)),
        goal: format!("≤ {}", millis(MOST_TO_ATTACH)),
        met: Some(most <= MOST_TO_ATTACH),
    }]
}

/// Calls through a session, against the same host's calls to the plugin as its process.
async fn calling(engine: &TestEngine, engines: &[TestEngine], program: &Path) -> Vec<Row> {
    eprintln!("attach: calls");
    let world = world(engine, engines, counter(NAME)).await;
    world.until_open(NAME).await;
    let hosts = [world.attach(NAME, 1), Start::program(program, &[], 1)].map(|start| {
        GenericHost::start(&starts([(NAME, start)]), &HostOptions::default()).expect("there is Go")
    });
    let rows = against_process("call through a session", hosts.each_ref(), begin, GOAL).await;
    drop(hosts);
    world.terminate().await;
    world.clear_away().await;
    rows
}

async fn begin<'a>(host: &'a GenericHost, load: &Load) -> RunningLoad<'a> {
    host.load(NAME, load).await.unwrap()
}

/// From the death of a session's own container to the answer of its host's next call.
async fn dying(engine: &TestEngine, engines: &[TestEngine]) -> Row {
    eprintln!("attach: {KILLS} kills on {}", engine.name);
    let plugin = counter(NAME).with("/spec/restart", json!({ "resetAfter": "1s" }));
    let world = world(engine, engines, plugin).await;
    world.until_open(NAME).await;
    let mut pairs = Pairs::default();
    // The first round warms caches, the engine's too.
    for round in 0..=KILLS {
        let host = attached(&world);
        answered(&host).await;
        let container = world.containers_of(NAME).await[0].id.as_str().to_owned();
        let raw = raw::start(&*engine.port, "runc").await;
        engine.kill(&container).await;
        let began = Instant::now();
        answered(&host).await;
        let took = began.elapsed();
        host.close(NAME).await.unwrap();
        world.until_sessions(0).await;
        world.until_open(NAME).await;
        if round > 0 {
            pairs.push(took, raw);
        }
    }
    world.terminate().await;
    world.clear_away().await;
    let work = format!("a session's container killed → next call answered, {}", engine.name);
    pairs.row(work, "create + start + handshake", Some(1.15))
}

/// The same where a spare is ready: that is nothing which an engine has to do, so the time itself has a goal.
async fn dying_beside_a_spare(engine: &TestEngine, engines: &[TestEngine]) -> Row {
    eprintln!("attach: {KILLS_WITH_SPARE} kills beside a spare on {}", engine.name);
    let world = world(engine, engines, with_spare(NAME)).await;
    let host = attached(&world);
    answered(&host).await;
    let (mut took, mut dead) = (Vec::new(), None::<String>);
    for round in 0..=KILLS_WITH_SPARE {
        let container = until_spared(&world, NAME, dead.as_deref()).await;
        answered(&host).await;
        let process = process_of(engine, &container).await;
        let began = Instant::now();
        kill_process(process, Signal::KILL).expect("its process is here");
        answered(&host).await;
        if round > 0 {
            took.push(began.elapsed());
        }
        dead = Some(container);
    }
    world.terminate().await;
    world.clear_away().await;
    let [half, most] = [50, 99].map(|percent| percentile(&took, percent));
    Row {
        work: format!(
            "a session's container killed beside a spare → next call answered, {}: 99 of 100",
            engine.name
        ),
        seen: format!("{}, half {}", millis(most), millis(half)),
        against: "–".to_owned(),
        goal: format!("≤ {}", millis(MOST_WITH_SPARE)),
        met: Some(most <= MOST_WITH_SPARE),
    }
}

fn attached(world: &World) -> GenericHost {
    let mounts = starts([(NAME, world.attach(NAME, 1))]);
    GenericHost::start(&mounts, &HostOptions::default()).expect("there is Go")
}

/// Calls until there is an answer: a call that came to the dead container is made again, as hosts do.
async fn answered(host: &GenericHost) {
    let deadline = Instant::now() + LIMIT;
    while let Err(error) = host.increment(NAME, "a", 1, Some(LIMIT)).await {
        assert!(Instant::now() < deadline, "{error:?}");
    }
}
