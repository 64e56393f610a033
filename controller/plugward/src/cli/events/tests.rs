use std::slice::from_ref;

use super::*;
use crate::cli::golden;

fn now() -> Timestamp {
    "2026-11-27T10:00:00Z".parse().unwrap()
}

fn event(kind: &str, reason: &str, message: &str, count: u64, at: &str) -> Value {
    json!({
        "type": kind, "reason": reason, "message": message, "count": count,
        "firstSeen": "2026-11-27T09:00:00Z", "lastSeen": format!("2026-11-27T{at}Z"),
    })
}

fn instance(name: &str, events: &[Value]) -> Value {
    json!({ "metadata": { "name": name }, "status": { "events": events } })
}

#[test]
fn events_are_shown_as_kubectl_does() {
    let objects = [
        instance(
            "orders",
            &[
                event("Normal", "Started", "started container plugward-orders-shared-kunhn", 1, "09:57:30"),
                event("Warning", "ContainerEnded", "the container ended with code 137", 3, "09:59:55"),
            ],
        ),
        instance("billing", &[event("Normal", "Ready", "ready\u{1b}[2J", 1, "09:58:00")]),
    ];
    let mut found: Vec<Value> = objects.iter().flat_map(events).collect();
    found.sort_by_key(|event| time(event, "/lastSeen"));
    golden::check("events.txt", &table(&found, now(), Colours::Off));
}

#[test]
fn what_is_shown_already_is_not_new() {
    let started = event("Normal", "Started", "started", 1, "09:57:30");
    let ended = event("Warning", "ContainerEnded", "ended", 1, "09:58:00");
    let again = event("Warning", "ContainerEnded", "ended", 2, "09:59:00");
    let first = events(&instance("orders", from_ref(&started)));
    let mut following = Shown::new(Output::Table, &first, Colours::Off);
    let mut lines = |events: &[Value]| {
        let change = json!({ "type": "MODIFIED", "object": instance("orders", events) });
        following.change(&change, now())
    };
    assert_eq!(lines(from_ref(&started)), "");
    let told = lines(&[started.clone(), ended]);
    assert_eq!(
        told.split_whitespace().collect::<Vec<_>>(),
        ["2m", "Warning", "ContainerEnded", "instance/orders", "ended", "1"]
    );
    assert!(lines(&[started.clone(), again.clone()]).ends_with("2\n"));
    assert_eq!(lines(&[again]), "");
}

#[test]
fn an_object_is_an_instance() {
    assert_eq!(object("instance/orders").unwrap().as_str(), "orders");
    assert_eq!(object("pi/orders").unwrap().as_str(), "orders");
    assert!(object("orders").unwrap_err().contains("write it like instance/orders"));
    assert!(object("runtime/gvisor").unwrap_err().contains("runtimes have no events"));
    assert!(object("instance/Orders").unwrap_err().contains("is no instance"));
}
