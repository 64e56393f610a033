//! Hosts under load, while what serves them dies, is replaced, and is restarted. Every call is counted: it is answered, or fails with
//! a reason; none is lost, and none is carried out twice.
//!
//! The load is of callers that each add one to a counter of their own. The counter is the plugin's, in its memory: a value above what
//! the caller asked for shows a call that was carried out twice, and one that goes on shows the same process.

use std::slice;

use go_plugin::external::tonic::Code;
use plugward_api::{Phase, SlotStatus};
use plugward_tests::real::{
    GenericHost, LIMIT, Load, Manifest, RunningLoad, Tally, World, counter, on_each_engine,
    on_each_spare_engine, restarts, runtime,
};
use rustix::process::Signal;
use serde_json::json;

/// Enough to have calls under way at any moment, and few enough to leave the machine to the other tests.
const LOAD: Load = Load { callers: 8, rate: Some(400.0), deadline: LIMIT };

/// The calls that may be under way.
const UNDER_WAY: u64 = 8;

/// What must be answered after a disturbance: more than were begun before it was over.
const SOME: u64 = 50;

const KILLS: u64 = 10;

const EDITS: u32 = 3;

#[tokio::test]
async fn ten_kills_in_a_row_fail_only_the_calls_that_the_plugin_had() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let (mut seen, Some(host)) = loaded(&world, &counter("counter")).await else { return };
        let load = host.load("counter", &LOAD).await.unwrap();
        for _ in 0..KILLS {
            more(&load).await;
            world.engine.kill(seen.container_id.as_deref().unwrap()).await;
            seen = world.until_ready_again("counter", &seen).await;
        }
        more(&load).await;
        let tally = told(&world, "ten kills", load).await;

        nothing_is_lost_or_repeated(&tally);
        only_what_died_failed(&tally, KILLS);
        assert_eq!(restarts(&seen).get("killed"), Some(&KILLS));
    })
    .await;
}

#[tokio::test]
async fn a_spare_takes_over_from_each_container_that_is_killed() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let (mut seen, Some(host)) =
            loaded(&world, &counter("counter").with("/spec/standby", json!(1))).await
        else {
            return;
        };
        let load = host.load("counter", &LOAD).await.unwrap();
        let mut dead = Vec::new();
        for _ in 0..KILLS {
            more(&load).await;
            let spare = spare_beside(&world, &seen, &dead).await;
            world.engine.kill(seen.container_id.as_deref().unwrap()).await;
            dead.push(seen.container_id.clone());
            seen = world.until_ready_again("counter", &seen).await;
            assert_eq!(seen.container_id, spare.container_id, "the spare is what serves next");
        }
        more(&load).await;
        let tally = told(&world, "ten kills, with a spare", load).await;

        nothing_is_lost_or_repeated(&tally);
        only_what_died_failed(&tally, KILLS);
        spare_beside(&world, &seen, &dead).await;
        world.settle().await;
        assert_eq!(world.containers().await.len(), 2, "one that serves, and one spare");
    })
    .await;
}

#[tokio::test]
async fn calls_that_are_begun_while_a_plugin_restarts_are_answered() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let slow = counter("counter").with("/spec/env/COUNTER_START_DELAY_MS", json!("1000"));
        let (before, Some(host)) = loaded(&world, &slow).await else { return };
        assert_eq!(host.increment("counter", "before", 1, Some(LIMIT)).await, Ok(1));
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        world.until("counter", "is not ready", |status| status.phase != Phase::Ready).await;

        let key = |call: u64| format!("during-{call}");
        let calls: Vec<_> =
            (0..100).map(|call| host.increment("counter", &key(call), 1, Some(LIMIT))).collect();
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer, Ok(1));
        }
        assert_eq!(
            host.get("counter", "before", Some(LIMIT)).await,
            Ok(0),
            "the counters are a new process's"
        );
    })
    .await;
}

#[tokio::test]
async fn an_update_under_load_fails_nothing() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let (mut seen, Some(host)) = loaded(&world, &counter("counter")).await else { return };
        let load = host.load("counter", &LOAD).await.unwrap();
        for edit in 0..EDITS {
            more(&load).await;
            let edited = counter("counter").with("/spec/env/EDIT", json!(edit.to_string()));
            world.declare("counter.yaml", &[edited]);
            seen = world.until_ready_again("counter", &seen).await;
            world.until_ready("counter").await;
        }
        more(&load).await;
        let tally = told(&world, "three updates", load).await;

        nothing_is_lost_or_repeated(&tally);
        assert_eq!(tally.failures(), 0, "{tally:?}");
        assert_eq!(seen.restarts, 0);
    })
    .await;
}

#[tokio::test]
async fn a_restart_of_the_controller_under_load_loses_nothing() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let (before, Some(host)) = loaded(&world, &counter("counter")).await else { return };

        // Asked to end, it lets the calls end that it has. Those that come while nobody listens are refused, as a host sees it.
        let load = host.load("counter", &LOAD).await.unwrap();
        more(&load).await;
        world.terminate().await;
        world.start().await;
        more(&load).await;
        let tally = told(&world, "a controller that is asked to end", load).await;
        nothing_is_lost_or_repeated(&tally);
        let refused = tally.failed_with(Code::Unavailable);
        assert_eq!(tally.failures(), refused.count, "{tally:?}");
        for message in &refused.messages {
            assert!(message.contains("connection error"), "not a call that was sent: {message}");
        }

        // Killed, it takes with it what was under way.
        let load = host.load("counter", &LOAD).await.unwrap();
        more(&load).await;
        world.kill().await;
        world.start().await;
        more(&load).await;
        let tally = told(&world, "a controller that is killed", load).await;
        nothing_is_lost_or_repeated(&tally);
        assert_eq!(tally.failures(), tally.failed_with(Code::Unavailable).count, "{tally:?}");

        let after = world.until_ready("counter").await;
        assert_eq!(
            (after.container_id, after.restarts),
            (before.container_id, 0),
            "the plugin noticed nothing"
        );
    })
    .await;
}

