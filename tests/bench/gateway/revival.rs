//! From a plugin's death to the answer of the next call.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use plugward_api::{Phase, SlotStatus};
use plugward_engine::ContainerState;
use plugward_tests::real::{LIMIT, Manifest, TestEngine, World, counter};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::interval;
use tonic::Code;

use super::calls;
use super::way::Way;
use crate::raw;
use crate::table::{Pairs, Row, millis, percentile};

/// How often a plugin is killed.
const ROUNDS: usize = 15;

/// How often a plugin with a spare is killed.
const KILLS_WITH_SPARE: usize = 50;

/// What 99 of 100 of these may take, until the next call is answered.
const MOST_WITH_SPARE: Duration = Duration::from_millis(10);

/// How long to wait when a call came to the dead container, until the next.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) async fn measure(engine: &TestEngine, engines: &[TestEngine]) -> Row {
    eprintln!("gateway: {ROUNDS} kills on {}", engine.name);
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    world.start().await;
    world.until_synced().await;
    let mut pairs = Pairs::default();
    let mut died = 0;
    // The first round warms caches, the engine's too.
    for round in 0..=ROUNDS {
        let name = format!("revival-{round}");
        let file = format!("{name}.yaml");
        world.declare(&file, &[counter(&name)]);
        let slot = world.until_ready(&name).await;
        let way = Way::mount(&world, &name, &name);
        answered(&way).await;

        let raw = raw::start(&*engine.port, "runc").await;
        engine.kill(&slot.container_id.expect("a ready slot has a container")).await;
        let began = Instant::now();
        let died_first = answered(&way).await;
        let took = began.elapsed();

        world.remove(&file);
        world.until_gone(&name).await;
        if round > 0 {
            pairs.push(took, raw);
            died += died_first;
        }
    }
    world.terminate().await;
    world.clear_away().await;
    let work = format!("killed → next call answered, {}", engine.name);
    let row = pairs.row(work, "create + start + handshake", Some(1.15));
    Row { seen: format!("{}, {died} calls in {ROUNDS} kills died first", row.seen), ..row }
}

/// From the death of a plugin that has a spare to the first answer of the spare. That is nothing which an engine or a plugin has to do, so the
/// time itself has a goal. A call that came to the dead container is answered later than those after it: it is told how that ended, and the
/// engine takes a moment to know.
pub(crate) async fn measure_with_spare(engine: &TestEngine, engines: &[TestEngine]) -> Row {
    const NAME: &str = "standby";
    eprintln!("gateway: {KILLS_WITH_SPARE} kills beside a spare on {}", engine.name);
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    world.declare("standby.yaml", &[with_spare(NAME)]);
    world.start().await;
    let way = Way::mount(&world, NAME, NAME);
    let (mut took, mut died) = (Vec::new(), 0);
    let mut dead: Option<String> = None;
    // The first round warms caches.
    for round in 0..=KILLS_WITH_SPARE {
        let container = until_spared(&world, NAME, dead.as_deref()).await;
        answered(&way).await;
        let process = process_of(engine, &container).await;
        let began = Instant::now();
        kill_process(process, Signal::KILL).expect("its process is here");
        let died_first = first_answered(&way).await;
        if round > 0 {
            took.push(began.elapsed());
            died += died_first;
        }
        dead = Some(container);
    }
    world.terminate().await;
    world.clear_away().await;
    let [half, most] = [50, 99].map(|percent| percentile(&took, percent));
    Row {
        work: format!("killed beside a spare → next call answered, {}: 99 of 100", engine.name),
        seen: format!(
            "{}, half {}, {died} calls in {KILLS_WITH_SPARE} kills died first",
            millis(most),
            millis(half)
        ),
        against: "–".to_owned(),
        goal: format!("≤ {}", millis(MOST_WITH_SPARE)),
        met: Some(most <= MOST_WITH_SPARE),
    }
}

/// A container's process, which is killed by us: the engine's answer may come after the next plugin's.
pub(crate) async fn process_of(engine: &TestEngine, container: &str) -> Pid {
    let ContainerState::Running { pid, .. } = engine.container(container).await.state else {
        panic!("a container that serves runs")
    };
    Pid::from_raw(pid.cast_signed()).expect("a container that runs has a process")
}

/// An instance with a spare, which comes again at once however often it is needed.
pub(crate) fn with_spare(name: &str) -> Manifest {
    let restart = json!({ "initialBackoff": "10ms", "maxBackoff": "10ms", "resetAfter": "1s" });
    counter(name).with("/spec/standby", json!(1)).with("/spec/restart", restart)
}

/// Waits until one container serves and another one is ready beside it, neither of which is `dead`, and the engine has no other to remove.
/// Answers with the ID of the one that serves.
pub(crate) async fn until_spared(world: &World, instance: &str, dead: Option<&str>) -> String {
    let lives = |slot: &SlotStatus| {
        slot.ready_at.is_some() && slot.container_id.is_some() && slot.container_id.as_deref() != dead
    };
    let status = world
        .until(instance, "has a spare that is ready", |status| {
            let [serving, spare] = status.slots.as_slice() else { return false };
            status.phase == Phase::Ready && lives(serving) && lives(spare)
        })
        .await;
    let others_are_gone = async || (world.containers_of(instance).await.len() == 2).then_some(());
    world.wait("the dead container is gone", others_are_gone).await;
    status.slots.into_iter().find_map(|slot| slot.container_id).expect("it has a container")
}

/// Calls, each time on a new connection, until there is an answer. The kill may have been too short ago for the gateway to know: then
/// the call dies with the container. Answers with how many did.
async fn answered(way: &Way) -> usize {
    let deadline = Instant::now() + LIMIT;
    let mut died = 0;
    loop {
        match calls::get(&way.connect().await, "key").await {
            Ok(_) => return died,
            Err(status) if status.code() == Code::Unavailable => {
                assert!(Instant::now() < deadline, "no answer: {status}");
                died += 1;
            }
            Err(status) => panic!("{status}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Calls every [`PAUSE`], each time on a new connection and without waiting for the others, until there is an answer. Answers with how many
/// calls died before.
async fn first_answered(way: &Way) -> usize {
    let deadline = Instant::now() + LIMIT;
    let mut died = 0;
    let mut next = interval(PAUSE);
    let mut calls = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = next.tick() => calls.push(async { calls::get(&way.connect().await, "key").await }),
            Some(answer) = calls.next() => match answer {
                Ok(_) => return died,
                Err(status) if status.code() == Code::Unavailable => {
                    assert!(Instant::now() < deadline, "no answer: {status}");
                    died += 1;
                }
                Err(status) => panic!("{status}"),
            }
        }
    }
}
