//! Calls that pass.

use super::*;

#[test]
fn a_call_passes_with_what_was_set() {
    let mut bench = Bench::bound();
    bench.request_with(1, "/a/b", &[("id", "theirs"), ("x", "y")], false);
    bench.host.next.data(1, b"question", true);
    assert_eq!(bench.host(), []);
    let seen = bench.plugin_reads();
    assert_eq!(field(&seen[0], ":scheme"), Some("https"));
    assert_eq!(field(&seen[0], "id"), Some("7"));
    assert_eq!(field(&seen[0], "x"), Some("y"));
    assert_eq!(seen[1..], [data(1, b"question", true)]);

    bench.answer(1);
    bench.plugin.next.data(1, b"\0\0\0\0\x01x", false);
    bench.trailers(1);
    assert_eq!(bench.plugin(), []);
    let seen = bench.host_reads();
    assert_eq!(field(&seen[0], ":status"), Some("200"));
    assert_eq!(seen[1], data(1, b"\0\0\0\0\x01x", false));
    assert_eq!(field(&seen[2], "grpc-status"), Some("0"));
    assert_eq!(bench.ended(), [("/a/b".into(), Outcome::Answered(Code::Ok))]);
    assert_eq!(bench.connection.calls(), 0);
}

#[test]
fn the_first_block_of_each_direction_says_that_no_table_is_used() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.request(3, "/a", true);
    let bytes = bench.host.next.chunk().to_vec();
    bench.host.next.advance(bytes.len());
    bench.connection.host_read(bench.now, &bytes);
    let mut rest = bench.connection.to_plugin();
    let mut reader = Reader::default();
    let first = reader.next(&mut rest).unwrap().unwrap().payload[0];
    let second = reader.next(&mut rest).unwrap().unwrap().payload[0];
    assert_eq!((first, second == 0x20), (0x20, false));
    bench.plugin_reads();
    bench.answer(1);
    let bytes = bench.plugin.next.chunk().to_vec();
    bench.plugin.next.advance(bytes.len());
    bench.connection.plugin_read(bench.now, &bytes);
    let mut rest = bench.connection.to_host();
    assert_eq!(reader.next(&mut rest).unwrap().unwrap().payload[0], 0x20);
}

#[test]
fn a_header_block_in_pieces_passes_as_one() {
    let mut bench = Bench::bound();
    let big = "x".repeat(40_000);
    bench.request_with(1, "/a", &[("big", &big)], true);
    bench.host();
    assert_eq!(field(&bench.plugin_reads()[0], "big"), Some(big.as_str()));
}

#[test]
fn an_informational_answer_is_not_the_answer() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.host();
    bench.plugin.next.headers(1, &block(&[(":status", "103")]), false);
    bench.answer(1);
    bench.trailers(1);
    bench.plugin();
    let seen = bench.host_reads();
    let statuses: Vec<_> = seen.iter().map(|out| field(out, ":status")).collect();
    assert_eq!(statuses, [Some("103"), Some("200"), None]);
    assert_eq!(bench.ended(), [("/a".into(), Outcome::Answered(Code::Ok))]);
}

#[test]
fn trailers_of_a_request_pass() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", false);
    bench.host.next.data(1, b"x", false);
    bench.host.next.headers(1, &block(&[("t", "1")]), true);
    bench.host();
    let seen = bench.plugin_reads();
    assert_eq!(seen[1], data(1, b"x", false));
    assert!(
        matches!(&seen[2], Out::Headers { end: true, fields, .. } if fields == &[("t".into(), "1".into())])
    );
}

#[test]
fn a_reset_passes_both_ways_and_what_is_late_is_dropped() {
    let mut bench = Bench::bound();
    bench.request(1, "/host", false);
    bench.request(3, "/plugin", false);
    bench.host();
    bench.plugin_reads();
    bench.host.next.reset(1, ErrorCode::CANCEL);
    bench.host();
    assert_eq!(bench.plugin_reads(), [Out::Reset(1, ErrorCode::CANCEL)]);
    bench.answer(1);
    bench.plugin.next.data(1, b"late", false);
    bench.trailers(1);
    // Not in the table of any peer: later blocks still stand.
    bench.plugin.next.reset(3, ErrorCode(2));
    assert_eq!(bench.plugin(), [Out::Credit(0, 4)]);
    assert_eq!(bench.host_reads(), [Out::Reset(3, ErrorCode(2))]);
    bench.host.next.data(3, b"late", true);
    assert_eq!(bench.host(), [Out::Credit(0, 4)]);
    assert_eq!(bench.plugin_reads(), []);
    let outcomes = bench.ended();
    assert_eq!(outcomes[0], ("/host".into(), Outcome::Cancelled(ErrorCode::CANCEL)));
    assert_eq!(outcomes[1], ("/plugin".into(), Outcome::Reset(ErrorCode(2))));
    assert_eq!(bench.violated(), []);
}

#[test]
fn an_answer_before_the_end_of_the_request_is_whole_before_its_reset() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", false);
    bench.host();
    bench.plugin_reads();
    bench.plugin.next.headers(1, &block(&[(":status", "200"), ("grpc-status", "5")]), true);
    bench.plugin.next.reset(1, ErrorCode::NO_ERROR);
    bench.plugin();
    let seen = bench.host_reads();
    assert!(is_status(&seen[0], 1, Code::NotFound));
    assert_eq!(seen[1..], [Out::Reset(1, ErrorCode::NO_ERROR)]);
    assert_eq!(bench.ended(), [("/a".into(), Outcome::Answered(Code::NotFound))]);
}

