//! Half an hour of use: plugins under steady load that are killed, edited, added and removed all the time, and what that leaves behind.
//!
//! Nothing may grow: not the controller's memory, not its open files. No call may be lost or carried out twice. Every warning of the
//! log is shown with how often it came, so that none is overlooked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use plugward_tests::real::{
    GenericHost, LIMIT, Load, Manifest, Prometheus, RunningLoad, Tally, TestEngine, World, counter, database,
    go_counter,
};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::process::Process;
use crate::table::{Row, mebibytes};

/// How long it takes, in minutes, unless the environment says so.
const MINUTES: u64 = 30;

/// A mishap every so often.
const BETWEEN: Duration = Duration::from_secs(3);

/// How often Prometheus looks.
const SCRAPE: Duration = Duration::from_secs(1);

/// What each loaded plugin gets.
const LOAD: Load = Load { callers: 4, rate: Some(25.0), deadline: LIMIT };

/// Loaded plugins, and those among them with a spare.
const LOADED: usize = 12;
const SPARED: usize = 4;

/// Plugins in Go, and databases of three mounts each.
const IN_GO: usize = 10;
const DATABASES: usize = 8;

/// The parts of the time whose figures are compared, in percent: caches are warm before the first, and the second is the end.
const EARLY: Range<usize> = 15..35;
const LATE: Range<usize> = 80..100;

/// What the figures of the late part may be of those of the early one, in percent.
const GROWTH: u64 = 110;

/// What happens to plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mishap {
    Killed,
    Edited,
    Replaced,
    Misspelt,
}

/// Figures of the controller, each second.
#[derive(Default)]
struct Figures {
    memory: Vec<u64>,
    files: Vec<u64>,
}

/// The fleet, by name; with the edits that each has seen.
struct Fleet {
    instances: BTreeMap<String, (Manifest, u32)>,
    random: StdRng,
}

/// On the first engine that the environment names.
pub(crate) async fn measure() -> Vec<Row> {
    let engines = TestEngine::all().await;
    let Some(engine) = engines.first() else { return Vec::new() };
    let minutes =
        std::env::var("PLUGWARD_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(MINUTES);
    let world = World::new(engine.clone(), &engines);
    world.declare_runtime();
    let mut fleet = Fleet::new();
    for name in fleet.names() {
        fleet.declare(&world, &name);
    }
    world.start().await;
    for name in fleet.names() {
        world.until_ready(&name).await;
    }
    let prometheus = Prometheus::scraping_each(world.metrics_address(), SCRAPE).await;
    let hosts: Vec<(String, GenericHost)> = {
        let names = (0..LOADED).map(|number| format!("loaded-{number}"));
        let hosts = names.map(async |name| Some((name.clone(), world.generic_host(&name).await?)));
        join_all(hosts).await.into_iter().flatten().collect()
    };
    let loads = hosts.iter().map(async |(name, host)| host.load(name, &LOAD).await.unwrap());
    let loads: Vec<RunningLoad<'_>> = join_all(loads).await;
    eprintln!("soak: {} plugins, {} under load, {minutes} minutes", fleet.instances.len(), loads.len());

    let mut figures = Figures::default();
    let mut mishaps = BTreeMap::<Mishap, u64>::new();
    let process = Process(world.with_program(|program| program.pid()));
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut next = Instant::now();
    while Instant::now() < end {
        figures.take(process);
        if Instant::now() >= next {
            next += BETWEEN;
            *mishaps.entry(fleet.mishap(&world).await).or_default() += 1;
        }
        sleep(Duration::from_secs(1)).await;
    }
    for name in fleet.names() {
        world.until_ready(&name).await;
    }
    if let Some(prometheus) = &prometheus {
        draw(prometheus, Duration::from_secs(60 * minutes));
    }
    let tallies = join_all(loads.into_iter().map(RunningLoad::stop)).await;
    for name in fleet.names() {
        world.remove(&format!("{name}.yaml"));
    }
    for name in fleet.names() {
        world.until_gone(&name).await;
    }
    let left = world.containers().await.len();
    let log = world.log();
    world.terminate().await;
    world.clear_away().await;

    eprintln!("soak: {mishaps:?}");
    for (line, count) in warnings(&log) {
        eprintln!("soak: {count} × {line}");
    }
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let [answered, failed, lost, repeated] = [
        sum(|tally| tally.answered),
        sum(Tally::failures),
        sum(|tally| tally.lost),
        sum(|tally| tally.repeated),
    ];
    vec![
        row("memory", &figures.memory, mebibytes),
        row("open files", &figures.files, |count| count.to_string()),
        Row {
            work: format!("soak: calls lost or carried out twice, of {answered}"),
            seen: format!("{lost}, {repeated} ({failed} failed with their plugin)"),
            against: format!("{} kills", mishaps.get(&Mishap::Killed).copied().unwrap_or_default()),
            goal: "0".into(),
            met: Some(lost + repeated == 0),
        },
        Row {
            work: "soak: containers left when all is deleted".into(),
            seen: left.to_string(),
            against: "–".into(),
            goal: "0".into(),
            met: Some(left == 0),
        },
    ]
}

/// Has pictures drawn of what Prometheus saw, if the environment says by what.
fn draw(prometheus: &Prometheus, of: Duration) {
    let Some(program) = std::env::var_os("PLUGWARD_SOAK_DRAW") else { return };
    let drawn = Command::new(&program).arg(prometheus.url()).arg(of.as_secs().to_string()).status();
    assert!(drawn.is_ok_and(|status| status.success()), "{} draws", Path::new(&program).display());
}

/// The warnings and errors of a log, without what differs from one to the next, and how often each came.
fn warnings(log: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        let plain = without_colours(line);
        let Some((level, rest)) =
            [" WARN ", " ERROR "].iter().find_map(|level| Some((level, plain.split_once(level)?.1)))
        else {
            continue;
        };
        // Names and numbers follow an equals sign, or are digits.
        let words = rest.split_whitespace().map(|word| word.split('=').next().unwrap_or(word));
        let kind: Vec<String> =
            words.map(|word| word.chars().filter(|c| !c.is_ascii_digit()).collect()).collect();
        *counts.entry(format!("{}{}", level.trim_start(), kind.join(" "))).or_default() += 1;
    }
    counts
}

fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

// === impl Fleet ===

impl Fleet {
    fn new() -> Self {
        let loaded = (0..LOADED).map(|number| {
            let name = format!("loaded-{number}");
            let spares = u32::from(number < SPARED);
            let plugin = counter(&name).serving(&[&name]).with("/spec/standby", json!(spares));
            (name, (plugin, 0))
        });
        let in_go = (0..IN_GO).map(|number| {
            let name = format!("go-{number}");
            (name.clone(), (go_counter(&name), 0))
        });
        let databases = (0..DATABASES).map(|number| {
            let name = format!("database-{number}");
            (name.clone(), (database(&name).serving(&["eu", "us", "asia"]), 0))
        });
        Self { instances: loaded.chain(in_go).chain(databases).collect(), random: StdRng::seed_from_u64(7) }
    }

    fn names(&self) -> Vec<String> {
        self.instances.keys().cloned().collect()
    }

    /// Writes the manifest of one, as its last edit is.
    fn declare(&self, world: &World, name: &str) {
        let (plugin, edits) = &self.instances[name];
        world.declare(
            &format!("{name}.yaml"),
            &[plugin.clone().with("/spec/env/EDIT", json!(edits.to_string()))],
        );
    }

    /// Does something to a plugin, whatever it is at.
    async fn mishap(&mut self, world: &World) -> Mishap {
        let mut names = self.names();
        names.shuffle(&mut self.random);
        let name = names.pop().expect("there are some");
        let mishap = match self.random.random_range(0..10) {
            0..5 => Mishap::Killed,
            5..8 => Mishap::Edited,
            8 => Mishap::Replaced,
            _ => Mishap::Misspelt,
        };
        match mishap {
            Mishap::Killed => {
                let slots = world.status(&name).await.map(|status| status.slots).unwrap_or_default();
                if let Some(container) =
                    slots.choose(&mut self.random).and_then(|slot| slot.container_id.as_deref())
                {
                    world.engine.kill(container).await;
                }
            }
            Mishap::Edited => {
                self.instances.entry(name.clone()).and_modify(|(_, edits)| *edits += 1);
                self.declare(world, &name);
            }
            Mishap::Replaced => {
                // The host of one that is loaded would be without its mount.
                let idle = names
                    .iter()
                    .chain([&name])
                    .find(|name| !name.starts_with("loaded"))
                    .expect("there are some");
                world.remove(&format!("{idle}.yaml"));
                world.until_gone(idle).await;
                self.declare(world, idle);
            }
            Mishap::Misspelt => {
                world.write(&format!("{name}.yaml"), "kind: PluginInstanse\n");
                sleep(BETWEEN).await;
                self.declare(world, &name);
            }
        }
        mishap
    }
}

// === impl Figures ===

impl Figures {
    fn take(&mut self, process: Process) {
        self.memory.push(process.memory());
        self.files.push(process.open_files() as u64);
    }
}

/// The row of figures that are not to grow.
fn row(work: &str, figures: &[u64], show: impl Fn(u64) -> String) -> Row {
    let [early, late] = [EARLY, LATE].map(|part| middle(figures, part));
    Row {
        work: format!("soak: {work}, early → late"),
        seen: format!("{} → {}", show(early), show(late)),
        against: "–".into(),
        goal: format!("≤ {GROWTH} %"),
        met: Some(late * 100 <= early * GROWTH),
    }
}

/// The median of a part of these.
fn middle(figures: &[u64], part: Range<usize>) -> u64 {
    let at = |percent| figures.len() * percent / 100;
    let mut part = figures[at(part.start)..at(part.end)].to_vec();
    part.sort_unstable();
    part[part.len() / 2]
}
