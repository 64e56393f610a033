//! Hostile peers: each limit, broken.

use super::*;
use crate::Rate;

/// What a host sends ends its connection, with this code and for this reason.
fn ends(limits: Limits, violation: Violation, send: impl FnOnce(&mut Bench)) {
    let mut bench = Bench::bound_with(limits, &[]);
    send(&mut bench);
    let seen = bench.host();
    assert!(
        matches!(seen.last(), Some(Out::GoAway(_, code)) if *code == violation.code()),
        "{violation}: {seen:?}"
    );
    assert_eq!(bench.violated(), [(Peer::Host, violation)]);
    assert!(bench.connection.has_left_host() && bench.connection.has_left_plugin());
    assert_eq!((bench.connection.calls(), bench.connection.up.queued()), (0, 0));
    // What comes after is not read.
    bench.host.next.ping(b"12345678", false);
    assert_eq!(bench.host(), []);
}

/// What is broken, and by what.
type Broken<T> = (Violation, fn(&mut T));

fn calm() -> Limits {
    let few = Rate { burst: 20, per_second: 1 };
    Limits { control_frames: few, resets: few, ..Limits::default() }
}

#[test]
fn floods_of_control_frames_end() {
    type Send = fn(&mut Output);
    let floods: [Send; 7] = [
        |out| out.ping(b"12345678", false),
        |out| out.settings([(4, 1)]),
        |out| out.frame(Kind::WindowUpdate, 0, 0, &1u32.to_be_bytes()),
        |out| out.frame(Kind::Data, 0, 1, &[]),
        |out| out.frame(Kind::Priority, 0, 1, &[0, 0, 0, 9, 0]),
        |out| out.frame(Kind::Unknown(77), 0, 0, &[]),
        |out| out.frame(Kind::Data, flag::PADDED, 1, &[2, 0, 0]),
    ];
    for flood in floods {
        ends(calm(), Violation::ControlFlood, |bench| {
            bench.request(1, "/a", false);
            (0..30).for_each(|_| flood(&mut bench.host.next));
        });
    }
}

#[test]
fn rapid_reset_ends() {
    ends(calm(), Violation::RapidReset, |bench| {
        for id in (1..60).step_by(2) {
            bench.request(id, "/a", true);
            bench.host.next.reset(id, ErrorCode::CANCEL);
        }
    });
    // Calls that wait, and calls that are malformed or refused, are as cheap to send.
    ends(Limits { streams: 1, ..calm() }, Violation::RapidReset, |bench| {
        (1..60).step_by(2).for_each(|id| bench.request(id, "/a", true));
    });
    ends(calm(), Violation::RapidReset, |bench| {
        (1..60).step_by(2).for_each(|id| bench.request_with(id, "/a", &[("connection", "x")], true));
    });
}

#[test]
fn calls_that_end_on_time_are_no_rapid_reset() {
    let mut bench = Bench::bound_with(calm(), &[]);
    for id in (1..100).step_by(4) {
        bench.request_with(id, "/a", &[("grpc-timeout", "1m")], true);
        bench.request(id + 2, "/b", true);
        bench.host();
        bench.plugin_reads();
        bench.pass(Duration::from_millis(1));
        bench.host.next.reset(id, ErrorCode::CANCEL);
        bench.answer(id + 2);
        bench.plugin();
        bench.host.next.reset(id + 2, ErrorCode::CANCEL);
        bench.host();
    }
    assert_eq!(bench.violated(), []);
}

#[test]
fn endless_header_blocks_end() {
    ends(Limits::default(), Violation::HeaderFlood, |bench| {
        bench.host.next.frame(Kind::Headers, 0, 1, &[]);
        (0..100).for_each(|_| bench.host.next.frame(Kind::Continuation, 0, 1, &[]));
    });
    ends(Limits { header_bomb: 100_000, ..Limits::default() }, Violation::HeaderFlood, |bench| {
        bench.host.next.frame(Kind::Headers, 0, 1, &[]);
        (0..10).for_each(|_| bench.host.next.frame(Kind::Continuation, 0, 1, &[0; 16_000]));
    });
}

