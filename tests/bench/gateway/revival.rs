//! From a plugin's death to the answer of the next call.

use std::time::{Duration, Instant};

use plugward_tests::real::{LIMIT, TestEngine, World, counter};
use tonic::Code;

use super::calls;
use super::way::Way;
use crate::raw;
use crate::table::{Pairs, Row};

/// How often a plugin is killed.
const ROUNDS: usize = 15;

/// How long to wait when a call came to the dead container, until the next.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) async fn measure(engine: &TestEngine, engines: &[TestEngine]) -> Row {
    eprintln!("gateway: {ROUNDS} kills on {}", engine.name);
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    world.start().await;
    world.until_synced().await;
    let mut pairs = Pairs { ours: Vec::new(), raw: Vec::new() };
    let mut died = 0;
    // The first round warms caches, the engine's too.
    for round in 0..=ROUNDS {
        let name = format!("revival-{round}");
        let file = format!("{name}.yaml");
        world.declare(&file, &[counter(&name)]);
        let slot = world.until_ready(&name).await;
        let way = Way::mount(&world, &name, &name);
        answered(&way).await;

        let raw = raw::start(&*engine.port).await;
        engine.kill(&slot.container_id.expect("a ready slot has a container")).await;
        let began = Instant::now();
        let died_first = answered(&way).await;
        let took = began.elapsed();

        world.remove(&file);
        world.until_gone(&name).await;
        if round > 0 {
            pairs.ours.push(took);
            pairs.raw.push(raw);
            died += died_first;
        }
    }
    world.terminate().await;
    world.clear_away().await;
    let work = format!("killed → next call answered, {}", engine.name);
    let row = pairs.row(work, "create + start + handshake", 1.15);
    Row { seen: format!("{}, {died} calls in {ROUNDS} kills died first", row.seen), ..row }
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
