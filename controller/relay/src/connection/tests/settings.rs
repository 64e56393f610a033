//! SETTINGS, and in which order they are acknowledged.

use super::*;

#[test]
fn the_hosts_settings_are_merged_into_the_first_of_the_plugins_connection() {
    let mut bench = Bench::new();
    bench.host.next.settings([(1, 100), (2, 0), (3, 9), (4, 70_000), (5, 20_000), (6, 5000), (99, 1)]);
    bench.host.next.settings([(4, 80_000)]);
    assert_eq!(bench.host(), [Out::SettingsAck, Out::SettingsAck]);
    bench.host.next.window_update(0, 1000);
    bench.host();
    bench.connection.bind(bench.now);
    let seen = bench.plugin_reads();
    assert_eq!(seen, [Out::Settings(vec![(1, 0), (2, 0), (4, 80_000), (6, 5000)]), Out::Credit(0, 1000)]);
    bench.plugin.next.settings([]);
    bench.plugin.next.settings_ack();
    bench.plugin();
    let seen = bench.host_reads();
    assert!(!seen.contains(&Out::SettingsAck), "the first acknowledgement is ours: {seen:?}");
}

#[test]
fn on_binding_the_host_gets_what_the_plugin_set_with_defaults_filled_in() {
    for (set, expected) in [
        (vec![], vec![(3, 10_000), (4, 65_535), (6, 65_536)]),
        (vec![(3, 5), (4, 1 << 20), (6, 8192)], vec![(3, 21), (4, 1 << 20), (6, 7680)]),
        (vec![(1, 0), (5, 1 << 20), (77, 1)], vec![(3, 10_000), (4, 65_535), (6, 65_536)]),
    ] {
        let mut bench = Bench::new();
        bench.connection.bind(bench.now);
        bench.plugin.next.settings(set);
        bench.plugin();
        assert_eq!(bench.host_reads(), [Out::Settings(expected)]);
    }
}

#[test]
fn later_settings_pass_and_so_do_their_acknowledgements() {
    let mut bench = Bench::bound();
    bench.host.next.settings([(1, 0), (4, 100_000)]);
    bench.host.next.settings([(1, 0)]);
    assert_eq!(bench.host(), []);
    assert_eq!(bench.plugin_reads(), [Out::Settings(vec![(4, 100_000)]), Out::Settings(vec![])]);
    bench.plugin.next.settings_ack();
    bench.plugin();
    assert_eq!(bench.host_reads(), [Out::SettingsAck]);
    bench.plugin.next.settings_ack();
    bench.plugin.next.settings([(3, 7), (4, 50), (9, 9)]);
    assert_eq!(bench.plugin(), []);
    assert_eq!(bench.host_reads(), [Out::SettingsAck, Out::Settings(vec![(3, 23), (4, 50)])]);
    bench.host.next.settings_ack();
    bench.host();
    assert_eq!(bench.plugin_reads(), [Out::SettingsAck]);
}

#[test]
fn a_plugin_that_goes_leaves_no_settings_unacknowledged() {
    let mut bench = Bench::bound();
    bench.request(1, "/own", false);
    bench.host.next.settings([(4, 1)]);
    bench.host.next.settings([]);
    bench.host();
    bench.connection.plugin_closed(bench.now, &Status::unavailable("x"));
    let seen = bench.host_reads();
    assert_eq!(seen.iter().filter(|out| **out == Out::SettingsAck).count(), 2);
    // What was asked for is kept to.
    bench.connection.send(1, b"abc");
    assert_eq!(bench.host_reads(), [data(1, b"\0", false)]);
}

#[test]
fn the_first_frame_is_settings() {
    let mut bench = Bench::silent(Limits::default());
    bench.host.next.raw(PREFACE);
    bench.host.next.ping(b"12345678", false);
    let seen = bench.host();
    assert!(matches!(seen[..], [Out::Settings(_), Out::GoAway(0, ErrorCode::PROTOCOL_ERROR)]), "{seen:?}");
    let mut bench = Bench::new();
    bench.request(1, "/a", true);
    bench.host();
    bench.connection.bind(bench.now);
    bench.plugin_reads();
    bench.plugin.next.ping(b"12345678", false);
    assert_eq!(bench.plugin(), [Out::GoAway(0, ErrorCode::PROTOCOL_ERROR)]);
    assert_eq!(bench.violated(), [(Peer::Plugin, Violation::Preface)]);
}
