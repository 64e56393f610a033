//! `engine.socketDirectory`: where the sockets of a runtime's plugins lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plugward_api::{InstanceCondition, Phase};
use plugward_tests::real::{Manifest, World, counter, on_each_engine, on_one_engine, runtime, slot};
use serde_json::json;

fn with_sockets_in(world: &World, directory: &Path) -> Manifest {
    runtime(&world.engine.host).with("/spec/engine/socketDirectory", json!(directory))
}

/// What is in the part of a socket directory that is the controller's.
fn entries(world: &World, directory: &Path) -> Vec<PathBuf> {
    let own = directory.join(format!("plugward-{}", world.cluster));
    let entries = fs::read_dir(own).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn sockets_lie_where_the_runtime_says_and_move_when_it_says_otherwise() {
    on_each_engine(|world| async move {
        let [first, second] = ["first", "second"].map(|name| world.path(name));
        for directory in [&first, &second] {
            fs::create_dir(directory).unwrap();
        }
        world.declare("runtime.yaml", &[with_sockets_in(&world, &first)]);
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        assert_eq!(entries(&world, &first), [world.shared_directory(&before).await]);

        world.declare("runtime.yaml", &[with_sockets_in(&world, &second)]);
        let moved = world.until_ready_again("counter", &before).await;
        assert_eq!((moved.restarts, moved.failures), (0, 0));
        world
            .wait("the first directory is empty", async || entries(&world, &first).is_empty().then_some(()))
            .await;
        assert_eq!(entries(&world, &second), [world.shared_directory(&moved).await]);

        // The next controller finds its plugin there, and clears away what its predecessor left.
        world.kill().await;
        let left = second.join(format!("plugward-{}", world.cluster)).join("plugward-left");
        fs::create_dir(&left).unwrap();
        world.start().await;
        world.until_synced().await;
        assert!(!left.exists());
        let adopted = world.until_ready("counter").await;
        assert_eq!(adopted.container_id, moved.container_id);

        world.remove("counter.yaml");
        world.until_gone("counter").await;
        assert_eq!(entries(&world, &second), Vec::<PathBuf>::new());
    })
    .await;
}

#[tokio::test]
async fn a_socket_directory_that_is_not_there_is_told_and_waited_for_and_what_runs_goes_on() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        let directory = world.path("later");
        world.declare("runtime.yaml", &[with_sockets_in(&world, &directory)]);
        let reason = "SocketDirectoryUnusable";
        let message = world.until_condition("counter", InstanceCondition::RuntimeAvailable, reason).await;
        assert!(message.contains("later cannot be used"), "{message}");
        world.until_condition("counter", InstanceCondition::Progressing, "UpdateBlocked").await;
        let status = world.status("counter").await.unwrap();
        assert_eq!((status.phase, &slot(&status).container_id), (Phase::Ready, &before.container_id));

        fs::create_dir(&directory).unwrap();
        world.until_ready_again("counter", &before).await;
        world.until_condition("counter", InstanceCondition::RuntimeAvailable, "Available").await;
    })
    .await;
}

#[tokio::test]
async fn a_socket_directory_whose_path_no_socket_could_have_is_refused_where_it_is_written() {
    on_one_engine(|world| async move {
        let long = PathBuf::from(format!("/{}", "d".repeat(100)));
        world.declare("runtime.yaml", &[with_sockets_in(&world, &long)]);
        world.start().await;
        world
            .wait("the mistake is told", async || {
                let said = world.cli(&["describe", "manifests"]).await.stdout;
                said.contains("spec.engine.socketDirectory: is too long for a socket path").then_some(())
            })
            .await;
    })
    .await;
}

/// A file system without ACLs. Dropping it takes it away.
struct WithoutLists(PathBuf);

impl WithoutLists {
    fn mount(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(&path).status().unwrap();
        assert!(mounted.success());
        Self(path)
    }
}

impl Drop for WithoutLists {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_file_system_without_the_lists_that_rootless_needs_is_told() {
    on_one_engine(|world| async move {
        let directory = WithoutLists::mount(world.path("ramfs"));
        let runtime = with_sockets_in(&world, &directory.0).with("/spec/rootless", json!(true));
        world.declare("runtime.yaml", &[runtime]);
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let status = world
            .until("counter", "has failed to start", |status| {
                status.slots.first().is_some_and(|slot| slot.last_exit.is_some())
            })
            .await;
        let exit = slot(&status).last_exit.clone().unwrap();
        assert_eq!(exit.reason.as_str(), "start_failed");
        assert!(exit.message.contains("needs POSIX ACLs"), "{}", exit.message);
    })
    .await;
}
