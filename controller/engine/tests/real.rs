//! Real engines keep the contract, and show what the twin cannot.
//!
//! Engines are named by `PLUGWARD_TEST_ENGINES`, `name=unix:///path` separated by spaces (`hack/engine NAME up`
//! starts some). Without it these tests say so and pass; with `PLUGWARD_REQUIRE_ALL=1` they fail instead.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use plugward_engine::container::{Bind, LogRotation, Resources, Seccomp, Security};
use plugward_engine::contract::{self, Harness};
use plugward_engine::{
    ContainerSpec, ContainerState, EventKind, FileKind, LogQuery, Removed, Started, Stopped,
};
use serde_json::json;
use support::{engines, labels, on_each_engine};

#[tokio::test(flavor = "multi_thread")]
async fn real_engines_keep_the_contract() {
    for engine in engines().await {
        let name = engine.name.clone();
        let engine = Arc::new(engine);
        let failures = contract::run(Arc::clone(&engine) as Arc<dyn Harness>).await;
        assert!(failures.is_empty(), "{name}: {failures:#?}");
        let info = engine.engine().info().await.unwrap();
        eprintln!(
            "{name}: {} cases of the contract hold (Docker Engine {}, API {})",
            contract::names().len(),
            info.version,
            info.api_version
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specification_arrives_as_settings_of_the_container() {
    on_each_engine("settings", |engine| async move {
        let directory = engine.directory();
        let spec = ContainerSpec {
            resources: Resources {
                nano_cpus: Some(250_000_000),
                memory_bytes: Some(64 << 20),
                pids: Some(33),
            },
            binds: vec![Bind { source: directory.clone(), target: "/bound".into() }],
            log: LogRotation { max_size_bytes: 12345, max_files: 3 },
            groups: vec![7],
            capabilities: vec!["IPC_LOCK".to_owned()],
            security: Security {
                no_new_privileges: true,
                read_only_root: true,
                seccomp: Seccomp::Profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#.to_owned()),
            },
            tmpfs: vec!["/tmp".into()],
            cgroup_parent: Some("/plugins".to_owned()),
            ..engine.spec("settings", &["sleep"])
        };
        let id = engine.created("settings", &spec).await;
        let (status, seen) = engine.api("GET", &format!("/containers/{}/json", id.as_str()), None).await;
        assert_eq!(status, 200);
        let host = &seen["HostConfig"];
        let expected = json!({
            "AutoRemove": false,
            "Init": false,
            "Memory": 64 << 20,
            "MemorySwap": 64 << 20,
            "NanoCpus": 250_000_000,
            "NetworkMode": "none",
            "PidsLimit": 33,
            "Privileged": false,
            "ReadonlyRootfs": true,
            "Runtime": "runc",
            "GroupAdd": ["7"],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#],
            "Tmpfs": { "/tmp": "mode=1777" },
            "CgroupParent": "/plugins",
            "LogConfig": { "Type": "json-file", "Config": { "max-size": "12345", "max-file": "3" } },
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&host[key], value, "{key}");
        }
        assert_eq!(host["RestartPolicy"]["Name"], "no");
        let added = host["CapAdd"][0].as_str().unwrap();
        assert!(["IPC_LOCK", "CAP_IPC_LOCK"].contains(&added), "{added}");
        let mount = &seen["Mounts"][0];
        assert_eq!(
            (&mount["Type"], &mount["Source"], &mount["RW"], &mount["Propagation"]),
            (&json!("bind"), &json!(directory), &json!(true), &json!("rprivate"))
        );
        assert_eq!(seen["Config"]["StopSignal"], "SIGTERM");
        assert_eq!(seen["Config"]["Tty"], false);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_capabilities_of_a_program_are_read_though_it_never_ran() {
    on_each_engine("capabilities", |engine| async move {
        let id = engine.created("capabilities", &engine.spec("capabilities", &["sleep"])).await;
        let path = format!("/containers/{}/archive?path=/", id.as_str());
        assert_eq!(engine.api("PUT", &path, Some(able_archive())).await.0, 200);
        let file = engine.engine().read(&id, Path::new("/able"), 2).await.unwrap().unwrap();
        assert_eq!((file.kind, file.mode, &file.content[..]), (FileKind::Regular, 0o755, &b"#!"[..]));
        let capability = file.capability.unwrap();
        // On a rootless engine the kernel adds whose they are.
        assert_eq!(capability[4..8], ABLE[4..8], "{capability:?}");
        let program = engine.engine().read(&id, Path::new("/program"), 4).await.unwrap().unwrap();
        assert_eq!((&program.content[..], program.capability), (&b"\x7fELF"[..], None));
    })
    .await;
}

/// The capability to lock memory, permitted and in effect, as the kernel has it.
const ABLE: [u8; 20] = [1, 0, 0, 2, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An archive with a program in it that has this capability.
fn able_archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_pax_extensions([("SCHILY.xattr.security.capability", &ABLE[..])]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(3);
    header.set_mode(0o755);
    archive.append_data(&mut header, "able", &b"#!/"[..]).unwrap();
    archive.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agreed_version_is_the_newest_that_both_speak() {
    for engine in engines().await {
        let (_, theirs) = engine.api("GET", "/version", None).await;
        let minor = |version: &str| version.split_once('.').unwrap().1.parse::<u32>().unwrap();
        let newest = minor(theirs["ApiVersion"].as_str().unwrap());
        let agreed = engine.engine().info().await.unwrap().api_version;
        assert_eq!(minor(&agreed), newest.min(53), "{}", engine.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_runtime_of_an_engine_runs_a_whole_life() {
    on_each_engine("runtimes", |engine| async move {
        let port = engine.engine();
        let runtimes = port.info().await.unwrap().oci_runtimes;
        // Others are names that engines give to the shims of these.
        let runtimes: Vec<_> = runtimes.into_iter().filter(|name| !name.contains('.')).collect();
        assert!(runtimes.iter().any(|name| name == "runc"), "{runtimes:?}");
        for oci_runtime in &runtimes {
            let spec =
                ContainerSpec { oci_runtime: oci_runtime.clone(), ..engine.spec("runtimes", &["heed", "6"]) };
            let id = engine.created("runtimes", &spec).await;
            assert_eq!(port.start(&id).await, Ok(Started::Started), "{oci_runtime}");
            let query = LogQuery { follow: true, stdout: true, ..LogQuery::default() };
            let first = port.logs(&id, query).await.unwrap().next().await.unwrap().unwrap();
            assert_eq!(first.bytes, b"ready\n", "{oci_runtime}");
            assert_eq!(port.stop(&id, Duration::from_mins(1)).await, Ok(Stopped::Stopped), "{oci_runtime}");
            let state = port.inspect(id.as_str()).await.unwrap().unwrap().state;
            assert!(
                matches!(&state, ContainerState::Exited(exit) if exit.code == 6),
                "{oci_runtime}: {state:?}"
            );
            assert_eq!(port.remove(&id).await, Ok(Removed::Removed), "{oci_runtime}");
        }
        eprintln!("{}: a life under each of {runtimes:?}", engine.name);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_is_seen_as_such_and_told_of() {
    on_each_engine("paused", |engine| async move {
        let port = engine.engine();
        if port.info().await.unwrap().rootless {
            // Without cgroups nothing can be frozen.
            return;
        }
        let mut events = port.events(&labels("paused"), port.info().await.unwrap().time).await.unwrap();
        let id = engine.started("paused", &["sleep"]).await;
        let (status, _) = engine.api("POST", &format!("/containers/{}/pause", id.as_str()), None).await;
        assert_eq!(status, 204);
        let container = port.inspect(id.as_str()).await.unwrap().unwrap();
        assert!(matches!(container.state, ContainerState::Running { paused: true, .. }), "{container:?}");
        let mut actions = Vec::new();
        while !actions.contains(&"pause".to_owned()) {
            if let EventKind::Container { action, .. } = events.next().await.unwrap().unwrap().kind {
                actions.push(action);
            }
        }
        assert_eq!(actions, ["create", "start", "pause"]);
        assert_eq!(port.kill(&id).await, Ok(Stopped::Stopped), "frozen processes are killed, too");
    })
    .await;
}
