//! Ends, and drains.

use super::*;
use crate::frame::MAX_STREAM_ID;

fn died() -> Status {
    Status::unavailable("it died")
}

#[test]
fn calls_that_the_plugin_has_seen_end_with_the_reason() {
    let mut bench = Bench::bound();
    bench.request(1, "/none", true);
    bench.request(3, "/begun", false);
    bench.request(5, "/in-message", true);
    bench.request(7, "/done", false);
    bench.host();
    bench.plugin_reads();
    for id in [3, 5] {
        bench.answer(id);
    }
    bench.plugin.next.data(3, b"\0\0\0\0\x01x", false);
    bench.plugin.next.data(5, b"\0\0\0\0\x02x", false);
    bench.plugin.next.headers(7, &block(&[(":status", "200"), ("grpc-status", "0")]), true);
    bench.plugin();
    bench.host_reads();
    bench.connection.plugin_closed(bench.now, &died());
    let seen = bench.host_reads();
    assert_eq!(seen[0], Out::GoAway(7, ErrorCode::NO_ERROR));
    assert!(is_status(&seen[1], 1, Code::Unavailable));
    assert_eq!(field(&seen[1], "grpc-message"), Some("it died"));
    assert_eq!((field(&seen[2], ":status"), field(&seen[2], "grpc-status")), (None, Some("14")));
    assert_eq!(seen[3], Out::Reset(3, ErrorCode::NO_ERROR));
    assert!(matches!(seen[4], Out::Headers { id: 5, end: true, .. }));
    assert_eq!(seen[5..], [Out::Reset(7, ErrorCode::NO_ERROR)]);
    let gone = |begun, in_message| Outcome::PluginGone { begun, in_message };
    assert_eq!(
        bench.ended(),
        [
            ("/none".into(), gone(false, false)),
            ("/begun".into(), gone(true, false)),
            ("/in-message".into(), gone(true, true)),
            ("/done".into(), Outcome::Answered(Code::Ok)),
        ]
    );
    assert!(bench.connection.has_left_plugin() && bench.connection.has_left_host());
}

#[test]
fn a_call_of_which_the_transport_took_nothing_is_refused_after_the_goaway() {
    let mut bench = Bench::bound();
    bench.request(1, "/seen", true);
    bench.host();
    // One byte of its head.
    bench.connection.plugin_took(1);
    bench.request(3, "/unseen", false);
    bench.host();
    bench.connection.plugin_closed(bench.now, &died());
    let seen = bench.host_reads();
    assert_eq!(seen[..2], [Out::GoAway(3, ErrorCode::NO_ERROR), Out::Reset(3, ErrorCode::REFUSED_STREAM)]);
    assert!(is_status(&seen[2], 1, Code::Unavailable));
    assert_eq!(bench.ended()[0], ("/unseen".into(), Outcome::Refused));
}

#[test]
fn while_it_is_found_out_how_the_plugin_ended_calls_go_elsewhere() {
    let mut bench = Bench::bound();
    bench.request(1, "/seen", true);
    bench.host();
    bench.connection.plugin_took(1);
    bench.request(3, "/unseen", true);
    bench.host();
    bench.connection.plugin_ending(bench.now);
    assert_eq!(
        bench.host_reads(),
        [Out::GoAway(3, ErrorCode::NO_ERROR), Out::Reset(3, ErrorCode::REFUSED_STREAM)]
    );
    // The host had not read that yet.
    bench.request(5, "/late", true);
    bench.host();
    assert_eq!(bench.host_reads(), []);
    bench.connection.plugin_closed(bench.now, &died());
    let seen = bench.host_reads();
    assert!(is_status(&seen[0], 1, Code::Unavailable), "{seen:?}");
    assert_eq!(seen.len(), 1, "{seen:?}");
    let gone = Outcome::PluginGone { begun: false, in_message: false };
    assert_eq!(bench.ended(), [("/unseen".into(), Outcome::Refused), ("/seen".into(), gone)]);
}

