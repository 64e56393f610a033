use std::pin::Pin;

use futures::FutureExt as _;

use super::*;
use crate::container::{ContainerId, ContainerSpec, LogRotation, Resources, Security};
use crate::event::EventKind;
use crate::port::Created;
use crate::simulated::{Fault, Script, Settings, SimulatedEngine};

const RESYNC: Duration = Duration::from_mins(1);
const IDLE: Duration = Duration::from_secs(20);

type Watched = Pin<Box<dyn Stream<Item = Signal> + Send>>;

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("owner".to_owned(), "test".to_owned())])
}

fn options() -> WatchOptions {
    let retry = Retry { first: Duration::from_secs(1), longest: Duration::from_secs(8), jitter: false };
    WatchOptions { resync: RESYNC, idle: IDLE, retry, ..WatchOptions::new(labels()) }
}

fn twin() -> SimulatedEngine {
    let engine = SimulatedEngine::new(Settings { check_binds: false, ..Settings::default() });
    engine.add_image("plugin:1", |_| Script::new().hang());
    engine
}

fn begin(engine: &SimulatedEngine) -> Watched {
    Box::pin(watch(Arc::new(engine.clone()), options()))
}

async fn create(engine: &SimulatedEngine, name: &str) -> ContainerId {
    let spec = ContainerSpec {
        image: "plugin:1".to_owned(),
        entrypoint: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        labels: labels(),
        oci_runtime: "runc".to_owned(),
        network: "none".to_owned(),
        resources: Resources::default(),
        binds: Vec::new(),
        log: LogRotation { max_size_bytes: 1 << 20, max_files: 1 },
        groups: Vec::new(),
        capabilities: Vec::new(),
        security: Security::default(),
        tmpfs: Vec::new(),
        cgroup_parent: None,
    };
    match engine.create(name, &spec).await.unwrap() {
        Created::Created { id, .. } => id,
        Created::AlreadyExists => panic!("{name} exists"),
    }
}

/// A signal in few words.
fn words(signal: &Signal) -> String {
    let names = |listed: &[Listed]| {
        let mut names: Vec<&str> = listed.iter().map(|container| container.name.as_str()).collect();
        names.sort_unstable();
        names.join(",")
    };
    match signal {
        Signal::Up { containers, .. } => format!("up {}", names(containers)),
        Signal::Listed(containers) => format!("listed {}", names(containers)),
        Signal::Event(Event { kind: EventKind::Container { action, .. }, .. }) => action.clone(),
        Signal::Event(Event { kind: EventKind::Image { action, .. }, .. }) => format!("image {action}"),
        Signal::Down(error) => format!("down {}", error.kind.as_str()),
    }
}

