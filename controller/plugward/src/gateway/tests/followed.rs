//! Requests in the log.

use serde_json::Value;

use super::support::*;
use crate::telemetry::kept::KeptLog;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Keeps what this thread tells from now on, in the program's own form.
fn keep(log: &KeptLog) -> tracing::subscriber::DefaultGuard {
    let filter = tracing_subscriber::EnvFilter::new("info,plugward::requests=debug");
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone());
    tracing::subscriber::set_default(builder.json().flatten_event(true).finish())
}

/// The lines of this message.
fn told(log: &KeptLog, message: &str) -> Vec<Value> {
    let text = log.text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn a_request_that_waits_and_a_call_that_is_made_again_are_told_with_their_traces() {
    let log = KeptLog::default();
    let _kept = keep(&log);
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders").traced(PARENT);
    host.call("Initialize", "redis").await.unwrap();
    let connected = told(&log, "a request is over").len();
    host.call("Plain", "y").await.unwrap();
    assert_eq!(told(&log, "a request is over").len(), connected, "it was answered at once");
    world.kill(&first);
    let waiting = tokio::spawn({
        let mut host = host.clone();
        async move { host.call("Call", "x").await }
    });
    world.until_waiting(1).await;
    world.up(2);
    assert_eq!(limited(waiting).await.unwrap().unwrap(), "p2 redis x");

    // Where its first connection has just ended, it waits on the next.
    let (waits, again) =
        (told(&log, "a request waits for its plugin"), told(&log, "a priming call was made again"));
    assert!(!waits.is_empty() && !again.is_empty(), "{waits:?} {again:?}");
    for line in waits.iter().chain(&again) {
        assert_eq!(line["trace_id"], TRACE, "{line}");
    }
    let last = waits.last().unwrap();
    for (field, value) in [("instance", "db"), ("mount", "orders"), ("method", "/test.Plugin/Call")] {
        assert_eq!(last[field], value, "{last}");
    }
    eventually(|| told(&log, "a request is over").len() > connected).await;
    let over = told(&log, "a request is over").pop().unwrap();
    assert_eq!((&over["trace_id"], &over["outcome"]), (&TRACE.into(), &"Answered(Ok)".into()));
    assert!(over["waited"].as_f64().unwrap() > 0.0, "{over}");
}