#[test]
fn a_header_bomb_ends() {
    ends(Limits::default(), Violation::HeaderBomb, |bench| {
        // One entry of 3,838 bytes, and then 1,000 times the byte that stands for it.
        let mut block = vec![0x40, 1, b'x', 0x7f, 0xff, 28];
        block.resize(block.len() + 127 + 127 + 28 * 128, b'y');
        block.extend([0xbe; 1000]);
        bench.host.next.headers(1, &block, true);
    });
}

#[test]
fn a_large_header_list_ends_its_call_alone() {
    let mut bench = Bench::bound();
    let big = "x".repeat(70_000);
    bench.request_with(1, "/a", &[("big", &big)], false);
    bench.request(3, "/b", true);
    let seen = bench.host();
    assert!(is_status(&seen[0], 1, Code::ResourceExhausted));
    assert_eq!(seen[1..], [Out::Reset(1, ErrorCode::NO_ERROR)]);
    assert!(matches!(bench.plugin_reads()[..], [Out::Headers { id: 3, .. }]));
}

#[test]
fn broken_frames_end() {
    let broken: [Broken<Bench>; 20] = [
        (Violation::Compression, |bench| bench.host.next.headers(1, &[0x80], true)),
        (Violation::StreamId, |bench| bench.request(2, "/a", true)),
        (Violation::StreamId, |bench| bench.request(0, "/a", true)),
        (Violation::StreamId, |bench| {
            bench.request(5, "/a", true);
            bench.request(3, "/a", true);
        }),
        (Violation::StreamClosed, |bench| {
            bench.request(5, "/a", true);
            bench.request(5, "/a", true);
        }),
        (Violation::UnexpectedFrame, |bench| bench.host.next.data(1, b"x", true)),
        (Violation::UnexpectedFrame, |bench| bench.host.next.data(0, b"x", true)),
        (Violation::UnexpectedFrame, |bench| bench.host.next.reset(1, ErrorCode::CANCEL)),
        (Violation::UnexpectedFrame, |bench| bench.host.next.frame(Kind::PushPromise, 4, 1, &[0; 4])),
        (Violation::UnexpectedFrame, |bench| bench.host.next.frame(Kind::Continuation, 4, 1, &[])),
        (Violation::UnexpectedFrame, |bench| {
            bench.host.next.frame(Kind::Headers, 0, 1, &[]);
            bench.host.next.ping(b"12345678", false);
        }),
        (Violation::UnexpectedFrame, |bench| bench.host.next.frame(Kind::WindowUpdate, 0, 0, &[0; 4])),
        (Violation::UnexpectedFrame, |bench| bench.host.next.settings_ack()),
        (Violation::FrameSize, |bench| bench.host.next.frame(Kind::Ping, 0, 0, &[0; 7])),
        (Violation::FrameSize, |bench| bench.host.next.frame(Kind::Settings, 0, 0, &[0; 7])),
        (Violation::FrameSize, |bench| bench.host.next.raw(&[0xff; 9])),
        (Violation::Padding, |bench| bench.host.next.frame(Kind::Headers, flag::PADDED | 4, 1, &[9])),
        (Violation::SettingValue, |bench| bench.host.next.settings([(2, 2)])),
        (Violation::WindowOverflow, |bench| bench.host.next.settings([(4, 1 << 31)])),
        (Violation::WindowOverflow, |bench| {
            (0..2).for_each(|_| bench.host.next.window_update(0, (1 << 31) - 1));
        }),
    ];
    for (violation, send) in broken {
        ends(Limits::default(), violation, send);
    }
}

#[test]
fn what_is_broken_about_one_stream_ends_that_stream() {
    let mut bench = Bench::bound();
    for (id, more) in [(1, ("Upper", "x")), (3, ("te", "gzip")), (5, ("content-length", "4"))] {
        bench.request_with(id, "/a", &[more], true);
    }
    bench.request_with(7, "/a", &[("content-length", "4")], false);
    bench.host.next.data(7, b"12345", false);
    bench.request(9, "/a", false);
    bench.host.next.frame(Kind::WindowUpdate, 0, 9, &[0; 4]);
    bench.request(11, "/a", true);
    bench.host.next.data(11, b"x", true);
    let seen = bench.host();
    let resets: Vec<_> = seen.iter().filter(|out| matches!(out, Out::Reset(..))).cloned().collect();
    let error = |id| Out::Reset(id, ErrorCode::PROTOCOL_ERROR);
    assert_eq!(
        resets,
        [error(1), error(3), error(5), error(7), error(9), Out::Reset(11, ErrorCode::STREAM_CLOSED)]
    );
    assert_eq!(bench.violated(), []);
    assert_eq!(bench.connection.calls(), 0);
}