#[tokio::test]
async fn a_restart_of_an_engine_that_takes_its_containers_along_loses_nothing() {
    on_each_spare_engine(false, |world, engine| async move {
        world.declare_runtime();
        let patient = counter("counter").with("/spec/hold/timeout", json!("2m"));
        let (before, Some(host)) = loaded(&world, &patient).await else { return };
        let load = host.load("counter", &LOAD).await.unwrap();
        more(&load).await;
        engine.end(Signal::TERM).await;
        engine.start().await;
        world.until_ready_again("counter", &before).await;
        more(&load).await;
        let tally = told(&world, "an engine's restart", load).await;

        nothing_is_lost_or_repeated(&tally);
        only_what_died_failed(&tally, 1);
        assert_eq!(world.metrics().await.get("plugward_engine_watch_restarts_total"), Some(1.0));
    })
    .await;
}

#[tokio::test]
async fn a_restart_of_an_engine_that_its_containers_outlive_fails_nothing() {
    on_each_spare_engine(true, |world, engine| async move {
        world.declare_runtime();
        let (before, Some(host)) = loaded(&world, &counter("counter")).await else { return };
        let load = host.load("counter", &LOAD).await.unwrap();
        for signal in [Signal::TERM, Signal::KILL] {
            more(&load).await;
            engine.end(signal).await;
            more(&load).await;
            engine.start().await;
            world.until_synced().await;
        }
        more(&load).await;
        let tally = told(&world, "an engine's restart beside its containers", load).await;

        nothing_is_lost_or_repeated(&tally);
        assert_eq!(tally.failures(), 0, "{tally:?}");
        assert_eq!(world.until_ready("counter").await.container_id, before.container_id);
    })
    .await;
}

#[tokio::test]
async fn hosts_are_served_under_every_oci_runtime_of_an_engine() {
    on_each_engine(|world| async move {
        let runtimes = world.engine.oci_runtimes().await;
        assert!(runtimes.contains(&"runsc".to_owned()), "{runtimes:?}");
        world.start().await;
        for oci_runtime in runtimes {
            world.declare("runtime.yaml", &[runtime(&world.engine.host).on(&oci_runtime)]);
            let first = counter("counter").on(&oci_runtime);
            world.declare("counter.yaml", slice::from_ref(&first));
            let seen = world.until_ready("counter").await;
            let Some(host) = world.generic_host("counter").await else { return };
            let load = host.load("counter", &LOAD).await.unwrap();
            more(&load).await;
            world.engine.kill(seen.container_id.as_deref().unwrap()).await;
            let seen = world.until_ready_again("counter", &seen).await;
            more(&load).await;
            let before = load.tally().await;
            world.declare("counter.yaml", &[first.with("/spec/env/EDIT", json!("1"))]);
            world.until_ready_again("counter", &seen).await;
            world.until_ready("counter").await;
            more(&load).await;
            let tally = told(&world, &oci_runtime, load).await;

            nothing_is_lost_or_repeated(&tally);
            assert_eq!(tally.failures(), before.failures(), "the update failed none: {tally:?}");
            only_what_died_failed(&tally, 1);
            world.remove("counter.yaml");
            world.until_gone("counter").await;
        }
    })
    .await;
}

/// A controller with one plugin that is ready, and a host of it, where there is Go.
async fn loaded(world: &World, counter: &Manifest) -> (SlotStatus, Option<GenericHost>) {
    world.declare("counter.yaml", slice::from_ref(counter));
    world.start().await;
    let ready = world.until_ready("counter").await;
    (ready, world.generic_host("counter").await)
}

/// Waits until there is a spare container that is ready, and gives its slot. One that is `dead` may be in it still.
async fn spare_beside(world: &World, serving: &SlotStatus, dead: &[Option<String>]) -> SlotStatus {
    let is_spare = |slot: &SlotStatus| {
        let id = &slot.container_id;
        slot.name == "spare-1"
            && slot.ready_at.is_some()
            && id.is_some()
            && *id != serving.container_id
            && !dead.contains(id)
    };
    let status = world.until("counter", "has a spare", |status| status.slots.iter().any(is_spare)).await;
    status.slots.into_iter().find(is_spare).unwrap()
}

/// Waits until more calls were answered.
async fn more(load: &RunningLoad<'_>) {
    let before = load.tally().await;
    load.until_answered(before.answered + SOME).await;
}

/// Ends a load, and says what became of it.
async fn told(world: &World, what: &str, load: RunningLoad<'_>) -> Tally {
    let tally = load.stop().await;
    eprintln!("{}: {what}: {tally:?}", world.engine.name);
    tally
}

fn nothing_is_lost_or_repeated(tally: &Tally) {
    assert_eq!((tally.lost, tally.repeated), (0, 0), "{tally:?}");
}

/// Calls failed that were under way when a container died, and no others.
fn only_what_died_failed(tally: &Tally, deaths: u64) {
    let died = tally.failed_with(Code::Unavailable);
    assert_eq!(tally.failures(), died.count, "{tally:?}");
    assert!(died.count <= deaths * UNDER_WAY, "more than were under way: {tally:?}");
    for message in &died.messages {
        assert!(message.contains("the plugin died during this call"), "{message}");
    }
}
