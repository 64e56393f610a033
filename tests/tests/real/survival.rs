//! Promises 5, 6 and 7: the controller may end at any instruction, and start again; and there is one of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plugward::names::label;
use plugward_api::SlotStatus;
use plugward_engine::{ContainerState, Phase as ContainerPhase};
use plugward_tests::real::{Manifest, World, counter, on_each_engine, on_one_engine, restarts, runtime};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// How often the controller is killed.
const ROUNDS: u64 = 16;

const NAMES: [&str; 3] = ["one", "two", "three"];

/// The one of them that is replaced under `Surge` where the controller is killed at any moment.
const SURGES: &str = "three";

#[tokio::test]
async fn plugins_run_on_while_the_controller_is_stopped_and_are_adopted_by_the_next() {
    on_each_engine(|world| async move {
        let before = three_ready(&world).await;
        assert_eq!(world.terminate().await.code, Some(0));
        for slot in before.values() {
            assert!(matches!(world.container(slot).await.state, ContainerState::Running { .. }));
        }
        world.start().await;
        world.until_synced().await;
        adopted(&world, &before).await;

        // The new controller looks after them as the old one did.
        world.engine.kill(before["one"].container_id.as_deref().unwrap()).await;
        let healed = world.until_ready_again("one", &before["one"]).await;
        assert_eq!(restarts(&healed), BTreeMap::from([("killed", 1)]));
    })
    .await;
}

#[tokio::test]
async fn plugins_are_adopted_after_the_controller_was_killed() {
    on_each_engine(|world| async move {
        let before = three_ready(&world).await;
        world.kill().await;
        world.start().await;
        world.until_synced().await;
        adopted(&world, &before).await;
    })
    .await;
}