#[test]
fn a_host_that_says_nothing_ends() {
    let mut bench = Bench::silent(Limits::default());
    bench.host.next.raw(&PREFACE[..20]);
    bench.host();
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.violated(), []);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.violated(), [(Peer::Host, Violation::TooSlow)]);
    let mut bench = Bench::bound();
    bench.host.next.frame(Kind::Headers, 0, 1, &[]);
    bench.host();
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.violated(), [(Peer::Host, Violation::TooSlow)]);
}

#[test]
fn a_host_that_does_not_read_ends() {
    let limits = Limits { unread: 1000, ..calm() };
    let mut bench = Bench::bound_with(limits, &[]);
    for id in (1..100).step_by(2) {
        bench.request(id, "/no", true);
    }
    let bytes = bench.host.next.chunk().to_vec();
    bench.connection.host_read(bench.now, &bytes);
    assert_eq!(bench.violated(), [(Peer::Host, Violation::NotReading)]);
}

#[test]
fn more_served_streams_than_allowed_are_answered() {
    let mut bench = Bench::with(Limits { served_streams: 1, ..Limits::default() });
    bench.request(1, "/own", false);
    bench.request(3, "/own", false);
    let seen = bench.host();
    assert!(is_status(&seen[1], 3, Code::ResourceExhausted));
}

#[test]
fn a_plugin_that_breaks_the_rules_ends_alone() {
    let broken: [Broken<Side>; 10] = [
        (Violation::StreamId, |plugin| plugin.next.headers(9, &block(&[(":status", "200")]), false)),
        (Violation::StreamId, |plugin| plugin.next.reset(9, ErrorCode::CANCEL)),
        (Violation::UnexpectedFrame, |plugin| plugin.next.data(1, b"x", false)),
        (Violation::UnexpectedFrame, |plugin| plugin.next.headers(1, &block(&[("x", "y")]), false)),
        (Violation::UnexpectedFrame, |plugin| plugin.next.frame(Kind::PushPromise, 4, 1, &[0; 4])),
        (Violation::StreamClosed, |plugin| {
            plugin.next.headers(1, &block(&[(":status", "200")]), true);
            plugin.next.headers(1, &block(&[(":status", "200")]), true);
        }),
        (Violation::Compression, |plugin| plugin.next.headers(1, &[0xbe], false)),
        (Violation::UnexpectedFrame, |plugin| plugin.next.settings_ack()),
        (Violation::HeaderFlood, |plugin| {
            plugin.next.frame(Kind::Headers, 0, 1, &[]);
            (0..100).for_each(|_| plugin.next.frame(Kind::Continuation, 0, 1, &[]));
        }),
        (Violation::FrameSize, |plugin| plugin.next.raw(&[0xff; 9])),
    ];
    for (violation, send) in broken {
        let mut bench = Bench::bound();
        bench.request(1, "/a", false);
        bench.request(3, "/own", false);
        bench.host();
        bench.plugin_reads();
        send(&mut bench.plugin);
        let seen = bench.plugin();
        assert!(
            matches!(seen.last(), Some(Out::GoAway(0, code)) if *code == violation.code()),
            "{violation}: {seen:?}"
        );
        assert_eq!(bench.violated(), [(Peer::Plugin, violation)]);
        assert!(bench.connection.has_left_plugin() && !bench.connection.has_left_host());
        assert_eq!(bench.connection.calls(), 0);
    }
}

#[test]
fn a_plugin_that_does_not_begin_ends() {
    let mut bench = Bench::new();
    bench.request(1, "/a", true);
    bench.host();
    bench.connection.bind(bench.now);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.violated(), [(Peer::Plugin, Violation::TooSlow)]);
    assert_eq!(
        bench.host_reads(),
        [Out::GoAway(1, ErrorCode::NO_ERROR), Out::Reset(1, ErrorCode::REFUSED_STREAM)]
    );
}
