use serde_json::json;

use super::*;
use crate::container::{LogRotation, Resources, Security};

fn spec() -> ContainerSpec {
    ContainerSpec {
        image: "plugin:1".to_owned(),
        entrypoint: Vec::new(),
        args: Vec::new(),
        env: vec![("KEY".to_owned(), "a=b".to_owned())],
        labels: BTreeMap::new(),
        oci_runtime: "runsc".to_owned(),
        network: "host".to_owned(),
        resources: Resources::default(),
        binds: Vec::new(),
        log: LogRotation { max_size_bytes: 10, max_files: 0 },
        groups: Vec::new(),
        capabilities: Vec::new(),
        security: Security { no_new_privileges: false, ..Security::default() },
        tmpfs: Vec::new(),
        cgroup_parent: None,
    }
}

#[test]
fn what_is_not_asked_for_is_left_to_the_image_and_the_engine() {
    let body = serde_json::to_value(create_body(&spec())).unwrap();
    for absent in ["Entrypoint", "Cmd", "User", "WorkingDir"] {
        assert_eq!(body.get(absent), None, "{absent}");
    }
    for absent in ["Memory", "MemorySwap", "NanoCpus", "PidsLimit", "SecurityOpt", "CgroupParent"] {
        assert_eq!(body["HostConfig"].get(absent), None, "{absent}");
    }
    assert_eq!(body["Env"], json!(["KEY=a=b"]));
    assert_eq!(body["HostConfig"]["NetworkMode"], "host");
    assert_eq!(body["HostConfig"]["LogConfig"]["Config"]["max-file"], "1");
}

#[test]
fn a_limit_beyond_the_apis_numbers_is_its_largest() {
    let resources = Resources { memory_bytes: Some(u64::MAX), ..Resources::default() };
    let body = create_body(&ContainerSpec { resources, ..spec() });
    assert_eq!(body.host_config.unwrap().memory, Some(i64::MAX));
}

fn inspected(state: &serde_json::Value) -> Result<Container, Missing> {
    let answer = json!({
        "Id": "abc",
        "Name": "/one",
        "Image": "sha256:1",
        "Created": "2026-11-23T20:27:10.78293535Z",
        "Config": { "Labels": { "a": "b" } },
        "State": state,
    });
    container(serde_json::from_value(answer).unwrap())
}

fn seen(state: &serde_json::Value) -> ContainerState {
    inspected(state).ok().unwrap().state
}

#[test]
fn every_status_of_an_engine_has_its_state() {
    let never = "0001-01-01T00:00:00Z";
    let (started, finished) = ("2026-11-23T20:27:11Z", "2026-11-23T20:28:00Z");
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let created = json!({ "Status": "created", "Error": "", "StartedAt": never, "FinishedAt": never });
    assert_eq!(seen(&created), ContainerState::Created);

    let failed =
        json!({ "Status": "created", "Error": "no such file", "ExitCode": 127, "FinishedAt": never });
    let created_at = time("2026-11-23T20:27:10.78293535Z");
    let exit =
        Exit { code: 127, oom_killed: false, error: "no such file".to_owned(), finished_at: created_at };
    assert_eq!(seen(&failed), ContainerState::Exited(exit));

    for (status, paused) in [("running", false), ("paused", true), ("restarting", false), ("stopping", false)]
    {
        let state = json!({ "Status": status, "Pid": 7, "StartedAt": started, "FinishedAt": never });
        let running = ContainerState::Running { started_at: time(started), pid: 7, paused };
        assert_eq!(seen(&state), running, "{status}");
    }
    for status in ["exited", "dead"] {
        let state = json!({
            "Status": status, "ExitCode": 137, "OOMKilled": true, "StartedAt": started, "FinishedAt": finished,
        });
        let exit = Exit { code: 137, oom_killed: true, error: String::new(), finished_at: time(finished) };
        assert_eq!(seen(&state), ContainerState::Exited(exit), "{status}");
    }
    assert_eq!(seen(&json!({ "Status": "removing" })), ContainerState::Removing);
    assert!(inspected(&json!({ "Status": "running", "StartedAt": never })).is_err());
}

#[test]
fn a_linked_container_is_listed_by_its_own_name() {
    let summary = json!({ "Id": "abc", "Names": ["/other/alias", "/one"], "State": "dead" });
    let listed = listed(serde_json::from_value(summary).unwrap()).ok().unwrap();
    assert_eq!((listed.name.as_str(), listed.phase), ("one", Phase::Dead));
}

#[test]
fn the_rootless_mode_is_a_security_option() {
    let answer = |options: serde_json::Value| {
        let answer = json!({
            "ID": "X", "SystemTime": "2026-11-23T20:27:10.123456789+01:00", "SecurityOptions": options,
            "Runtimes": { "runsc": { "path": "x" }, "runc": { "path": "y" } }, "CgroupDriver": "none",
        });
        info(serde_json::from_value(answer).unwrap(), "1.41".to_owned()).ok().unwrap()
    };
    let rootless = answer(json!(["name=seccomp,profile=default", "name=rootless"]));
    assert!(rootless.rootless);
    assert_eq!(rootless.oci_runtimes, ["runc", "runsc"]);
    assert_eq!(rootless.cgroup_driver, "none");
    assert_eq!(rootless.time.to_string(), "2026-11-23T19:27:10.123456789Z");
    assert!(!answer(json!(["name=seccomp,profile=default"])).rootless);
}

#[test]
fn times_go_out_as_seconds_and_nanoseconds() {
    assert_eq!(unix_time("2023-11-14T22:13:20.000000007Z".parse().unwrap()), "1700000000.000000007");
    assert_eq!(unix_time(Timestamp::UNIX_EPOCH), "0.000000000");
}

fn measured(answer: &serde_json::Value) -> Option<Usage> {
    usage(serde_json::from_value(answer.clone()).unwrap())
}

#[test]
fn memory_is_without_what_is_cached_whatever_the_version_of_control_groups() {
    for inactive in
        [json!({ "inactive_file": 300 }), json!({ "total_inactive_file": 300, "inactive_file": 7 })]
    {
        let answer = json!({
            "read": "2026-11-27T11:38:37.351539332Z",
            "cpu_stats": { "cpu_usage": { "total_usage": 1_500_000 } },
            "memory_stats": { "usage": 1000, "stats": inactive },
            "pids_stats": { "current": 3 },
        });
        let expected = Usage { cpu: Some(Duration::from_micros(1500)), memory: Some(700), pids: Some(3) };
        assert_eq!(measured(&answer), Some(expected));
    }
}

#[test]
fn what_does_not_run_uses_nothing_that_could_be_told() {
    let nothing = json!({ "total_usage": 0 });
    let answer =
        json!({ "read": "0001-01-01T00:00:00Z", "cpu_stats": { "cpu_usage": nothing }, "memory_stats": {} });
    assert_eq!(measured(&answer), None);
}
