use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use plugward_engine::{EngineError, ErrorKind, LogChannel, Operation};
use serde_json::Value;
use tokio::time::timeout;

use super::merge::Merged;
use super::*;

fn line(second: i64, text: &str) -> LogLine {
    let at = Timestamp::from_second(second).unwrap();
    LogLine { at, stream: LogChannel::Stderr, text: text.to_owned() }
}

fn broken() -> Result<LogLine, EngineError> {
    Err(EngineError {
        operation: Operation::Logs,
        subject: "orders".to_owned(),
        kind: ErrorKind::Unreachable,
        message: "the log broke off".to_owned(),
    })
}

async fn merged(logs: Vec<(u32, Vec<Result<LogLine, EngineError>>)>) -> Vec<String> {
    let logs = logs.into_iter().map(|(slot, lines)| (SlotName::Spare(slot), stream::iter(lines).boxed()));
    let mut merged = Merged::new(logs.collect());
    let mut told = Vec::new();
    while let Some((slot, line)) = merged.next().await {
        told.push(format!("{slot} {}", line.map_or_else(|error| error.message, |line| line.text)));
    }
    told
}

#[tokio::test]
async fn logs_are_told_in_order_of_time_and_each_in_its_own_order() {
    let one = vec![Ok(line(1, "a")), Ok(line(4, "d")), Ok(line(3, "late"))];
    let two = vec![Ok(line(2, "b")), Ok(line(2, "c")), Ok(line(5, "e"))];
    let told = merged(vec![(1, one), (2, two), (3, vec![])]).await;
    assert_eq!(told, ["spare-1 a", "spare-2 b", "spare-2 c", "spare-1 d", "spare-1 late", "spare-2 e"]);
}

#[tokio::test]
async fn a_log_that_breaks_off_ends_and_the_others_go_on() {
    let told =
        merged(vec![(1, vec![Ok(line(1, "a")), broken(), Ok(line(2, "x"))]), (2, vec![Ok(line(3, "b"))])])
            .await;
    assert_eq!(told, ["spare-1 a", "spare-1 the log broke off", "spare-2 b"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_holds_up_the_reading_and_nothing_more_is_read() {
    let (lines, mut body) = mpsc::channel(LINES_WAITING);
    let teller = Teller(lines);
    let writing = tokio::spawn(async move {
        for number in 0.. {
            let message = number.to_string();
            if teller.tell(Told::Note { message }).await.is_err() {
                return number;
            }
        }
        0
    });
    assert!(timeout(Duration::from_secs(60), std::future::pending::<()>()).await.is_err());
    let first: Value = serde_json::from_slice(&body.recv().await.unwrap()).unwrap();
    assert_eq!((&first["type"], &first["message"]), (&json!("NOTE"), &json!("0")));
    drop(body);
    let told = writing.await.unwrap();
    assert!(told <= LINES_WAITING + 1, "{told}");
}
