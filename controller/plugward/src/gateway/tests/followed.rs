//! Requests in the log.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::support::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps what this thread tells from now on, in the program's own form.
    fn keep(&self) -> tracing::subscriber::DefaultGuard {
        let filter = tracing_subscriber::EnvFilter::new("info,plugward::requests=debug");
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(self.clone());
        tracing::subscriber::set_default(builder.json().flatten_event(true).finish())
    }

    /// The lines of this message.
    fn told(&self, message: &str) -> Vec<Value> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == message).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_request_that_waits_and_a_call_that_is_made_again_are_told_with_their_traces() {
    let log = Log::default();
    let _kept = log.keep();
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders").traced(PARENT);
    host.call("Initialize", "redis").await.unwrap();
    let connected = log.told("a request is over").len();
    host.call("Plain", "y").await.unwrap();
    assert_eq!(log.told("a request is over").len(), connected, "it was answered at once");
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
        (log.told("a request waits for its plugin"), log.told("a priming call was made again"));
    assert!(!waits.is_empty() && !again.is_empty(), "{waits:?} {again:?}");
    for line in waits.iter().chain(&again) {
        assert_eq!(line["trace_id"], TRACE, "{line}");
    }
    let last = waits.last().unwrap();
    for (field, value) in [("instance", "db"), ("mount", "orders"), ("method", "/test.Plugin/Call")] {
        assert_eq!(last[field], value, "{last}");
    }
    eventually(|| log.told("a request is over").len() > connected).await;
    let over = log.told("a request is over").pop().unwrap();
    assert_eq!((&over["trace_id"], &over["outcome"]), (&TRACE.into(), &"Answered(Ok)".into()));
    assert!(over["waited"].as_f64().unwrap() > 0.0, "{over}");
}