#[test]
fn pings_are_answered_here() {
    let mut bench = Bench::bound();
    bench.host.next.ping(b"12345678", false);
    assert_eq!(bench.host(), [Out::Pong(b"12345678".to_vec())]);
    bench.plugin.next.ping(b"abcdefgh", false);
    assert_eq!(bench.plugin(), [Out::Pong(b"abcdefgh".to_vec())]);
    assert_eq!(bench.host_reads(), []);
}

#[test]
fn the_program_answers_without_the_plugin() {
    let mut bench = Bench::new();
    bench.request(1, "/no", true);
    bench.request(3, "/no", false);
    let seen = bench.host();
    assert!(is_status(&seen[0], 1, Code::FailedPrecondition));
    assert!(is_status(&seen[1], 3, Code::FailedPrecondition));
    assert_eq!(seen[2..], [Out::Reset(3, ErrorCode::NO_ERROR)]);
    assert!(!bench.connection.wants_plugin());
}

#[test]
fn the_program_hears_a_message_before_the_calls_that_come_after_it() {
    let mut bench = Bench::bound();
    bench.request(1, "/own", false);
    bench.request(3, "/a", true);
    bench.host.next.data(1, b"\0\0\0\0\x02hi\0\0\0\0\x03", false);
    bench.host.next.data(1, b"you", false);
    bench.request(5, "/b", true);
    bench.host();
    // Each once, though the first was not taken when the second came.
    let heard = &bench.connection.policy().heard;
    assert_eq!(*heard, [(b"hi".to_vec(), 1), (b"you".to_vec(), 1)]);
    assert_eq!(bench.connection.policy().forwarded, ["/a", "/b"]);
}

#[test]
fn the_program_serves_a_stream_within_the_hosts_windows() {
    let mut bench = Bench::new();
    bench.request(1, "/own", false);
    bench.host.next.data(1, b"\0\0\0\0\x02hi", false);
    let seen = bench.host();
    assert_eq!(field(&seen[0], "content-type"), Some("application/grpc"));
    assert_eq!(bench.connection.opened().unwrap().0, 1);
    assert!(bench.connection.opened().is_none());
    assert_eq!(bench.connection.receive(1), crate::Received::Message("hi".into()));
    assert_eq!(bench.connection.receive(1), crate::Received::Nothing);
    assert_eq!(bench.host_reads(), [Out::Credit(1, 7)]);
    assert!(!bench.connection.wants_plugin());

    bench.connection.send(1, &vec![1; 100_000]);
    bench.connection.finish(1, Status::ok());
    let length = |seen: &[Out]| -> usize {
        seen.iter().map(|out| if let Out::Data { bytes, .. } = out { bytes.len() } else { 0 }).sum()
    };
    let mut sent = 0;
    // A credit of the connection comes back when a quarter of its window is used, as grpc-go gives it.
    let (mut uncredited, mut ended) = (0, false);
    while !ended {
        let seen = bench.host_reads();
        assert!(!seen.is_empty(), "stuck after {sent}");
        ended = seen.iter().any(|out| matches!(out, Out::Headers { end: true, .. }));
        sent += length(&seen);
        uncredited += length(&seen);
        if uncredited >= 65_535 / 4 {
            bench.host.next.window_update(0, u32::try_from(uncredited).unwrap());
            bench.host.next.window_update(1, u32::try_from(uncredited).unwrap());
            let bytes = bench.host.next.chunk().to_vec();
            bench.host.next.advance(bytes.len());
            bench.connection.host_read(bench.now, &bytes);
            uncredited = 0;
        }
    }
    assert_eq!(sent, 100_005);
    assert_eq!(bench.ended(), [("/own".into(), Outcome::Answered(Code::Ok))]);
}

#[test]
fn nothing_that_a_peer_sent_is_in_debug() {
    let mut bench = Bench::new();
    bench.request_with(1, "/a", &[("authorization", "hunter2")], false);
    bench.host.next.data(1, b"hunter2", false);
    bench.host.next.raw(b"\0\0\x20\0\0\0\0\0\x01hunter2");
    bench.host();
    let debug = format!("{:?}", bench.connection);
    let octets = b"hunter2".map(|octet| octet.to_string()).join(", ");
    assert!(!debug.contains("hunter2") && !debug.contains(&octets), "{debug}");
}

#[test]
fn many_calls_of_a_host_that_pings_for_each_are_no_flood() {
    let limits = Limits {
        control_frames: crate::Rate { burst: 100, per_second: 0 },
        resets: crate::Rate { burst: 0, per_second: 0 },
        ..Limits::default()
    };
    let mut bench = Bench::bound_with(limits, &[]);
    for id in (1..2000).step_by(2) {
        bench.request(id, "/a", false);
        bench.host.next.data(id, b"\0\0\0\0\0", true);
        bench.host.next.ping(b"12345678", false);
        bench.host();
        bench.plugin_reads();
        bench.answer(id);
        bench.plugin.next.data(id, b"\0\0\0\0\0", false);
        bench.plugin.next.ping(b"12345678", false);
        bench.plugin.next.window_update(0, 5);
        bench.trailers(id);
        bench.plugin();
        bench.host_reads();
        bench.host.next.window_update(0, 5);
    }
    assert_eq!(bench.violated(), []);
    assert_eq!(bench.ended().len(), 1000);
}
