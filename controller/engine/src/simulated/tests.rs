use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

use super::*;
use crate::container::{ContainerId, ContainerSpec, ContainerState, LogRotation, Resources, Security};
use crate::error::{ErrorKind, Operation};
use crate::event::EventKind;
use crate::limits;
use crate::port::{Created, Engine, Removed, Started};

const IMAGE: &str = "plugin:1";

fn labels(owner: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("owner".to_owned(), owner.to_owned())])
}

fn spec() -> ContainerSpec {
    ContainerSpec {
        image: IMAGE.to_owned(),
        entrypoint: Vec::new(),
        args: Vec::new(),
        env: vec![("KEY".to_owned(), "value".to_owned())],
        labels: labels("test"),
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
    }
}

/// An engine with an image whose processes live until they are killed.
fn engine() -> SimulatedEngine {
    let engine = SimulatedEngine::with_seed(7);
    engine.add_image(IMAGE, |_| Script::new().hang());
    engine
}

async fn create(engine: &SimulatedEngine, name: &str) -> ContainerId {
    match engine.create(name, &spec()).await.unwrap() {
        Created::Created { id, .. } => id,
        Created::AlreadyExists => panic!("{name} exists"),
    }
}

async fn started(engine: &SimulatedEngine, name: &str) -> ContainerId {
    let id = create(engine, name).await;
    assert_eq!(engine.start(&id).await, Ok(Started::Started));
    id
}

async fn state(engine: &SimulatedEngine, id: &ContainerId) -> ContainerState {
    engine.inspect(id.as_str()).await.unwrap().unwrap().state
}

async fn code(engine: &SimulatedEngine, id: &ContainerId) -> Option<i64> {
    match state(engine, id).await {
        ContainerState::Exited(exit) => Some(exit.code),
        _ => None,
    }
}