async fn next(watched: &mut Watched) -> String {
    words(&watched.next().await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_watch_begins_with_who_the_engine_is_and_what_it_holds() {
    let engine = twin();
    create(&engine, "one").await;
    create(&engine, "two").await;
    let mut watched = begin(&engine);
    let Some(Signal::Up { info, containers }) = watched.next().await else { panic!("not up") };
    assert_eq!(info.id, engine.info().await.unwrap().id);
    assert_eq!(containers.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_happens_between_the_list_and_the_first_poll_for_events_is_told() {
    let engine = twin();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "up ");
    let id = create(&engine, "one").await;
    engine.start(&id).await.unwrap();
    engine.kill(&id).await.unwrap();
    for action in ["create", "start", "die"] {
        assert_eq!(next(&mut watched).await, action);
    }
    engine.add_image("plugin:2", |_| Script::new());
    assert_eq!(next(&mut watched).await, "image load");
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_the_list_is_made_is_told() {
    let engine = twin();
    let slow = Fault::Slow { before: Duration::ZERO, after: Duration::from_secs(5) };
    engine.inject(Operation::List, slow);
    let mut watched = begin(&engine);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        create(&engine, "one").await;
    };
    let (first, ()) = tokio::join!(next(&mut watched), meanwhile);
    assert_eq!(first, "up ");
    assert_eq!(next(&mut watched).await, "create");
}

#[tokio::test(start_paused = true)]
async fn a_lost_engine_is_told_of_once_and_found_again() {
    let engine = twin();
    create(&engine, "one").await;
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "up one");
    engine.stop_engine();
    assert_eq!(next(&mut watched).await, "down unreachable");
    // Many attempts fail meanwhile.
    let attempts = engine.calls_of(Operation::Info);
    assert!(tokio::time::timeout(Duration::from_secs(100), watched.next()).await.is_err());
    assert!(engine.calls_of(Operation::Info) > attempts + 5);
    engine.start_engine();
    assert_eq!(next(&mut watched).await, "up one");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_down_from_the_start_is_told_of_and_waited_for() {
    let engine = twin();
    engine.stop_engine();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "down unreachable");
    engine.start_engine();
    assert_eq!(next(&mut watched).await, "up ");
}

#[tokio::test(start_paused = true)]
async fn another_cause_is_told_of_again() {
    let engine = twin();
    engine.inject(Operation::Info, Fault::FailBefore(ErrorKind::Unreachable));
    engine.inject(Operation::Info, Fault::FailBefore(ErrorKind::Unreachable));
    engine.inject(Operation::Info, Fault::FailBefore(ErrorKind::Incompatible));
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "down unreachable");
    assert_eq!(next(&mut watched).await, "down incompatible");
    assert_eq!(next(&mut watched).await, "up ");
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_their_longest_and_begin_anew_after_a_connection_that_lasted() {
    let engine = twin();
    engine.stop_engine();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "down unreachable");
    // Attempts at 0, 1, 3, 7, 15 and 23 s.
    let _ = tokio::time::timeout(Duration::from_secs(24), watched.next()).await;
    assert_eq!(engine.calls_of(Operation::Info), 6);
    engine.start_engine();
    assert_eq!(next(&mut watched).await, "up ");
    // Lost at once: the pauses go on where they were.
    engine.stop_engine();
    assert_eq!(next(&mut watched).await, "down unreachable");
    let before = engine.calls_of(Operation::Info);
    let _ = tokio::time::timeout(Duration::from_secs(7), watched.next()).await;
    assert_eq!(engine.calls_of(Operation::Info), before);
    engine.start_engine();
    assert_eq!(next(&mut watched).await, "up ");
    // Lost after longer than the longest pause: they begin anew.
    tokio::time::sleep(Duration::from_secs(9)).await;
    engine.stop_engine();
    assert_eq!(next(&mut watched).await, "down unreachable");
    engine.start_engine();
    let again = tokio::time::timeout(Duration::from_millis(1100), next(&mut watched)).await;
    assert_eq!(again.as_deref(), Ok("up "));
}

#[tokio::test(start_paused = true)]
async fn a_resync_is_exactly_one_list() {
    let engine = twin();
    for number in 0..50 {
        create(&engine, &format!("number-{number}")).await;
    }
    let mut watched = begin(&engine);
    assert!(next(&mut watched).await.starts_with("up "));
    let before = engine.calls();
    for _ in 0..3 {
        assert!(next(&mut watched).await.starts_with("listed number-0,"));
    }
    let after = engine.calls();
    let difference = |operation| after[&operation] - before.get(&operation).copied().unwrap_or_default();
    assert_eq!(difference(Operation::List), 3);
    assert_eq!(after.get(&Operation::Inspect), None);
    assert_eq!(difference(Operation::Events), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_event_is_made_good_by_the_next_list() {
    let engine = twin();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "up ");
    engine.disturb_next_event(crate::simulated::Disturbance::Lose);
    create(&engine, "one").await;
    assert_eq!(next(&mut watched).await, "listed one");
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_do_not_put_off_the_list() {
    let engine = twin();
    let id = create(&engine, "one").await;
    engine.start(&id).await.unwrap();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "up one");
    tokio::time::sleep(RESYNC).await;
    engine.pause(&id);
    engine.unpause(&id);
    for expected in ["listed one", "pause", "unpause"] {
        assert_eq!(next(&mut watched).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_falls_silent_is_noticed() {
    let engine = twin();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "up ");
    engine.freeze_engine();
    let begun = Instant::now();
    assert_eq!(next(&mut watched).await, "down timed_out");
    assert!(begun.elapsed() <= IDLE + crate::limits::SHORT + Duration::from_secs(1));
    engine.thaw_engine();
    assert_eq!(next(&mut watched).await, "up ");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_engine_that_lives_stays_up() {
    let engine = twin();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "up ");
    let begun = Instant::now();
    assert_eq!(next(&mut watched).await, "listed ");
    assert!(begun.elapsed() >= RESYNC);
    assert!(engine.calls_of(Operation::Info) > 1, "it was asked for a sign of life");
}

#[tokio::test(start_paused = true)]
async fn a_failing_resync_is_a_lost_connection() {
    let engine = twin();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "up ");
    engine.inject(Operation::List, Fault::FailBefore(ErrorKind::Internal));
    assert_eq!(next(&mut watched).await, "down internal");
    assert_eq!(next(&mut watched).await, "up ");
}

#[tokio::test(start_paused = true)]
async fn another_engine_at_the_address_is_a_new_connection() {
    let engine = twin();
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "up ");
    engine.set_engine_id("another");
    assert_eq!(next(&mut watched).await, "down unreachable");
    let Some(Signal::Up { info, .. }) = watched.next().await else { panic!("not up") };
    assert_eq!(info.id, "another".into());
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_that_is_refused_is_not_up() {
    let engine = twin();
    engine.inject(Operation::Events, Fault::FailBefore(ErrorKind::Refused));
    let mut watched = begin(&engine);
    assert_eq!(next(&mut watched).await, "down refused");
    assert_eq!(next(&mut watched).await, "up ");
    assert!(watched.next().now_or_never().is_none());
}