#[test]
fn a_call_that_waits_at_a_bound_connection_is_refused_with_it() {
    let mut bench = Bench::bound_with(Limits::default(), &[(3, 0)]);
    bench.request(1, "/a", false);
    bench.host.next.data(1, &[0; 1000], false);
    bench.host();
    bench.connection.plugin_closed(bench.now, &died());
    assert_eq!(
        bench.host_reads(),
        [Out::GoAway(1, ErrorCode::NO_ERROR), Out::Reset(1, ErrorCode::REFUSED_STREAM)]
    );
}

#[test]
fn what_waits_for_the_hosts_window_is_delivered_before_the_reason() {
    let mut bench = Bench::bound();
    bench.request(1, "/own", false);
    bench.request(3, "/a", true);
    bench.host();
    bench.plugin_reads();
    bench.connection.send(1, &[0; 10_000]);
    bench.answer(3);
    for _ in 0..4 {
        bench.plugin.next.data(3, &[0; 16_000], false);
    }
    bench.plugin();
    let seen = bench.host_reads();
    let sent = |seen: &[Out], of: u32| -> usize {
        seen.iter()
            .map(|out| {
                if let Out::Data { id, bytes, .. } = out
                    && *id == of
                {
                    bytes.len()
                } else {
                    0
                }
            })
            .sum()
    };
    assert_eq!(sent(&seen, 1) + sent(&seen, 3), 65_535);
    bench.connection.plugin_closed(bench.now, &died());
    assert_eq!(bench.host_reads(), [Out::GoAway(3, ErrorCode::NO_ERROR)]);
    bench.host.next.window_update(0, 20_000);
    let seen = bench.host();
    assert_eq!(sent(&seen, 3), 64_000 + 10_005 - 65_535);
    assert_eq!(field(seen.last().unwrap(), "grpc-message"), Some("it died"));
    assert!(!bench.connection.has_left_host(), "a stream of ours is open");
}

#[test]
fn streams_of_ours_outlive_the_plugin_and_the_host_closes_them() {
    let mut bench = Bench::bound();
    bench.request(1, "/own", false);
    bench.request(3, "/a", true);
    bench.host();
    bench.plugin_reads();
    bench.connection.plugin_closed(bench.now, &died());
    assert_eq!(bench.host_reads()[0], Out::GoAway(3, ErrorCode::NO_ERROR));
    // Settings that nobody else acknowledges.
    bench.host.next.settings([(4, 100_000)]);
    assert_eq!(bench.host(), [Out::SettingsAck]);
    bench.connection.send(1, b"still here");
    assert_eq!(bench.host_reads(), [data(1, b"\0\0\0\0\x0astill here", false)]);
    bench.host.next.reset(1, ErrorCode::CANCEL);
    bench.host();
    assert!(bench.connection.has_left_host());
}

#[test]
fn a_drain_ends_with_the_last_stream_that_the_host_opened_before_it_knew() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.host();
    bench.connection.drain(bench.now);
    assert_eq!(
        bench.host_reads(),
        [Out::GoAway(MAX_STREAM_ID, ErrorCode::NO_ERROR), Out::Ping(b"plugward".to_vec())]
    );
    bench.request(3, "/b", true);
    assert_eq!(bench.host(), []);
    bench.host.next.frame(Kind::Ping, flag::ACK, 0, b"plugward");
    assert_eq!(bench.host(), [Out::GoAway(3, ErrorCode::NO_ERROR)]);
    // Not looked at; its credit comes back.
    bench.request(5, "/c", false);
    bench.host.next.data(5, b"123", true);
    assert_eq!(bench.host(), [Out::Credit(0, 3)]);
    assert_eq!(bench.connection.policy().forwarded, ["/a", "/b"]);
    bench.plugin_reads();
    for id in [1, 3] {
        bench.answer(id);
        bench.trailers(id);
    }
    assert_eq!(bench.plugin(), [Out::GoAway(0, ErrorCode::NO_ERROR)]);
    assert!(bench.connection.has_left_plugin() && bench.connection.has_left_host());
}