/// What happens to an engine of this seed under much bad luck, told in words.
async fn course(seed: u64) -> Vec<String> {
    let engine = SimulatedEngine::with_seed(seed);
    engine.add_image(IMAGE, |container| {
        Script::new().wait(Duration::from_secs(container.start.into())).exit(1)
    });
    engine.set_fault_plan(FaultPlan {
        calls_per_mille: 300,
        events_per_mille: 300,
        longest_delay: Duration::from_secs(3),
        operations: vec![],
    });
    let mut told = Vec::new();
    let mut random = StdRng::seed_from_u64(seed);
    let mut events = loop {
        if let Ok(events) = engine.events(&labels("test"), jiff::Timestamp::UNIX_EPOCH).await {
            break events;
        }
    };
    for _ in 0..60 {
        let name = format!("container-{}", random.random_range(0..4));
        let said = match (random.random_range(0..4), engine.container(&name)) {
            (0, _) => format!("{:?}", engine.create(&name, &spec()).await),
            (1, Some(container)) => format!("{:?}", engine.start(&container.id).await),
            (2, Some(container)) => format!("{:?}", engine.kill(&container.id).await),
            (3, Some(container)) => format!("{:?}", engine.remove(&container.id).await),
            _ => format!("{:?}", engine.list(&labels("test")).await),
        };
        told.push(said);
        while let Some(event) = events.next().now_or_never() {
            told.push(format!("{event:?}"));
        }
    }
    told
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_goes_the_same_way_and_another_another() {
    let first = course(1).await;
    assert_eq!(first, course(1).await);
    assert_ne!(first, course(2).await);
    assert!(first.iter().any(|said| said.starts_with("Err")), "nothing went wrong");
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_the_effect_leaves_nothing() {
    let engine = engine();
    engine.inject(Operation::Create, Fault::FailBefore(ErrorKind::Unreachable));
    assert_eq!(engine.create("one", &spec()).await.unwrap_err().kind, ErrorKind::Unreachable);
    engine.inject(Operation::Create, Fault::HangBefore);
    let begun = Instant::now();
    assert_eq!(engine.create("one", &spec()).await.unwrap_err().kind, ErrorKind::TimedOut);
    assert!(begun.elapsed() >= limits::SHORT);
    assert!(engine.containers().is_empty());
    create(&engine, "one").await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_after_the_effect_leaves_it() {
    let engine = engine();
    engine.inject(Operation::Create, Fault::FailAfter(ErrorKind::Internal));
    assert_eq!(engine.create("one", &spec()).await.unwrap_err().kind, ErrorKind::Internal);
    assert_eq!(engine.create("one", &spec()).await, Ok(Created::AlreadyExists));
    let id = engine.container("one").unwrap().id;
    engine.inject(Operation::Start, Fault::HangAfter);
    assert_eq!(engine.start(&id).await.unwrap_err().kind, ErrorKind::TimedOut);
    assert_eq!(engine.start(&id).await, Ok(Started::AlreadyStarted));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_takes_its_time_on_both_sides_of_its_effect() {
    let engine = engine();
    let (before, after) = (Duration::from_secs(5), Duration::from_secs(10));
    engine.inject(Operation::Create, Fault::Slow { before, after });
    let spec = spec();
    let call = engine.create("one", &spec);
    let look = async {
        tokio::time::sleep(before).await;
        assert!(engine.containers().is_empty());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(engine.containers().len(), 1);
    };
    let begun = Instant::now();
    let (created, ()) = tokio::join!(call, look);
    assert!(matches!(created, Ok(Created::Created { .. })));
    assert!(begun.elapsed() >= before + after);
}

#[tokio::test(start_paused = true)]
async fn faults_by_chance_keep_to_their_operations() {
    let engine = engine();
    let operations = vec![Operation::Kill];
    engine.set_fault_plan(FaultPlan { calls_per_mille: 1000, operations, ..FaultPlan::default() });
    let id = started(&engine, "one").await;
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(engine.kill(&id).await.is_err());
        engine.list(&labels("test")).await.unwrap();
    }
    // One in five is only slow.
    assert!(failed > 5, "{failed}");
}

#[tokio::test(start_paused = true)]
async fn an_effect_goes_on_when_its_caller_is_gone() {
    let engine = engine();
    let made = spec();
    let call = engine.create("one", &made);
    assert!(tokio::time::timeout(Duration::from_millis(1), call).await.is_err(), "a creation takes longer");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(engine.inspect("one").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn containers_end_with_their_engine() {
    let engine = engine();
    let id = started(&engine, "one").await;
    let mut events = engine.events(&labels("test"), engine.info().await.unwrap().time).await.unwrap();
    engine.stop_engine();
    assert!(events.next().await.is_none());
    assert_eq!(engine.list(&labels("test")).await.unwrap_err().kind, ErrorKind::Unreachable);
    engine.start_engine();
    assert_eq!(code(&engine, &id).await, Some(137));
    assert_eq!(engine.start(&id).await, Ok(Started::Started));
}

#[tokio::test(start_paused = true)]
async fn under_live_restore_containers_outlive_their_engine() {
    let engine = SimulatedEngine::new(Settings { live_restore: true, ..Settings::default() });
    engine.add_image(IMAGE, |container| match &*container.name {
        "ends" => Script::new().wait(Duration::from_secs(5)).exit(3),
        _ => Script::new().hang(),
    });
    let ends = started(&engine, "ends").await;
    let stays = started(&engine, "stays").await;
    engine.stop_engine();
    tokio::time::sleep(Duration::from_secs(10)).await;
    engine.start_engine();
    assert_eq!(code(&engine, &ends).await, Some(3));
    assert!(matches!(state(&engine, &stays).await, ContainerState::Running { .. }));
    assert_eq!(engine.container("stays").unwrap().starts, 1);
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_fail_with_their_engine() {
    let engine = engine();
    let id = create(&engine, "one").await;
    let fall = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        engine.stop_engine();
        engine.start_engine();
    };
    let (start, ()) = tokio::join!(engine.start(&id), fall);
    assert_eq!(start.unwrap_err().kind, ErrorKind::Unreachable);
    assert_eq!(state(&engine, &id).await, ContainerState::Created);
    assert_eq!(engine.remove(&id).await, Ok(Removed::Removed));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_engine_answers_nothing_and_goes_on_where_it_was() {
    let engine = engine();
    let id = started(&engine, "one").await;
    let mut events = engine.events(&labels("test"), engine.info().await.unwrap().time).await.unwrap();
    engine.freeze_engine();
    assert!(engine.kill_process(&id, Signal::Kill));
    assert_eq!(engine.info().await.unwrap_err().kind, ErrorKind::TimedOut);
    assert!(events.next().now_or_never().is_none());
    engine.thaw_engine();
    engine.info().await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn an_engine_remembers_256_events() {
    let engine = engine();
    let since = engine.info().await.unwrap().time;
    let id = started(&engine, "one").await;
    for _ in 0..150 {
        engine.pause(&id);
        engine.unpause(&id);
    }
    let events = engine.events(&labels("test"), since).await.unwrap();
    let remembered = events.take_until(tokio::time::sleep(Duration::from_secs(1))).count().await;
    assert_eq!(remembered, 256);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_events_and_others_do_not() {
    let engine = engine();
    let id = started(&engine, "one").await;
    let now = engine.info().await.unwrap().time;
    let slow = engine.events(&labels("test"), now).await.unwrap();
    let mut quick = engine.events(&labels("test"), now).await.unwrap();
    for _ in 0..1000 {
        engine.pause(&id);
        engine.unpause(&id);
        assert!(quick.next().await.is_some() && quick.next().await.is_some());
    }
    let kept = slow.take_until(tokio::time::sleep(Duration::from_secs(1))).count().await as u64;
    assert_eq!((kept, engine.events_lost()), (1024, 2000 - 1024));
}

#[tokio::test(start_paused = true)]
async fn events_can_be_lost_doubled_and_late() {
    let engine = engine();
    let id = started(&engine, "one").await;
    let mut events = engine.events(&labels("test"), engine.info().await.unwrap().time).await.unwrap();
    engine.disturb_next_event(Disturbance::Lose);
    engine.disturb_next_event(Disturbance::Duplicate);
    engine.disturb_next_event(Disturbance::Delay(Duration::from_secs(1)));
    engine.pause(&id);
    engine.unpause(&id);
    engine.pause(&id);
    engine.unpause(&id);
    let mut actions = Vec::new();
    for _ in 0..4 {
        let EventKind::Container { action, .. } = events.next().await.unwrap().unwrap().kind else {
            panic!("not of a container");
        };
        actions.push(action);
    }
    assert_eq!(actions, ["unpause", "unpause", "unpause", "pause"]);
}

/// Notes that it was dropped.
struct Noted(Arc<AtomicBool>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_of_the_tests_own_ends_with_its_container() {
    type End = fn(&SimulatedEngine, &ContainerId) -> bool;
    let ends: [End; 4] = [
        |engine, id| engine.kill_process(id, Signal::Kill),
        |engine, id| engine.kill_process(id, Signal::Term),
        SimulatedEngine::remove_from_outside,
        |engine, _| {
            engine.stop_engine();
            true
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let engine = engine();
        let ended = Arc::new(AtomicBool::new(false));
        let noted = Noted(Arc::clone(&ended));
        let process = async move {
            let _noted = noted;
            std::future::pending::<()>().await;
        };
        engine.on_next_start(|_| true, Script::new().run(process));
        let id = started(&engine, "one").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!ended.load(Ordering::SeqCst), "the end {number} came early");
        assert!(end(&engine, &id));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(ended.load(Ordering::SeqCst), "the end {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_process_does_nothing() {
    let engine = engine();
    engine.on_next_start(|_| true, Script::new().wait(Duration::from_secs(5)).exit(4));
    let id = started(&engine, "one").await;
    assert!(engine.pause(&id));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(matches!(state(&engine, &id).await, ContainerState::Running { paused: true, .. }));
    assert!(engine.unpause(&id));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(code(&engine, &id).await, Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_script_for_the_next_start_is_used_once_by_the_container_it_is_meant_for() {
    let engine = engine();
    engine.on_next_start(|container| container.name == "two", Script::new().exit(9));
    let one = started(&engine, "one").await;
    let two = started(&engine, "two").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((code(&engine, &one).await, code(&engine, &two).await), (None, Some(9)));
    engine.start(&two).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(code(&engine, &two).await, None);
    assert_eq!(engine.container("two").unwrap().starts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_moved_tag_leaves_containers_with_their_image() {
    let engine = engine();
    let old = engine.inspect_image(IMAGE).await.unwrap().unwrap().id;
    let id = create(&engine, "one").await;
    let new = engine.add_image(IMAGE, |_| Script::new().exit(1));
    assert_ne!(old, new);
    assert_eq!(engine.inspect_image(IMAGE).await.unwrap().unwrap().id, new);
    engine.start(&id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let container = engine.container("one").unwrap();
    assert_eq!(container.image_id, old);
    assert!(matches!(container.state, ContainerState::Running { .. }));
    assert!(engine.remove_image(IMAGE) && !engine.remove_image(IMAGE));
    assert_eq!(engine.inspect_image(IMAGE).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn the_machine_can_do_what_the_port_cannot() {
    let engine = engine();
    let directory = tempfile::tempdir().unwrap();
    let bind = crate::container::Bind { source: directory.path().to_owned(), target: "/sockets".into() };
    let Created::Created { id, .. } =
        engine.create("one", &ContainerSpec { binds: vec![bind], ..spec() }).await.unwrap()
    else {
        panic!("one exists");
    };
    assert!(!engine.kill_process(&id, Signal::Kill), "it does not run yet");
    assert!(engine.running_with_bind(directory.path()).is_empty());
    engine.start(&id).await.unwrap();
    assert_eq!(engine.running_with_bind(directory.path())[0].id, id);
    assert!(engine.kill_process(&id, Signal::Segv));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(code(&engine, &id).await, Some(139));
    engine.start(&id).await.unwrap();
    assert!(engine.remove_from_outside(&id));
    assert_eq!(engine.inspect(id.as_str()).await, Ok(None));
    assert!(!engine.remove_from_outside(&id));
}

#[tokio::test(start_paused = true)]
async fn a_removal_waits_for_a_start_under_way() {
    let engine = engine();
    let id = create(&engine, "one").await;
    let (start, remove) = tokio::join!(engine.start(&id), engine.remove(&id));
    assert_eq!((start, remove), (Ok(Started::Started), Ok(Removed::Removed)));
    assert!(engine.containers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_caller_goes_away_is_given_up_where_the_engine_does_so() {
    for gives_up_starts in [true, false] {
        let engine = SimulatedEngine::new(Settings { gives_up_starts, ..Settings::default() });
        engine.add_image(IMAGE, |_| Script::new().starting_in(Duration::from_secs(1)).hang());
        let id = create(&engine, "one").await;
        let cut_off = tokio::time::timeout(Duration::from_millis(500), engine.start(&id)).await;
        assert!(cut_off.is_err());
        tokio::time::sleep(Duration::from_secs(1)).await;
        match engine.inspect(id.as_str()).await.unwrap().unwrap().state {
            ContainerState::Exited(exit) if gives_up_starts => assert_eq!(exit.error, "context canceled"),
            ContainerState::Running { .. } if !gives_up_starts => {}
            state => panic!("{state:?}"),
        }
        assert!(engine.start(&id).await.is_ok(), "it can be started again");
    }
}

#[tokio::test(start_paused = true)]
async fn labels_find_what_a_look_at_every_container_finds() {
    let engine = SimulatedEngine::new(Settings { latency: Latency::NONE, ..Settings::default() });
    engine.add_image(IMAGE, |_| Script::new().hang());
    let mut random = StdRng::seed_from_u64(3);
    let some = |random: &mut StdRng| -> BTreeMap<String, String> {
        ["a", "b", "c"]
            .into_iter()
            .filter_map(|key| {
                let value = random.random_range(0..4);
                (value > 0).then(|| (key.to_owned(), value.to_string()))
            })
            .collect()
    };
    for number in 0..400 {
        let made = ContainerSpec { labels: some(&mut random), ..spec() };
        engine.create(&format!("number-{number}"), &made).await.unwrap();
        if number % 3 == 0 {
            let all = engine.containers();
            engine.remove(&all[random.random_range(0..all.len())].id).await.unwrap();
        }
        let asked = some(&mut random);
        let mut expected: Vec<_> = engine
            .containers()
            .into_iter()
            .filter(|container| {
                asked.iter().all(|(key, value)| container.spec.labels.get(key) == Some(value))
            })
            .map(|container| container.id)
            .collect();
        expected.reverse();
        let found: Vec<_> =
            engine.list(&asked).await.unwrap().into_iter().map(|container| container.id).collect();
        assert_eq!(found, expected, "{asked:?}");
    }
}
