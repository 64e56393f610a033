use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Bench;
use crate::container::{ContainerState, Listed, Phase};

pub(super) async fn an_engine_says_who_it_is(bench: Bench) {
    let first = bench.engine.info().await.unwrap();
    let second = bench.engine.info().await.unwrap();
    assert!(!first.id.is_empty() && !first.version.is_empty());
    assert_eq!(first.id, second.id);
    assert!(second.time > first.time, "its clock goes on");
    assert!(first.oci_runtimes.iter().any(|name| name == bench.harness.oci_runtime()), "{first:?}");
    assert!(first.oci_runtimes.is_sorted());
    assert!(["cgroupfs", "systemd", "none"].contains(&first.cgroup_driver.as_str()), "{first:?}");
    let (major, minor) = first.api_version.split_once('.').unwrap();
    assert!((major, minor.parse::<u32>().unwrap()) >= ("1", 41), "{first:?}");
}

pub(super) async fn an_image_is_found_by_its_names_and_its_id(bench: Bench) {
    let image = bench.engine.inspect_image(bench.harness.image()).await.unwrap().unwrap();
    assert!(image.id.starts_with("sha256:") && image.id.len() == 71, "{image:?}");
    assert_eq!(bench.engine.inspect_image(&image.id).await, Ok(Some(image)));
    let absent = format!("sha256:{}", "0123456789abcdef".repeat(4));
    for absent in ["plugward-contract-absent:1", "plugward-contract-absent", &absent] {
        assert_eq!(bench.engine.inspect_image(absent).await, Ok(None), "{absent}");
    }
}

pub(super) async fn a_list_has_what_carries_all_labels_in_every_state(bench: Bench) {
    let with = |name: &str| {
        let mut spec = bench.spec(&["sleep"]);
        spec.labels.insert("dev.plugward.part".to_owned(), name.to_owned());
        spec
    };
    let created = bench.create("created", &with("a")).await;
    let running = bench.create("running", &with("a")).await;
    bench.engine.start(&running).await.unwrap();
    let ended = bench.create("ended", &with("b")).await;
    bench.engine.start(&ended).await.unwrap();
    bench.engine.kill(&ended).await.unwrap();
    bench.exit(&ended).await;

    let phases = |listed: Vec<Listed>| -> BTreeMap<_, _> {
        listed.into_iter().map(|container| (container.id, container.phase)).collect()
    };
    let all = bench.engine.list(&bench.labels()).await.unwrap();
    let names: BTreeSet<_> = all.iter().map(|container| container.name.clone()).collect();
    assert_eq!(names, ["created", "running", "ended"].map(|part| bench.name(part)).into());
    assert!(all.iter().all(|container| container.labels.contains_key("dev.plugward.part")));
    let expected = [
        (created.clone(), Phase::Created),
        (running.clone(), Phase::Running),
        (ended.clone(), Phase::Exited),
    ];
    assert_eq!(phases(all), expected.into());

    let mut labels = bench.labels();
    labels.insert("dev.plugward.part".to_owned(), "a".to_owned());
    let expected = [(created, Phase::Created), (running, Phase::Running)];
    assert_eq!(phases(bench.engine.list(&labels).await.unwrap()), expected.into());
    labels.insert("dev.plugward.part".to_owned(), String::new());
    assert_eq!(bench.engine.list(&labels).await, Ok(vec![]));
}

pub(super) async fn a_container_is_found_by_its_name_and_its_id(bench: Bench) {
    let id = bench.create("one", &bench.spec(&["sleep"])).await;
    assert_eq!(id.as_str().len(), 64);
    let by_id = bench.engine.inspect(id.as_str()).await.unwrap().unwrap();
    let by_name = bench.engine.inspect(&bench.name("one")).await.unwrap().unwrap();
    assert_eq!(by_id, by_name);
    assert_eq!((&by_id.id, by_id.name), (&id, bench.name("one")));
    assert_eq!(by_id.state, ContainerState::Created);
    assert_eq!(bench.engine.inspect(&bench.name("two")).await, Ok(None));
}

pub(super) async fn times_follow_the_engines_clock(bench: Bench) {
    let before = bench.engine.info().await.unwrap().time;
    let id = bench.started("one", &["sleep"]).await;
    let container = bench.inspect(&id).await;
    let ContainerState::Running { started_at, .. } = container.state else { panic!("does not run") };
    bench.engine.kill(&id).await.unwrap();
    let finished_at = bench.exit(&id).await.finished_at;
    let after = bench.engine.info().await.unwrap().time;
    let times = [before, container.created_at, started_at, finished_at, after];
    assert!(times.is_sorted(), "{times:?}");
}

pub(super) async fn what_a_container_uses_is_told_while_it_runs(bench: Bench) {
    let measured = bench.engine.info().await.unwrap().cgroup_driver != "none";
    let id = bench.create("one", &bench.spec(&["sleep"])).await;
    assert_eq!(bench.engine.stats(id.as_str()).await, Ok(None), "it was not started");
    bench.engine.start(&id).await.unwrap();
    let used = bench.engine.stats(id.as_str()).await.unwrap().unwrap();
    assert!(bench.engine.stats(&bench.name("one")).await.unwrap().is_some(), "by its name");
    if measured {
        assert!(used.cpu.unwrap() > Duration::ZERO, "{used:?}");
        assert!(used.memory.unwrap() > 0, "{used:?}");
        assert!(used.pids.unwrap() > 0, "{used:?}");
    }
    bench.engine.kill(&id).await.unwrap();
    bench.exit(&id).await;
    assert_eq!(bench.engine.stats(id.as_str()).await, Ok(None), "it has ended");
    bench.engine.remove(&id).await.unwrap();
    assert_eq!(bench.engine.stats(id.as_str()).await, Ok(None), "it is gone");
}