#[tokio::test]
async fn what_happened_while_no_controller_ran_is_made_good_by_the_next() {
    on_each_engine(|world| async move {
        let before = three_ready(&world).await;
        world.terminate().await;
        world.engine.kill(before["one"].container_id.as_deref().unwrap()).await;
        world.engine.remove(before["two"].container_id.as_deref().unwrap()).await;
        world.remove("three.yaml");
        world.start().await;
        let one = world.until_ready_again("one", &before["one"]).await;
        let two = world.until_ready_again("two", &before["two"]).await;
        world.until_gone("three").await;
        assert_eq!(restarts(&one), BTreeMap::from([("killed", 1)]));
        assert_eq!(restarts(&two), BTreeMap::from([("removed", 1)]));
        assert_eq!((one.failures, two.failures), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_is_killed_at_any_moment_leaves_one_container_per_slot() {
    on_each_engine(|world| async move {
        let seed: u64 =
            std::env::var("PLUGWARD_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
        println!("PLUGWARD_TEST_SEED={seed} chooses the same moments again");
        let mut random = StdRng::seed_from_u64(seed);
        world.declare_runtime();
        for round in 0..ROUNDS {
            world.launch(&[]);
            let end = Instant::now() + Duration::from_millis(random.random_range(0..1500));
            while Instant::now() < end {
                disturb(&world, &mut random, round).await;
                one_runs_per_slot(&world).await;
                sleep(Duration::from_millis(random.random_range(0..200))).await;
            }
            world.kill().await;
        }
        for name in NAMES {
            world.declare(&format!("{name}.yaml"), &[disturbed(name)]);
        }
        world.start().await;
        world.until_synced().await;
        let mut expected = BTreeSet::new();
        for name in NAMES {
            let slot = world.until_ready(name).await;
            // What the test did, and what a controller did that was killed while it removed the plugin; nothing else went wrong.
            let possible = ["killed", "removed", "exited"];
            assert!(restarts(&slot).keys().all(|reason| possible.contains(reason)), "{name}: {slot:?}");
            expected.insert(slot.container_name.unwrap());
        }
        world.settle().await;
        let found: BTreeSet<String> =
            world.containers().await.into_iter().map(|container| container.name).collect();
        assert_eq!(found, expected, "none twice, and none left over");
        let directories: BTreeSet<String> = fs::read_dir(world.sockets().join("plugins"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(directories, expected, "no directory is left over");
    })
    .await;
}

#[tokio::test]
async fn a_slot_whose_state_is_damaged_costs_that_slot_one_restart() {
    on_each_engine(|world| async move {
        let before = three_ready(&world).await;
        world.terminate().await;
        fs::write(world.stored_path("two"), "{\"version\":1,\"data\":{\"sta").unwrap();
        world.start().await;
        let two = world.until_ready_again("two", &before["two"]).await;
        assert_eq!(restarts(&two), BTreeMap::from([("not_adoptable", 1)]));
        assert_eq!(world.metrics().await.restarts("two", "not_adoptable"), Some(1.0));
        world.until_synced().await;
        for name in ["one", "three"] {
            assert_eq!(world.until_ready(name).await.container_id, before[name].container_id);
        }
        assert_eq!(world.containers().await.len(), 3);
        assert!(world.log().contains("a state file cannot be used"));
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_drains_takes_its_plugins_with_it() {
    on_each_engine(|world| async move {
        declare_three(&world);
        world.start_with(&["--drain-on-exit"]).await;
        let mut before = BTreeMap::new();
        for name in NAMES {
            before.insert(name, world.until_ready(name).await);
        }
        assert_eq!(world.terminate().await.code, Some(0));
        assert_eq!(world.containers().await.len(), 0);
        assert_eq!(fs::read_dir(world.sockets().join("plugins")).unwrap().count(), 0);

        world.start().await;
        for name in NAMES {
            let again = world.until_ready_again(name, &before[name]).await;
            assert_eq!(again.restarts, 0, "a drained plugin was not restarted, but started");
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_controller_is_refused_and_told_who_is_there() {
    on_one_engine(|world| async move {
        let before = three_ready(&world).await;
        let pid = world.with_program(|program| program.pid()).to_string();

        let same_state = world.run_another(&world.arguments(&[])).await;
        assert_eq!(same_state.code, Some(1));
        assert!(same_state.stderr.contains(&format!("process {pid}")), "{}", same_state.stderr);
        assert!(same_state.stderr.contains("uses the state directory"), "{}", same_state.stderr);

        let other_state = world.arguments_but("--state-dir", &world.path("s2").to_string_lossy());
        let same_cluster = world.run_another(&other_state).await;
        assert_eq!(same_cluster.code, Some(1));
        assert!(same_cluster.stderr.contains(&format!("process {pid}")), "{}", same_cluster.stderr);
        assert!(same_cluster.stderr.contains(world.cluster.as_str()), "{}", same_cluster.stderr);

        world.settle().await;
        adopted(&world, &before).await;
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_cannot_have_its_socket_or_port_touches_nothing() {
    on_one_engine(|world| async move {
        let before = three_ready(&world).await;
        world.terminate().await;
        // What a controller would do now that could start: remove one, replace another.
        world.remove("one.yaml");
        world.declare("two.yaml", &[counter("two").with("/spec/env/A", json!("b"))]);

        let socket = world.sockets().join("control.sock");
        let holder = UnixListener::bind(&socket).unwrap();
        refused(&world, &["answers on", &socket.to_string_lossy()]).await;
        drop(holder);
        fs::remove_file(&socket).unwrap();

        fs::write(&socket, "no socket").unwrap();
        refused(&world, &["is no socket", &socket.to_string_lossy()]).await;
        fs::remove_file(&socket).unwrap();

        let holder = TcpListener::bind(world.metrics_address()).unwrap();
        refused(&world, &["cannot listen on", world.metrics_address(), "--metrics-address"]).await;
        drop(holder);

        for slot in before.values() {
            assert!(matches!(world.container(slot).await.state, ContainerState::Running { .. }));
        }
        assert_eq!(world.containers().await.len(), 3);
        world.start().await;
        world.until_gone("one").await;
    })
    .await;
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_used_is_told_and_nothing_is_touched() {
    on_one_engine(|world| async move {
        let before = three_ready(&world).await;
        world.terminate().await;
        let file = world.path("file");
        fs::write(&file, "").unwrap();
        let inside = file.join("state");
        let other = world.path("other");
        fs::create_dir(&other).unwrap();
        chown(&other, Some(12345), None).unwrap();
        for (path, phrase) in [
            (file.to_string_lossy(), "File exists"),
            (inside.to_string_lossy(), "Not a directory"),
            (other.to_string_lossy(), "belongs to user 12345"),
            // Not even root can make anything there.
            ("/proc/plugward".into(), "No such file or directory"),
        ] {
            let said = world.run_another(&world.arguments_but("--state-dir", &path)).await;
            assert_eq!(said.code, Some(1), "{path}");
            assert!(said.stderr.contains(&*path) && said.stderr.contains(phrase), "{path}: {}", said.stderr);
        }
        let other = world.run_another(&world.arguments_but("--cluster-id", "another")).await;
        assert_eq!(other.code, Some(1));
        assert!(other.stderr.contains("belongs to cluster"), "{}", other.stderr);

        world.start().await;
        world.until_synced().await;
        adopted(&world, &before).await;
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_stops_no_plugin_and_is_over_when_there_is_room() {
    on_one_engine(|world| async move {
        let disk = SmallDisk::mount(&world.state());
        let before = three_ready(&world).await;
        let filler = world.state().join("filler");
        // As much as there is room for: the error is that there was too little.
        fs::write(&filler, vec![0; 4 << 20]).unwrap_err();

        world.engine.kill(before["one"].container_id.as_deref().unwrap()).await;
        world
            .until("one", "has told of the full disk", |status| {
                status.events.iter().any(|event| event.message.contains("No space left on device"))
            })
            .await;
        for name in ["two", "three"] {
            assert!(matches!(world.container(&before[name]).await.state, ContainerState::Running { .. }));
        }
        fs::remove_file(&filler).unwrap();
        let healed = world.until_ready_again("one", &before["one"]).await;
        assert_eq!((restarts(&healed), healed.failures), (BTreeMap::from([("killed", 1)]), 0));
        world.settle().await;
        assert_eq!(world.containers().await.len(), 3);
        world.terminate().await;
        drop(disk);
    })
    .await;
}

/// A file system of 2 MiB. Dropping it unmounts it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Self {
        fs::create_dir(path).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=2m,mode=700", "none"];
        let mounted = Command::new("mount").args(options).arg(path).status().unwrap();
        assert!(mounted.success(), "mount needs root");
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn declare_three(world: &World) {
    world.declare_runtime();
    for name in NAMES {
        world.declare(&format!("{name}.yaml"), &[counter(name)]);
    }
}

/// A controller with three plugins that are ready.
async fn three_ready(world: &World) -> BTreeMap<&'static str, SlotStatus> {
    declare_three(world);
    world.start().await;
    let mut ready = BTreeMap::new();
    for name in NAMES {
        ready.insert(name, world.until_ready(name).await);
    }
    ready
}

/// All are ready in the containers they had, and none was restarted.
async fn adopted(world: &World, before: &BTreeMap<&str, SlotStatus>) {
    for (name, slot) in before {
        let after = world.until_ready(name).await;
        assert_eq!(after.container_id, slot.container_id, "{name}");
        assert_eq!((after.restarts, after.ready_at), (0, slot.ready_at), "{name}");
    }
    assert_eq!(world.containers().await.len(), before.len());
    assert_eq!(world.metrics().await.total("plugward_plugin_restarts_total"), 0);
}

/// The controller ends at once, and says why.
async fn refused(world: &World, phrases: &[&str]) {
    let said = world.run_another(&world.arguments(&[])).await;
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    for phrase in phrases {
        assert!(said.stderr.contains(phrase), "{phrase:?} is not in {:?}", said.stderr);
    }
}

/// Does something to a plugin, from outside or to its record.
async fn disturb(world: &World, random: &mut StdRng, round: u64) {
    let name = NAMES[random.random_range(0..NAMES.len())];
    let file = format!("{name}.yaml");
    let container = world.containers_of(name).await.into_iter().next();
    match (random.random_range(0..6), container) {
        (0, Some(container)) => world.engine.kill(container.id.as_str()).await,
        (1, Some(container)) => world.engine.remove(container.id.as_str()).await,
        (2, _) => world.declare(&file, &[disturbed(name).with("/spec/env/ROUND", json!(round.to_string()))]),
        (3, _) if world.manifests().join(&file).exists() => world.remove(&file),
        (4, _) => {
            let memory = format!("{}Mi", random.random_range(64..128));
            world.declare(
                "runtime.yaml",
                &[runtime(&world.engine.host).with("/spec/resources/memory", json!(memory))],
            );
        }
        _ => world.declare(&file, &[disturbed(name)]),
    }
}

/// What is disturbed: one is replaced without a gap, so that two of its containers may run.
fn disturbed(name: &str) -> Manifest {
    counter(name).with("/spec/update/strategy", json!(if name == SURGES { "Surge" } else { "Recreate" }))
}

async fn one_runs_per_slot(world: &World) {
    for name in NAMES {
        let mut running: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for container in world.containers_of(name).await {
            if container.phase == ContainerPhase::Running {
                running.entry(container.labels[label::SLOT].clone()).or_default().push(container.name);
            }
        }
        let most = if name == SURGES { 2 } else { 1 };
        assert!(running.values().all(|names| names.len() <= most), "{name} runs in {running:?}");
    }
}
