use std::time::Duration;

use futures::future::join_all;

use super::Bench;
use crate::container::{ContainerId, ContainerSpec, ContainerState, Phase, Resources};
use crate::error::{ErrorKind, Operation};
use crate::port::{Removed, Started, Stopped};

const ABSENT: &str = "0000000000000000000000000000000000000000000000000000000000000000";

pub(super) async fn a_container_is_started_once(bench: Bench) {
    let id = bench.create("one", &bench.spec(&["sleep"])).await;
    assert_eq!(bench.inspect(&id).await.state, ContainerState::Created);
    assert_eq!(bench.engine.start(&id).await, Ok(Started::Started));
    assert_eq!(bench.engine.start(&id).await, Ok(Started::AlreadyStarted));
    assert_eq!(bench.engine.start(&ContainerId::new(ABSENT)).await, Ok(Started::NotFound));
    let ContainerState::Running { pid, paused, .. } = bench.inspect(&id).await.state else {
        panic!("does not run");
    };
    assert!(pid > 0 && !paused);
}

pub(super) async fn an_ended_container_can_be_started_again(bench: Bench) {
    let id = bench.started("one", &["exit", "3"]).await;
    assert_eq!(bench.exit(&id).await.code, 3);
    assert_eq!(bench.engine.start(&id).await, Ok(Started::Started));
    assert_eq!(bench.exit(&id).await.code, 3);
}

pub(super) async fn exit_codes_come_through(bench: Bench) {
    for code in [0, 1, 42, 255] {
        let id = bench.started(&format!("exit-{code}"), &["exit", &code.to_string()]).await;
        let exit = bench.exit(&id).await;
        assert_eq!((exit.code, exit.oom_killed, exit.error.as_str()), (code, false, ""));
    }
}

pub(super) async fn a_killed_process_shows_its_signal(bench: Bench) {
    let id = bench.started("one", &["sleep"]).await;
    assert_eq!(bench.engine.kill(&id).await, Ok(Stopped::Stopped));
    let exit = bench.exit(&id).await;
    assert_eq!((exit.code, exit.oom_killed), (137, false));
}

pub(super) async fn a_process_that_heeds_its_signal_stops_with_its_own_code(bench: Bench) {
    let id = bench.started("one", &["heed", "9"]).await;
    super::output::wait_for(&bench, &id, b"ready").await;
    // Far longer than the case may take: the end is not the grace's.
    assert_eq!(bench.engine.stop(&id, Duration::from_mins(10)).await, Ok(Stopped::Stopped));
    let ContainerState::Exited(exit) = bench.inspect(&id).await.state else {
        panic!("stop has returned, but it runs");
    };
    assert_eq!(exit.code, 9);
}

pub(super) async fn a_process_that_is_deaf_to_its_signal_is_killed_after_its_grace(bench: Bench) {
    let id = bench.started("one", &["sleep"]).await;
    assert_eq!(bench.engine.stop(&id, Duration::from_millis(300)).await, Ok(Stopped::Stopped));
    let ContainerState::Exited(exit) = bench.inspect(&id).await.state else {
        panic!("stop has returned, but it runs");
    };
    assert_eq!(exit.code, 137);
}

pub(super) async fn what_does_not_run_is_stopped_already(bench: Bench) {
    let grace = Duration::from_secs(1);
    let created = bench.create("created", &bench.spec(&["sleep"])).await;
    let ended = bench.started("ended", &["exit", "0"]).await;
    bench.exit(&ended).await;
    for id in [&created, &ended] {
        assert_eq!(bench.engine.stop(id, grace).await, Ok(Stopped::AlreadyStopped));
        assert_eq!(bench.engine.kill(id).await, Ok(Stopped::AlreadyStopped));
    }
    let absent = ContainerId::new(ABSENT);
    assert_eq!(bench.engine.stop(&absent, grace).await, Ok(Stopped::NotFound));
    assert_eq!(bench.engine.kill(&absent).await, Ok(Stopped::NotFound));
}

pub(super) async fn containers_are_removed_in_every_state(bench: Bench) {
    let created = bench.create("created", &bench.spec(&["sleep"])).await;
    let running = bench.started("running", &["sleep"]).await;
    let ended = bench.started("ended", &["exit", "0"]).await;
    bench.exit(&ended).await;
    for id in [created, running, ended] {
        assert_eq!(bench.engine.remove(&id).await, Ok(Removed::Removed));
        assert_eq!(bench.engine.inspect(id.as_str()).await, Ok(None));
        assert_eq!(bench.engine.remove(&id).await, Ok(Removed::NotFound));
    }
    assert_eq!(bench.engine.list(&bench.labels()).await, Ok(vec![]));
}

pub(super) async fn of_many_removals_at_once_one_removes(bench: Bench) {
    let id = bench.started("one", &["sleep"]).await;
    let outcomes = join_all((0..4).map(|_| bench.engine.remove(&id))).await;
    let removed = outcomes.iter().filter(|outcome| **outcome == Ok(Removed::Removed)).count();
    assert_eq!(removed, 1, "{outcomes:?}");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

pub(super) async fn a_start_that_fails_says_why_and_leaves_the_words_behind(bench: Bench) {
    let spec = ContainerSpec { entrypoint: vec!["/no/such/program".to_owned()], ..bench.spec(&[]) };
    let id = bench.create("one", &spec).await;
    for _ in 0..2 {
        let error = bench.engine.start(&id).await.unwrap_err();
        assert_eq!((error.operation, error.kind), (Operation::Start, ErrorKind::Refused), "{error}");
        assert!(error.message.contains("/no/such/program"), "{error}");
        let ContainerState::Exited(exit) = bench.inspect(&id).await.state else { panic!("not ended") };
        assert!(exit.error.contains("/no/such/program"), "{exit:?}");
        assert_ne!(exit.code, 0);
    }
    assert_eq!(bench.engine.list(&bench.labels()).await.unwrap()[0].phase, Phase::Created);
    assert_eq!(bench.engine.kill(&id).await, Ok(Stopped::AlreadyStopped));
    assert_eq!(bench.engine.remove(&id).await, Ok(Removed::Removed));
}

pub(super) async fn a_network_that_is_not_there_is_refused(bench: Bench) {
    let spec = ContainerSpec { network: "plugward-absent".to_owned(), ..bench.spec(&["sleep"]) };
    let id = bench.create("one", &spec).await;
    let error = bench.engine.start(&id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains("plugward-absent"), "{error}");
}

pub(super) async fn memory_beyond_the_limit_ends_the_process_and_says_so(bench: Bench) {
    let resources = Resources { memory_bytes: Some(32 << 20), ..Resources::default() };
    let spec = ContainerSpec { resources, ..bench.spec(&["eat"]) };
    let id = bench.create("one", &spec).await;
    bench.engine.start(&id).await.unwrap();
    let exit = bench.exit(&id).await;
    // Without cgroups nobody counts.
    let counts = bench.engine.info().await.unwrap().cgroup_driver != "none";
    assert_eq!((exit.code, exit.oom_killed), if counts { (137, true) } else { (0, false) });
}
