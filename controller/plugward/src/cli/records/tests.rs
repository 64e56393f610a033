use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::cli::golden;

fn now() -> Timestamp {
    "2026-11-27T10:00:00Z".parse().unwrap()
}

fn instance(name: &str, phase: &str, restarts: u64, age: i64) -> Value {
    json!({
        "kind": "PluginInstance",
        "metadata": { "name": name },
        "spec": {
            "plugin": { "type": "database", "name": "redis", "version": "v0.5.0" },
            "image": { "repository": "hashicorp/redis" },
            "runtime": "gvisor",
            "mounts": [{ "name": "eu" }, { "name": "us" }],
        },
        "status": {
            "phase": phase,
            "conditions": [{ "type": "Accepted", "lastTransitionTime": now() - SignedDuration::from_secs(age) }],
            "slots": [
                { "name": "shared", "containerName": "plugward-x", "restarts": restarts, "mounts": ["eu", "us"] },
                { "name": "spare-1", "restarts": 7 },
            ],
        },
    })
}

fn sorted(by: &str) -> Vec<String> {
    let mut objects = [
        instance("b", "Ready", 10, 7200),
        instance("a", "Starting", 9, 90),
        instance("c", "BackingOff", 0, 300),
    ];
    sort(Kind::PluginInstance, &mut objects, by, now()).unwrap();
    objects.iter().map(|object| text(object, "/metadata/name").to_owned()).collect()
}

#[test]
fn instances_and_runtimes_have_their_columns() {
    let instances = [instance("orders", "Ready", 1, 5), instance("billing", "BackingOff", 12, 7200)];
    let narrow = table(Kind::PluginInstance, false, &instances, now(), Colours::Off);
    let wide = table(Kind::PluginInstance, true, &instances, now(), Colours::Off);
    golden::check("get-instances.txt", &format!("{narrow}\n{wide}"));
    let runtimes = [json!({
        "metadata": { "name": "gvisor" },
        "spec": { "ociRuntime": "runsc" },
        "status": { "instances": 2, "engine": { "version": "28.0.1", "apiVersion": "1.48" } },
    })];
    let narrow = table(Kind::PluginRuntime, false, &runtimes, now(), Colours::Off);
    let wide = table(Kind::PluginRuntime, true, &runtimes, now(), Colours::Off);
    golden::check("get-runtimes.txt", &format!("{narrow}\n{wide}"));
}

#[test]
fn rows_are_sorted_by_a_column_or_a_path() {
    assert_eq!(sorted("name"), ["a", "b", "c"]);
    assert_eq!(sorted("RESTARTS"), ["c", "a", "b"]);
    assert_eq!(sorted("age"), ["a", "c", "b"]);
    assert_eq!(sorted(".status.phase"), ["c", "b", "a"]);
}

#[test]
fn an_unknown_column_is_told_with_the_known_ones() {
    let error = sort(Kind::PluginRuntime, &mut [], "phase", now()).unwrap_err().to_string();
    assert_eq!(
        error,
        "--sort-by phase: runtimes have no such column (use name, oci-runtime, reachable, instances, engine, \
         version, api, or a path like .metadata.name)"
    );
}

fn session(id: &str, instance: &str, status: &Value) -> Value {
    let created = now() - SignedDuration::from_secs(90);
    json!({
        "kind": "PluginSession",
        "metadata": { "name": id, "creationTimestamp": created },
        "spec": { "instance": instance },
        "status": status,
    })
}

#[test]
fn the_table_of_sessions() {
    let objects = [
        session(
            "k3x9q2ab",
            "orders",
            &json!({
                "phase": "Attached", "kind": "Shared", "slot": "shared", "user": "openbao", "uid": 998, "pid": 4711,
                "protocolVersion": 6, "tls": true, "brokerMultiplexing": false, "attachedAt": now(), "requests": 17,
            }),
        ),
        session(
            "w7mz44tq",
            "counter",
            &json!({
                "phase": "Starting", "uid": 1000, "pid": 99, "tls": false, "brokerMultiplexing": true, "requests": 0,
            }),
        ),
    ];
    let narrow = table(Resource::Session, false, &objects, now(), Colours::Off);
    let wide = table(Resource::Session, true, &objects, now(), Colours::Off);
    golden::check("get-sessions.txt", &format!("{narrow}\n{wide}"));
}
