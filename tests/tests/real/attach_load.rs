//! Sessions under load, and many of them.

use std::collections::BTreeMap;
use std::fs;

use plugward_tests::real::{
    BackendHost, CallbackHost, Cycle, GenericHost, HostOptions, Instance, LIMIT, Load, Tally, World,
    callback, counter, kv, on_each_engine, on_one_engine, open_files, starts,
};
use serde_json::json;

use super::attach::controller;

const NUMBERS: Instance<'_> = Instance::only("numbers");

const LOAD: Load = Load { callers: 4, rate: Some(60.0), deadline: LIMIT };

/// How many sessions come and go, one after the other, and how many at once.
const IN_A_ROW: usize = 200;
const AT_ONCE: usize = 50;

/// How many servers a plugin offers its host.
const OFFERS: usize = 50;

/// Descriptors that the controller may have more of than before: connections to the engine come and go.
const SPARE_FILES: usize = 4;

/// What nobody noticed: nothing failed.
fn unnoticed(tally: &Tally) -> Tally {
    Tally { answered: tally.answered, slowest: tally.slowest, ..Tally::default() }
}

#[tokio::test]
async fn an_update_under_load_fails_no_call_of_a_shared_container() {
    on_each_engine(|world| async move {
        controller(&world, kv("kv").attachable(&["root"]), "none").await;
        let seen = world.until_ready("kv").await;
        let mounts = starts([("kv", world.attach("kv", 5))]);
        let Some(host) = BackendHost::start(&mounts, &HostOptions::default()) else { return };
        host.enable("secrets", "kv", &[]).await.unwrap();
        let load = host.load("secrets", &LOAD).await.unwrap();
        load.until_answered(50).await;
        let edited = kv("kv").with("/spec/env", json!({ "EDIT": "1" }));
        world.declare("plugin.yaml", &[edited.attachable(&["root"])]);
        world.until_ready_again("kv", &seen).await;
        load.until_answered(load.tally().await.answered + 50).await;
        let tally = load.stop().await;
        assert_eq!(tally, unnoticed(&tally));
    })
    .await;
}

#[tokio::test]
async fn an_update_under_load_fails_no_call_of_a_sessions_own_container() {
    on_one_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        for multiplexed in [false, true] {
            let start = world.attach("numbers", 1);
            let start = if multiplexed { start.multiplexed() } else { start };
            let mounts = starts([("numbers", start)]);
            let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
            let load = host.load(NUMBERS, &LOAD).await.unwrap();
            load.until_answered(50).await;
            let before = container(&world).await;
            let edited = callback("numbers").with("/spec/env", json!({ "EDIT": multiplexed.to_string() }));
            world.declare("plugin.yaml", &[edited.attachable(&["root"])]);
            world
                .wait("another container serves", async || {
                    let containers = world.containers_of("numbers").await;
                    (containers.len() == 1 && containers[0].id.as_str() != before).then_some(())
                })
                .await;
            load.until_answered(load.tally().await.answered + 50).await;
            let tally = load.stop().await;
            assert_eq!(tally, unnoticed(&tally));
        }
    })
    .await;
}

async fn container(world: &World) -> String {
    let containers = world.containers_of("numbers").await;
    assert_eq!(containers.len(), 1);
    containers[0].id.as_str().to_owned()
}

/// Every one that failed, by what it failed with.
fn failures(cycles: &[Cycle]) -> BTreeMap<&str, usize> {
    let mut failures = BTreeMap::new();
    for failure in cycles.iter().filter_map(|cycle| cycle.failure.as_deref()) {
        *failures.entry(failure).or_default() += 1;
    }
    failures
}

#[tokio::test]
async fn a_launcher_keeps_nothing_of_the_servers_that_its_plugin_has_offered() {
    on_one_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let mounts = starts([("numbers", world.attach("numbers", 1))]);
        let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
        host.attach(NUMBERS).await.unwrap();
        let launcher = host.process().child();
        let (sockets, before) = (host.process().sockets().unwrap(), open_files(launcher));
        let offered = || fs::read_dir(sockets).unwrap().count();
        let own = offered();
        for _ in 0..OFFERS {
            let opened = host.open(NUMBERS).await.unwrap();
            host.echo(&opened, "hello").await.unwrap();
            assert!(open_files(launcher) > before, "what is offered is made by the launcher");
            host.end(&opened).await.unwrap();
        }
        world
            .wait("what was offered is gone", async || {
                (offered() <= own && open_files(launcher) <= before).then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_sessions_that_came_and_went_in_a_row_and_at_once() {
    on_one_engine(|world| async move {
        let plugin = counter("numbers").with("/spec/args", json!(["--multiplex"]));
        controller(&world, plugin.attachable(&["root"]), "none").await;
        world.until_ready("numbers").await;
        let mounts = starts([("numbers", world.attach("numbers", 1))]);
        let Some(host) = GenericHost::start(&mounts, &HostOptions::default()) else { return };
        let numbers = host.client("numbers");
        // What comes with the first sessions, and stays, is no leak.
        let first = numbers.cycles(AT_ONCE, AT_ONCE).await.unwrap();
        assert_eq!(failures(&first), BTreeMap::new());
        world.until_sessions(0).await;
        world.settle().await;
        let (left, held) = (world.left(host.process().sockets()).await, world.held());

        for (count, together) in [(IN_A_ROW, 1), (AT_ONCE, AT_ONCE)] {
            let cycles = numbers.cycles(count, together).await.unwrap();
            assert_eq!(failures(&cycles), BTreeMap::new());
            let by_force = cycles.iter().filter(|cycle| !cycle.killed.graceful).count();
            assert_eq!(by_force, 0, "launchers did not end when they were told to");
            let slowest = cycles.iter().map(|cycle| (cycle.start, cycle.answer)).max().unwrap();
            eprintln!(
                "{count} sessions, {together} at once: the slowest start and first answer: {slowest:?}"
            );
        }

        world.until_left(left, host.process().sockets()).await;
        world
            .wait("no descriptor is left", async || {
                (world.held().files <= held.files + SPARE_FILES).then_some(())
            })
            .await;
        let after = world.held();
        assert!(after.has_memory_of(&held), "memory is left: before {held:?}, after {after:?}");
    })
    .await;
}
