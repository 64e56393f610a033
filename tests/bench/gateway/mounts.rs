//! What mounts cost that nobody uses.

use futures::future::join_all;
use go_plugin::Channel;
use plugward_tests::real::{Manifest, TestEngine, World, counter};
use serde_json::json;

use super::calls;
use super::way::{Way, mount_socket};
use crate::process::Process;
use crate::table::Row;

/// Mounts of one container.
const MOUNTS: usize = 1000;

/// What a mount may take, in KiB.
const MOST: u64 = 60;

/// The plugin's instance.
const NAME: &str = "idle";

pub(crate) async fn measure(engine: &TestEngine, engines: &[TestEngine]) -> [Row; 2] {
    eprintln!("gateway: {MOUNTS} idle mounts");
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    // The first mount's host pays for what all of them share.
    world.declare("idle.yaml", &[instance(1)]);
    world.start().await;
    world.until_ready(NAME).await;
    let first = host(&world, 0).await;
    world.settle().await;
    let controller = Process(world.with_program(|program| program.pid()));
    let before = controller.memory();

    world.declare("idle.yaml", &[instance(MOUNTS)]);
    world
        .wait("all mounts have sockets", async || {
            (0..MOUNTS).all(|number| mount_socket(&world, NAME, &mount(number)).exists()).then_some(())
        })
        .await;
    world.until_ready(NAME).await;
    world.settle().await;
    let unused = controller.memory();
    assert_eq!(world.metrics().await.mounts(NAME), Some(1000.0), "one container has all of them");

    let hosts: Vec<Channel> = join_all((1..MOUNTS).map(|number| host(&world, number))).await;
    world.settle().await;
    let connected = controller.memory();
    drop((first, hosts));
    world.terminate().await;
    world.clear_away().await;

    let row = |what: &str, memory: u64| {
        let each = memory.saturating_sub(before) / (MOUNTS as u64 - 1);
        let kibibytes = each.div_ceil(1024);
        Row {
            work: format!("{MOUNTS} idle mounts of one container, {what}: memory of each"),
            seen: format!("{kibibytes} KiB"),
            against: "the same controller with one".to_owned(),
            goal: format!("< {MOST} KiB"),
            met: Some(kibibytes < MOST),
        }
    };
    [row("without hosts", unused), row("each with a host that called once", connected)]
}

/// A plugin that multiplexes, with so many mounts.
fn instance(mounts: usize) -> Manifest {
    let mounts: Vec<_> = (0..mounts).map(|number| json!({ "name": mount(number) })).collect();
    counter(NAME)
        .with("/spec/env", json!({ "COUNTER_MULTIPLEX": "true" }))
        .with("/spec/mounts", json!(mounts))
}

fn mount(number: usize) -> String {
    format!("mount-{number}")
}

/// The connection of a host that has called, and may call again.
async fn host(world: &World, number: usize) -> Channel {
    let channel = Way::mount(world, NAME, &mount(number)).connect().await;
    calls::get(&channel, "key").await.unwrap();
    channel
}
