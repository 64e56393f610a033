//! The ways in which hosts start their plugins are those in which they start the launcher: pinned, with nothing of their environment, for
//! a group, managed, several at once. And an auth method.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use plugward_tests::real::{
    BackendHost, CallbackHost, HostOptions, Instance, LIMIT, callback, jwt, launcher, on_each_engine,
    on_one_engine, skipped, starts,
};
use rustix::process::geteuid;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::attach::controller;

const NUMBERS: Instance<'_> = Instance::only("numbers");

/// What is no program's.
const WRONG_SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A group that is nobody's.
const GROUP: u32 = 4_243;

/// The launcher's checksum, as hosts pin it.
fn sha256() -> String {
    let digest = Sha256::digest(fs::read(launcher()).unwrap());
    digest.iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

#[tokio::test]
async fn a_launcher_is_started_as_hosts_start_plugins() {
    on_each_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let start = world.attach("numbers", 1);
        for start in [
            start.clone().pinned(&sha256()),
            start.clone().pinned(&sha256()).without_environment(),
            start.clone().without_environment().multiplexed(),
            start.plaintext().without_environment(),
        ] {
            let Some(host) =
                CallbackHost::start(&starts([("numbers", start.clone())]), &HostOptions::default())
            else {
                return;
            };
            let before = world.left(host.process().sockets()).await;
            assert_eq!(host.add(NUMBERS, "hello", 2, Some(LIMIT)).await, Ok(2), "{start:?}");
            world.kill_containers_of("numbers").await;
            assert_eq!(host.add(NUMBERS, "hello", 3, Some(LIMIT)).await, Ok(5), "{start:?}");
            assert!(host.client("numbers").kill().await.unwrap().graceful, "{start:?}");
            world.until_left(before, host.process().sockets()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn another_file_than_the_pinned_launcher_is_not_started() {
    on_one_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let mounts = starts([("numbers", world.attach("numbers", 1).pinned(WRONG_SHA256))]);
        let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
        let failure = host.client("numbers").start().await.unwrap_err();
        assert_eq!(failure.message, "checksums did not match");
        assert_eq!(world.sessions().await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_sessions_socket_is_the_groups_that_its_host_wants() {
    if !geteuid().is_root() {
        return skipped("only root can give sockets to any group");
    }
    on_one_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let mounts = starts([("numbers", world.attach("numbers", 1).group(&GROUP.to_string()))]);
        let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
        assert_eq!(host.add(NUMBERS, "hello", 2, Some(LIMIT)).await, Ok(2));
        let sockets = fs::read_dir(host.process().sockets().unwrap()).unwrap();
        let sockets: Vec<_> = sockets.map(|entry| entry.unwrap().metadata().unwrap()).collect();
        assert!(!sockets.is_empty());
        for socket in sockets {
            assert_eq!((socket.gid(), socket.mode() & 0o777), (GROUP, 0o660));
        }
        let mounts = starts([("numbers", world.attach("numbers", 1).group("no such group"))]);
        let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
        host.client("numbers").start().await.unwrap_err();
        host.client("numbers").until_logged("no such group").await;
    })
    .await;
}

#[tokio::test]
async fn a_host_has_several_sessions_and_ends_those_that_are_managed() {
    on_one_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let start = world.attach("numbers", 1);
        let mounts =
            starts([("one", start.clone().managed()), ("two", start.clone().managed()), ("three", start)]);
        let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
        for mount in ["one", "two", "three"] {
            assert_eq!(
                host.add(Instance::only(mount), "hello", 1, Some(LIMIT)).await,
                Ok(1),
                "each has its own"
            );
        }
        world.until_sessions(3).await;
        host.client("one").cleanup_all().await.unwrap();
        world.until_sessions(1).await;
        assert_eq!(host.add(Instance::only("three"), "hello", 1, Some(LIMIT)).await, Ok(2));
    })
    .await;
}

/// What an auth method keeps.
async fn role(host: &BackendHost) -> serde_json::Value {
    host.read("logins", "role/reader").await.unwrap().data["user_claim"].clone()
}

#[tokio::test]
async fn an_auth_method_keeps_its_roles_whatever_becomes_of_its_container() {
    on_each_engine(|world| async move {
        controller(&world, jwt("jwt").attachable(&["root"]), "none").await;
        let seen = world.until_ready("jwt").await;
        let mounts = starts([("jwt", world.attach("jwt", 5))]);
        let Some(host) = BackendHost::start(&mounts, &HostOptions::default()) else { return };
        let before = world.left(None).await;
        host.enable("logins", "jwt", &[]).await.unwrap();
        let wanted = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"] });
        host.write("logins", "role/reader", &wanted).await.unwrap();

        world.kill_containers_of("jwt").await;
        assert_eq!(role(&host).await, "sub", "the first request after the kill");

        let seen = world.until_ready_again("jwt", &seen).await;
        world.declare(
            "plugin.yaml",
            &[jwt("jwt").with("/spec/env", json!({ "EDIT": "1" })).attachable(&["root"])],
        );
        world.until_ready_again("jwt", &seen).await;
        assert_eq!(role(&host).await, "sub", "after an update");

        host.cleanup("logins").await.unwrap();
        host.process().until_children(0).await;
        world.until_left(before, None).await;
    })
    .await;
}