#[test]
fn a_host_that_does_not_answer_the_ping_of_a_drain_is_told_all_the_same() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.host();
    bench.connection.drain(bench.now);
    bench.host_reads();
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.host_reads(), [Out::GoAway(1, ErrorCode::NO_ERROR)]);
}

#[test]
fn a_plugin_that_leaves_is_told_when_the_host_knows() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.host();
    bench.plugin_reads();
    bench.plugin.next.go_away(MAX_STREAM_ID, ErrorCode::NO_ERROR, "");
    bench.plugin.next.ping(b"roundtrp", false);
    assert_eq!(bench.plugin(), []);
    bench.host_reads();
    bench.request(3, "/b", true);
    bench.host.next.frame(Kind::Ping, flag::ACK, 0, b"plugward");
    bench.host();
    let seen = bench.plugin_reads();
    assert!(matches!(seen[0], Out::Headers { id: 3, .. }));
    assert_eq!(seen[1..], [Out::Pong(b"roundtrp".to_vec())]);
}

#[test]
fn what_a_leaving_plugin_did_not_look_at_is_refused() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.request(3, "/b", true);
    bench.request(5, "/own", false);
    bench.host();
    bench.plugin_reads();
    bench.host_reads();
    bench.plugin.next.go_away(1, ErrorCode(2), "broken");
    bench.plugin();
    assert_eq!(
        bench.host_reads(),
        [Out::GoAway(5, ErrorCode::NO_ERROR), Out::Reset(3, ErrorCode::REFUSED_STREAM)]
    );
    bench.connection.plugin_closed(bench.now, &died());
    assert!(is_status(&bench.host_reads()[0], 1, Code::Unavailable));
    assert_eq!(bench.connection.calls(), 0);
}

#[test]
fn when_the_host_goes_all_ends() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.request(3, "/own", true);
    bench.host();
    bench.plugin_reads();
    bench.connection.host_closed(bench.now);
    assert_eq!(bench.plugin_reads(), [Out::GoAway(0, ErrorCode::NO_ERROR)]);
    assert_eq!(bench.ended().len(), 2);
    assert!(bench.connection.has_left_plugin() && bench.connection.has_left_host());
    assert_eq!(bench.connection.deadline(), None);
}

#[test]
fn a_host_that_leaves_is_served_to_the_end() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.host.next.go_away(0, ErrorCode::NO_ERROR, "");
    bench.host();
    bench.plugin_reads();
    assert!(!bench.connection.has_left_host());
    bench.answer(1);
    bench.trailers(1);
    bench.plugin();
    let seen = bench.host_reads();
    assert!(matches!(
        seen[..],
        [Out::Headers { .. }, Out::Headers { end: true, .. }, Out::GoAway(1, ErrorCode::NO_ERROR)]
    ));
    assert!(bench.connection.has_left_host());
}

#[test]
fn an_abandoned_call_has_the_reason_and_a_closed_connection_no_stream() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.request(3, "/own", false);
    bench.host();
    bench.plugin_reads();
    bench.host_reads();
    bench.connection.abandon(bench.now, &Status::unavailable("deleted"));
    let seen = bench.host_reads();
    assert_eq!(seen[0], Out::GoAway(3, ErrorCode::NO_ERROR));
    assert_eq!(field(&seen[1], "grpc-message"), Some("deleted"));
    assert!(!bench.connection.has_left_host());
    bench.connection.close(bench.now, &Status::unavailable("deleted"));
    let seen = bench.host_reads();
    assert_eq!(field(&seen[0], "grpc-status"), Some("14"));
    assert!(bench.connection.has_left_host());
}
