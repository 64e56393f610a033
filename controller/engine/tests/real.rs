//! Real engines keep the contract, and show what the twin cannot.
//!
//! Engines are named by `PLUGWARD_TEST_ENGINES`, `name=unix:///path` separated by spaces (`hack/engine NAME up` starts some).
//! Without it these tests say so and pass; with `PLUGWARD_REQUIRE_ALL=1` they fail instead.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use plugward_engine::container::{Bind, LogRotation, Resources};
use plugward_engine::contract::{self, Harness};
use plugward_engine::{
    ContainerSpec, Created, DockerEngine, Engine, EngineInfo, ErrorKind, EventKind, LogQuery, Started,
};
use serde_json::json;
use support::{engines, labels};

#[tokio::test(flavor = "multi_thread")]
async fn real_engines_keep_the_contract() {
    for engine in engines().await {
        let name = engine.name.clone();
        let engine = Arc::new(engine);
        let failures = contract::run(Arc::clone(&engine) as Arc<dyn Harness>).await;
        assert!(failures.is_empty(), "{name}: {failures:#?}");
        let cases = contract::names().len();
        eprintln!(
            "{name}: {cases} cases of the contract hold ({})",
            describe(&engine.engine().info().await.unwrap())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specification_arrives_as_settings_of_the_container() {
    for engine in engines().await {
        let directory = engine.directory();
        let spec = ContainerSpec {
            image: engine.image().to_owned(),
            entrypoint: vec![],
            args: vec!["sleep".to_owned()],
            env: vec![("A".to_owned(), "b".to_owned())],
            labels: BTreeMap::from([("dev.plugward.contract".to_owned(), "settings".to_owned())]),
            oci_runtime: "runc".to_owned(),
            network: "none".to_owned(),
            resources: Resources {
                nano_cpus: Some(250_000_000),
                memory_bytes: Some(64 << 20),
                pids: Some(33),
            },
            binds: vec![Bind { source: directory.clone(), target: "/bound".into() }],
            log: LogRotation { max_size_bytes: 12345, max_files: 3 },
            groups: vec![7],
            capabilities: vec!["IPC_LOCK".to_owned()],
            no_new_privileges: true,
            read_only_root: true,
        };
        let name = format!("contract-settings-{}", std::process::id());
        let Created::Created { id, warnings } = engine.engine().create(&name, &spec).await.unwrap() else {
            panic!("{name} exists");
        };
        let (status, seen) = engine.api("GET", &format!("/containers/{}/json", id.as_str()), None).await;
        engine.engine().remove(&id).await.unwrap();
        assert_eq!(status, 200);
        assert_eq!(warnings, Vec::<String>::new(), "{}", engine.name);
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
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": { "Type": "json-file", "Config": { "max-size": "12345", "max-file": "3" } },
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&host[key], value, "{}: {key}", engine.name);
        }
        assert_eq!(host["RestartPolicy"]["Name"], "no");
        assert!(
            ["IPC_LOCK", "CAP_IPC_LOCK"].contains(&host["CapAdd"][0].as_str().unwrap()),
            "{}",
            host["CapAdd"]
        );
        let mount = &seen["Mounts"][0];
        assert_eq!(
            (&mount["Type"], &mount["Source"], &mount["RW"], &mount["Propagation"]),
            (&json!("bind"), &json!(directory), &json!(true), &json!("rprivate"))
        );
        assert_eq!(seen["Config"]["StopSignal"], "SIGTERM");
        assert_eq!(seen["Config"]["Tty"], false);
    }
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
async fn a_paused_container_is_seen_as_such_and_told_of() {
    use plugward_engine::ContainerState;
    for engine in engines().await {
        let port = engine.engine();
        let labels = labels("paused");
        let mut events = port.events(&labels, port.info().await.unwrap().time).await.unwrap();
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
        port.remove(&id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_be_followed_by_many_without_a_connection_left_behind() {
    for engine in engines().await {
        let port = engine.engine();
        let id = engine.started("followed", &["heed", "0"]).await;
        let before = open_sockets();
        for _ in 0..20 {
            let query = LogQuery { follow: true, stdout: true, ..LogQuery::default() };
            let mut log = port.logs(&id, query).await.unwrap();
            assert_eq!(log.next().await.unwrap().unwrap().bytes, b"ready\n");
        }
        support::eventually("dropped streams close their connections", || open_sockets() <= before + 2).await;
        assert_eq!(port.start(&id).await.unwrap(), Started::AlreadyStarted);
        port.remove(&id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_engine_is_told_from_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.sock");
    let engine = DockerEngine::new(support::address(&format!("unix://{}", path.display())));
    let error = engine.info().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("d.sock"), "{error}");
}

fn describe(info: &EngineInfo) -> String {
    format!("Docker Engine {}, API {}", info.version, info.api_version)
}

/// The sockets that this process holds.
fn open_sockets() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}
