use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;

use super::Bench;
use crate::container::{ContainerId, ContainerSpec, ContainerState, LogRotation};
use crate::error::{ErrorKind, Operation};
use crate::log::{LogChannel, LogChunk, LogQuery};

const ALL: LogQuery =
    LogQuery { follow: false, tail: None, since: None, stamped: false, stdout: true, stderr: true };
const FOLLOW: LogQuery = LogQuery { follow: true, ..ALL };

/// A whole log: standard output and standard error.
pub(super) async fn read(bench: &Bench, id: &ContainerId, query: LogQuery) -> (Vec<u8>, Vec<u8>) {
    let mut chunks = bench.engine.logs(id, query).await.unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        match chunk.channel {
            LogChannel::Stdout => stdout.extend(chunk.bytes),
            LogChannel::Stderr => stderr.extend(chunk.bytes),
        }
    }
    (stdout, stderr)
}

async fn pieces(bench: &Bench, id: &ContainerId, query: LogQuery) -> Vec<LogChunk> {
    bench.engine.logs(id, query).await.unwrap().map(Result::unwrap).collect().await
}

/// Waits until a container has written something to standard output.
pub(super) async fn wait_for(bench: &Bench, id: &ContainerId, part: &[u8]) {
    let mut chunks = bench.engine.logs(id, FOLLOW).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(part.len()).any(|window| window == part) {
        seen.extend(chunks.next().await.unwrap().unwrap().bytes);
    }
}

async fn ended(bench: &Bench, args: &[&str]) -> ContainerId {
    let id = bench.started("one", args).await;
    bench.exit(&id).await;
    id
}

pub(super) async fn channels_are_kept_apart(bench: Bench) {
    let id = ended(&bench, &["write", "to out\n", "to err\n"]).await;
    let both = (b"to out\n".to_vec(), b"to err\n".to_vec());
    assert_eq!(read(&bench, &id, ALL).await, both);
    let stdout = LogQuery { stderr: false, ..ALL };
    assert_eq!(read(&bench, &id, stdout).await, (both.0, vec![]));
    let stderr = LogQuery { stdout: false, ..ALL };
    assert_eq!(read(&bench, &id, stderr).await, (vec![], both.1));
}

pub(super) async fn following_goes_on_to_the_end_of_the_container(bench: Bench) {
    let id = bench.started("one", &["write", "last words\n", ""]).await;
    assert_eq!(read(&bench, &id, FOLLOW).await.0, b"last words\n");
    bench.exit(&id).await;
    // It has ended already: following is reading.
    assert_eq!(read(&bench, &id, FOLLOW).await.0, b"last words\n");
    let deaf = bench.started("two", &["sleep"]).await;
    let mut chunks = bench.engine.logs(&deaf, FOLLOW).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), chunks.next()).await.is_err());
    bench.engine.kill(&deaf).await.unwrap();
    assert!(chunks.next().await.is_none());
}

pub(super) async fn following_shows_what_is_written_while_the_process_lives(bench: Bench) {
    let id = bench.started("one", &["heed", "0"]).await;
    wait_for(&bench, &id, b"ready\n").await;
    let state = bench.inspect(&id).await.state;
    assert!(matches!(state, ContainerState::Running { .. }), "{state:?}");
}

pub(super) async fn an_unfinished_last_line_comes_as_it_is(bench: Bench) {
    let id = ended(&bench, &["write", "one\ntwo", "three"]).await;
    assert_eq!(read(&bench, &id, ALL).await, (b"one\ntwo".to_vec(), b"three".to_vec()));
}

pub(super) async fn only_the_last_lines_are_read_on_demand(bench: Bench) {
    let id = ended(&bench, &["flood", "100"]).await;
    for lines in [0, 1, 7, 100, 1000] {
        let (stdout, _) = read(&bench, &id, LogQuery { tail: Some(lines), ..ALL }).await;
        assert_eq!(stdout.len(), 64 * lines.min(100) as usize, "the last {lines}");
    }
    let (last, _) = read(&bench, &id, LogQuery { tail: Some(1), ..ALL }).await;
    assert!(last.starts_with(b"00000099"), "{:?}", String::from_utf8_lossy(&last));
}

