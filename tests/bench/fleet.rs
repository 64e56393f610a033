//! Ten thousand instances on a simulated engine that takes no time.
//!
//! The controller is measured in a process of its own, and the simulated engine with ten thousand containers and
//! plugins in another one: what the first holds beyond the second is the controller's.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plugward_api::{Name, Phase};
use plugward_engine::simulated::{Latency, Settings};
use plugward_engine::{ContainerSpec, Created, Engine as _};
use plugward_tests::simulation::circumstances::Circumstances;
use plugward_tests::simulation::manifests::{self, Declared, IMAGE};
use plugward_tests::simulation::plugin::Mood;
use plugward_tests::simulation::world::{Scans, World};

use crate::process::Process;
use crate::table::{Row, mebibytes};

/// Instances.
const FLEET: usize = 10_000;

/// How often to ask whether all are ready.
const POLL: Duration = Duration::from_millis(10);

/// How long an idle controller is watched.
const IDLE: Duration = Duration::from_secs(30);

/// How long a controller has to come to rest.
const SETTLE: Duration = Duration::from_secs(5);

/// How long it may take until all are ready before something is wrong.
const LIMIT: Duration = Duration::from_secs(300);

/// What runs in a process of its own: this program, with one of these for its argument.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// The controller, the engine and the plugins.
    All,
    /// The engine and the plugins.
    Engine,
}

// === impl Part ===

impl Part {
    /// The part that an argument names.
    pub(crate) fn of(argument: &str) -> Option<Self> {
        [Self::All, Self::Engine].into_iter().find(|part| part.argument() == argument)
    }

    const fn argument(self) -> &'static str {
        match self {
            Self::All => "fleet-all",
            Self::Engine => "fleet-engine",
        }
    }

    /// Runs it here, and prints what is measured: numbers, separated by spaces.
    pub(crate) async fn run(self) {
        match self {
            Self::All => all().await,
            Self::Engine => engine().await,
        }
    }

    /// Runs it in a process of its own. Answers with what it printed.
    fn measure<const N: usize>(self) -> [u64; N] {
        let program = std::env::current_exe().expect("a process has an executable");
        let output =
            Command::new(program).arg(self.argument()).stderr(Stdio::inherit()).output().expect("it runs");
        assert!(output.status.success(), "{self:?} failed");
        let text = String::from_utf8(output.stdout).expect("text");
        let numbers: Vec<u64> =
            text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        numbers.try_into().unwrap_or_else(|_| panic!("{N} numbers: {text}"))
    }
}

/// Measures both.
pub(crate) fn measure() -> Vec<Row> {
    eprintln!("fleet: {FLEET} instances on a simulated engine");
    let [engine_memory] = Part::Engine.measure();
    let [first_ms, again_ms, memory, idle_ms, scrape_ms, scraped] = Part::All.measure();
    let row = |work: &str, seen: String, goal: &str, met: Option<bool>| Row {
        work: format!("{FLEET} instances: {work}"),
        seen,
        against: "–".into(),
        goal: goal.into(),
        met,
    };
    let seconds = |milliseconds: u64| format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10);
    let ours = memory.saturating_sub(engine_memory);
    let idle_limit_ms = u64::try_from(IDLE.as_millis() / 200).unwrap_or(u64::MAX);
    vec![
        row("a controller starts → all adopted and ready", seconds(again_ms), "< 2 s", Some(again_ms < 2000)),
        row("the same, and every container is made", seconds(first_ms), "–", None),
        Row {
            against: format!("{} with the simulated engine's", mebibytes(memory)),
            ..row("memory of the controller", mebibytes(ours), "< 150 MiB", Some(ours < 150 << 20))
        },
        row(
            &format!("{} s of idling: time on processors", IDLE.as_secs()),
            format!("{idle_ms} ms"),
            "< 0.5 %",
            Some(idle_ms < idle_limit_ms),
        ),
        row("a scrape of the metrics", format!("{scrape_ms} ms, {}", mebibytes(scraped)), "–", None),
    ]
}

async fn world() -> World {
    plugward::open_files::allow_all();
    let settings = Settings { latency: Latency::NONE, ..Settings::default() };
    let mut world = World::new(settings, Circumstances::default()).await;
    world.plugins.set_mood(Mood::Prompt);
    world.scans = Scans::Installed;
    fs::write(world.manifests().join("runtime.yaml"), manifests::runtime(64)).unwrap();
    world
}

fn declare(world: &World, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("fleet-{number}")).collect();
    for name in &names {
        let manifest = world.manifests().join(format!("{name}.yaml"));
        let text = manifests::instance(name, &Declared::default(), IMAGE, &Circumstances::default());
        fs::write(manifest, text).unwrap();
    }
    names
}

async fn all() {
    let mut world = world().await;
    let names = declare(&world, FLEET);
    let process = Process(std::process::id().cast_signed());
    let first = until_all_ready(&mut world, &names).await;
    // The statuses of all are still being written.
    tokio::time::sleep(SETTLE).await;
    let before = process.activity().ticks;
    tokio::time::sleep(IDLE).await;
    let idle_ms = (process.activity().ticks - before) * 10;
    let memory = process.memory();
    let view = world.view().expect("a controller runs");
    let began = Instant::now();
    let scraped = view.render_metrics().expect("metrics").len();
    let scrape_ms = began.elapsed().as_millis();
    world.stop().await;
    let again = until_all_ready(&mut world, &names).await;
    world.stop().await;
    println!("{} {} {memory} {idle_ms} {scrape_ms} {scraped}", first.as_millis(), again.as_millis());
}

/// As many containers as the controller makes, each like one that it made.
async fn engine() {
    let mut world = world().await;
    let names = declare(&world, 1);
    until_all_ready(&mut world, &names).await;
    world.stop().await;
    let model: ContainerSpec = world.ours().remove(0).spec.as_ref().clone();
    let sockets = world.sockets();
    for number in 1..FLEET {
        let mut spec = model.clone();
        let name = format!("plugward-fleet-{number}-shared-abcde");
        spec.binds[0].source = sockets.join(&name);
        fs::create_dir(&spec.binds[0].source).unwrap();
        let Ok(Created::Created { id, .. }) = world.engine.create(&name, &spec).await else {
            panic!("{name} is not made")
        };
        world.engine.start(&id).await.unwrap();
    }
    println!("{}", Process(std::process::id().cast_signed()).memory());
}

/// Starts the controller, and waits until every instance is ready.
async fn until_all_ready(world: &mut World, names: &[String]) -> Duration {
    let began = Instant::now();
    world.boot();
    let mut left: Vec<Name> = names.iter().map(|name| name.parse().expect("they are names")).collect();
    while !left.is_empty() {
        assert!(began.elapsed() < LIMIT, "{} are not ready: {}", left.len(), left[0]);
        tokio::time::sleep(POLL).await;
        let view = world.view().expect("a controller runs");
        if !view.synced() {
            continue;
        }
        // One that is not ready is enough of an answer: nobody who waits looks at all.
        while left.last().is_some_and(|name| view.book.phase(name) == Some(Phase::Ready)) {
            left.pop();
        }
    }
    began.elapsed()
}
