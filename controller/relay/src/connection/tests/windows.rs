//! Windows of streams and connections.

use super::*;

fn bytes(seen: &[Out]) -> usize {
    seen.iter().map(|out| if let Out::Data { bytes, .. } = out { bytes.len() } else { 0 }).sum()
}

#[test]
fn credit_of_a_stream_passes_end_to_end() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", false);
    bench.host();
    bench.plugin_reads();
    bench.plugin.next.window_update(1, 5);
    assert_eq!(bench.plugin(), []);
    assert_eq!(bench.host_reads(), [Out::Credit(1, 5)]);
    bench.host.next.window_update(1, 6);
    assert_eq!(bench.host(), []);
    assert_eq!(bench.plugin_reads(), [Out::Credit(1, 6)]);
    // For a stream that never was: h2 would end the connection of whoever passes it.
    bench.host.next.window_update(3, 6);
    let seen = bench.host();
    assert!(matches!(seen[..], [Out::GoAway(1, ErrorCode::PROTOCOL_ERROR)]));
}

#[test]
fn credit_of_the_connection_passes_less_what_we_wrote() {
    let mut bench = Bench::bound();
    bench.request(1, "/own", false);
    bench.host();
    bench.connection.send(1, &[0; 95]);
    bench.host_reads();
    bench.host.next.window_update(0, 60);
    bench.host();
    assert_eq!(bench.plugin_reads(), []);
    bench.host.next.window_update(0, 60);
    bench.host();
    assert_eq!(bench.plugin_reads(), [Out::Credit(0, 20)]);
}

#[test]
fn a_plugin_with_a_small_window_gets_what_fits() {
    let mut bench = Bench::new();
    bench.request(1, "/a", false);
    bench.host.next.data(1, &[5; 100], true);
    bench.host();
    bench.connection.bind(bench.now);
    bench.plugin.next.settings([(4, 30)]);
    let seen = bench.plugin();
    assert_eq!(seen[3..], [data(1, &[5; 30], false)]);
    bench.plugin.next.window_update(1, 40);
    assert_eq!(bench.plugin(), [data(1, &[5; 40], false)]);
    bench.plugin.next.window_update(1, 40);
    assert_eq!(bench.plugin(), [data(1, &[5; 30], true)]);
}

#[test]
fn a_plugin_may_narrow_its_windows_while_a_host_uses_the_wider() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", false);
    bench.host();
    bench.plugin_reads();
    bench.plugin.next.settings([(4, 10)]);
    bench.plugin();
    bench.host.next.data(1, &[1; 50], false);
    assert_eq!(bench.host().len(), 1);
    assert_eq!(bench.plugin_reads(), [data(1, &[1; 50], false)], "the plugin has no acknowledgement yet");
    bench.host.next.settings_ack();
    bench.host.next.data(1, &[1; 50], false);
    let seen = bench.host();
    assert_eq!(seen, [Out::Reset(1, ErrorCode::FLOW_CONTROL_ERROR), Out::Credit(0, 50)]);
    assert_eq!(bench.plugin_reads(), [Out::SettingsAck, Out::Reset(1, ErrorCode::CANCEL)]);
}

#[test]
fn a_host_that_exceeds_its_windows_is_stopped() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", false);
    for _ in 0..5 {
        bench.host.next.data(1, &[1; 16_000], false);
    }
    let seen = bench.host();
    assert_eq!(seen, [Out::GoAway(1, ErrorCode::FLOW_CONTROL_ERROR)]);
    assert_eq!(bench.violated(), [(Peer::Host, Violation::WindowExceeded)]);
    assert!(bench.connection.has_left_host());
}

#[test]
fn a_plugin_that_exceeds_a_window_ends_alone() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.host();
    bench.plugin_reads();
    bench.answer(1);
    for _ in 0..5 {
        bench.plugin.next.data(1, &[1; 16_000], false);
    }
    assert_eq!(bench.plugin(), [Out::GoAway(0, ErrorCode::FLOW_CONTROL_ERROR)]);
    let seen = bench.host_reads();
    assert_eq!(bytes(&seen), 64_000);
    assert_eq!(
        field(seen.last().unwrap(), "grpc-message"),
        Some("the plugin's HTTP/2 is broken: window_exceeded")
    );
    assert_eq!(bench.violated(), [(Peer::Plugin, Violation::WindowExceeded)]);
}

#[test]
fn padding_passes_and_where_it_would_wait_is_given_back() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", false);
    let padded = [&[3][..], b"x", &[0; 3]].concat();
    bench.host.next.frame(Kind::Data, flag::PADDED, 1, &padded);
    assert_eq!(bench.host(), []);
    assert_eq!(bench.plugin_reads()[1..], [data(1, b"x", false)]);

    let mut bench = Bench::new();
    bench.request(1, "/a", false);
    bench.host.next.frame(Kind::Data, flag::PADDED, 1, &padded);
    let seen = bench.host();
    let credit = |of: u32| -> u32 {
        seen.iter()
            .map(|out| {
                if let Out::Credit(id, credit) = out
                    && *id == of
                {
                    *credit
                } else {
                    0
                }
            })
            .sum()
    };
    assert_eq!((credit(1), credit(0)), (4, 4), "the byte waits; what was made for it is paid by the padding");
    assert_eq!((bench.connection.up.queued(), bench.connection.up.debt()), (1, 0));
}

#[test]
fn a_host_with_a_huge_window_does_not_make_us_keep_what_it_does_not_read() {
    let limits = Limits { window: 100_000, ..Limits::default() };
    let mut bench = Bench::bound_with(limits, &[]);
    bench.host.next.settings([(4, 1 << 30)]);
    bench.host.next.window_update(0, 1 << 30);
    bench.request(1, "/a", true);
    bench.host();
    let seen = bench.plugin_reads();
    let mut granted = 65_535;
    granted += seen.iter().map(|out| if let Out::Credit(0, credit) = out { *credit } else { 0 }).sum::<u32>();
    assert_eq!(granted, 100_000);
    bench.plugin.next.settings_ack();
    bench.answer(1);
    for _ in 0..10 {
        bench.plugin.next.data(1, &[0; 10_000], false);
    }
    assert_eq!(bench.plugin(), [], "nothing was read by the host");
    assert_eq!(bytes(&bench.host_reads()), 100_000);
    assert_eq!(bench.plugin_reads(), [Out::Credit(0, 100_000)]);
}
