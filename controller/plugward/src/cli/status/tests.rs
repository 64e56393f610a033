use serde_json::json;

use super::*;
use crate::cli::golden;

fn instance(name: &str, phase: &str, conditions: &Value) -> Value {
    json!({ "metadata": { "name": name }, "status": { "phase": phase, "conditions": conditions } })
}

fn screen(engines: &Value, instances: Vec<Value>, manifests: Value) -> Screen {
    Screen {
        cluster: "k3jd82ha".to_owned(),
        controller: json!({ "version": "0.1.0", "pid": 4711, "synced": true, "engines": engines }),
        instances,
        manifests,
        now: "2026-11-27T10:00:00Z".parse().unwrap(),
        colours: Colours::Off,
    }
}

fn up() -> Value {
    json!([{ "host": null, "state": "Up", "version": "28.0.1", "apiVersion": "1.48" }])
}

#[test]
fn where_all_is_well_nothing_is_wrong() {
    let instances = vec![
        instance("orders", "Ready", &json!([])),
        instance("billing", "Idle", &json!([])),
        instance(
            "second",
            "Starting",
            &json!([{ "type": "Ready", "status": "False", "reason": "Starting" }]),
        ),
    ];
    golden::check("status-well.txt", &screen(&up(), instances, json!({})).draw());
}

#[test]
fn what_is_wrong_is_told_with_the_next_step() {
    let engines = json!([
        { "host": null, "state": "Up", "version": "28.0.1", "apiVersion": "1.48" },
        {
            "host": "unix:///run/user/1000/docker.sock", "state": "Down", "since": "2026-11-27T09:55:00Z",
            "message": "cannot connect: connection refused",
        },
    ]);
    let instances = vec![
        instance("orders", "Ready", &json!([])),
        instance(
            "billing",
            "BackingOff",
            &json!([
                { "type": "Accepted", "status": "True", "reason": "Accepted", "message": "" },
                { "type": "Ready", "status": "False", "reason": "BackingOff", "message": "slot shared is over (exited)" },
                { "type": "Progressing", "status": "False", "reason": "BackingOff", "message": "the last container is over: exited: \u{1b}[31mpanic" },
            ]),
        ),
        instance(
            "audit",
            "Ready",
            &json!([
                { "type": "Accepted", "status": "False", "reason": "FileUnusable", "message": "cannot read /etc/audit.env" },
            ]),
        ),
    ];
    let manifests = json!({
        "directories": [{ "path": "/etc/plugward/manifests", "problem": null }],
        "files": [
            { "path": "/m/a.yaml", "problems": [] },
            { "path": "/m/b.yaml", "problems": ["/m/b.yaml:9:3: spec.mounts: is empty", "/m/b.yaml:25:3: there is no field"] },
        ],
    });
    golden::check("status-wrong.txt", &screen(&engines, instances, manifests).draw());
}

#[test]
fn a_thousand_problems_are_one_screen() {
    let instances =
        (0..1000).map(|number| instance(&format!("i{number}"), "BackingOff", &json!([]))).collect();
    let text = screen(&up(), instances, json!({})).draw();
    assert!(text.lines().count() < 30, "{text}");
    assert!(text.contains("and 990 more"), "{text}");
}