pub(super) async fn pieces_are_stamped_and_read_from_a_time_on(bench: Bench) {
    let id = bench.started("one", &["flood", "3"]).await;
    bench.exit(&id).await;
    let stamped = LogQuery { stamped: true, ..ALL };
    let lines = pieces(&bench, &id, stamped).await;
    let times: Vec<Timestamp> = lines.iter().map(|line| line.at.unwrap()).collect();
    assert!(times.len() == 3 && times.is_sorted(), "{times:?}");
    assert!(lines.iter().all(|line| line.bytes.len() == 64), "the time is no part of a line");
    let (started_at, now) = (bench.inspect(&id).await.created_at, bench.engine.info().await.unwrap().time);
    assert!(times.iter().all(|at| (started_at..=now).contains(at)), "{started_at} {times:?} {now}");

    // To the nanosecond: whoever has read up to a line goes on after it.
    let from = |at: Timestamp| LogQuery { since: Some(at), ..stamped };
    let distinct: BTreeSet<Timestamp> = times.iter().copied().collect();
    for at in distinct {
        let read = pieces(&bench, &id, from(at)).await;
        let expected: Vec<LogChunk> = lines.iter().filter(|line| line.at >= Some(at)).cloned().collect();
        assert_eq!(read, expected, "from {at} on");
        let follow = LogQuery { follow: true, ..from(at) };
        assert_eq!(pieces(&bench, &id, follow).await, expected, "followed from {at} on");
    }
    let last = *times.last().unwrap();
    assert_eq!(pieces(&bench, &id, from(last + Duration::from_nanos(1))).await, []);
    let unstamped = LogQuery { stamped: false, ..from(last) };
    assert!(pieces(&bench, &id, unstamped).await.iter().all(|line| line.at.is_none()));
    let both = LogQuery { tail: Some(1), ..from(times[0]) };
    assert_eq!(pieces(&bench, &id, both).await, lines[2..]);
}

pub(super) async fn a_stamped_line_of_any_length_comes_whole(bench: Bench) {
    // Longer than what an engine takes for one piece.
    let line = "x".repeat(40 << 10);
    let id = ended(&bench, &["write", &format!("{line}\n"), ""]).await;
    let pieces = pieces(&bench, &id, LogQuery { stamped: true, ..ALL }).await;
    assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.at.is_some()), "{}", pieces.len());
    assert_eq!(
        pieces.iter().flat_map(|piece| piece.bytes.clone()).collect::<Vec<_>>(),
        format!("{line}\n").as_bytes()
    );
}

pub(super) async fn large_output_comes_whole(bench: Bench) {
    /// 2 MiB.
    const LINES: usize = 32 * 1024;
    let id = ended(&bench, &["flood", &LINES.to_string()]).await;
    let (stdout, _) = read(&bench, &id, ALL).await;
    assert_eq!(stdout.len(), LINES * 64);
    for (number, line) in stdout.chunks(64).enumerate() {
        assert_eq!(&line[..8], format!("{number:08}").as_bytes());
    }
}

pub(super) async fn a_log_is_bounded_by_its_rotation(bench: Bench) {
    /// 2 MiB, to a log of 128 KiB.
    const LINES: usize = 32 * 1024;
    let mut spec: ContainerSpec = bench.spec(&["flood", &LINES.to_string()]);
    spec.log = LogRotation { max_size_bytes: 64 << 10, max_files: 2 };
    let id = bench.create("one", &spec).await;
    bench.engine.start(&id).await.unwrap();
    bench.exit(&id).await;
    let (stdout, _) = read(&bench, &id, ALL).await;
    assert!(!stdout.is_empty() && stdout.len() <= 128 << 10, "{}", stdout.len());
    let last = format!("{:08}", LINES - 1);
    assert!(stdout[stdout.len() - 64..].starts_with(last.as_bytes()), "the newest are kept");
}

pub(super) async fn there_is_no_log_of_an_absent_container(bench: Bench) {
    let absent = ContainerId::new(bench.name("absent"));
    let error = bench.engine.logs(&absent, FOLLOW).await.map(drop).unwrap_err();
    assert_eq!((error.operation, error.kind), (Operation::Logs, ErrorKind::NotFound), "{error}");
    let id = bench.create("one", &bench.spec(&["sleep"])).await;
    let neither = LogQuery { stdout: false, stderr: false, ..ALL };
    let error = bench.engine.logs(&id, neither).await.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
}
