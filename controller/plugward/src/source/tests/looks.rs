//! Looks that somebody asks for, and the pulse.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::world::{LIMIT, World};
use crate::source::Settings;

/// Settings under which the source looks when it is asked to, and at no other time.
fn asked_only(world: &World) -> Settings {
    Settings { events: false, ..world.events_only(&["m"]) }
}

#[tokio::test]
async fn a_look_that_is_asked_for_finds_what_no_event_told() {
    let world = World::new();
    let mut running = world.start_with(asked_only(&world)).listed().await;
    // The look after the first one follows by itself, and this must not be found by it.
    running.until_report("the second look", |report| report.looks >= 2).await;
    world.declare("m/a.yaml", &[("x", 1)]);
    running.pulse.felt().await;
    assert_eq!(running.names(), [""; 0]);
    let looker = running.looker.clone();
    timeout(LIMIT, looker.look()).await.expect("who asks is told");
    // It is told by then, though the file was changing when the look began.
    assert_eq!(running.waiting(), 1);
    running.until_declared("x", 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_source_that_has_ended_keeps_nobody_waiting() {
    let world = World::new();
    let running = world.start().await;
    let looker = running.looker.clone();
    running.stop().await;
    timeout(LIMIT, looker.look()).await.expect("there is nothing to wait for");
}

#[tokio::test]
async fn a_source_that_waits_has_a_pulse_and_one_that_is_held_up_has_none() {
    let world = World::new();
    let mut running = world.start_with(asked_only(&world)).listed().await;
    running.pulse.felt().await;
    // More than there is room for: it waits for us to take some.
    world.declare("m/a.yaml", &[("v", 1), ("w", 1), ("x", 1), ("y", 1)]);
    let looker = running.looker.clone();
    let looking = tokio::spawn(async move { looker.look().await });
    let full = async {
        while running.waiting() < 2 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LIMIT, full).await.expect("it tells what it found");
    let felt = tokio::spawn({
        let pulse = running.pulse.clone();
        async move { pulse.felt().await }
    });
    for _ in 0..50 {
        yield_now().await;
    }
    assert!(!felt.is_finished());
    running.until_declared("y", 1).await;
    timeout(LIMIT, felt).await.expect("it goes on").unwrap();
    timeout(LIMIT, looking).await.expect("who asked is told").unwrap();
    running.stop().await;
}
