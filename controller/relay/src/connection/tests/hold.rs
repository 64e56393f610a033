//! Calls that wait.

use super::*;

#[test]
fn a_call_that_waits_goes_out_with_the_time_that_is_left() {
    let mut bench = Bench::new();
    bench.request_with(1, "/a", &[("grpc-timeout", "10S")], false);
    bench.host.next.data(1, b"one", false);
    bench.host.next.data(1, b"two", true);
    bench.host.next.window_update(1, 1000);
    bench.request(3, "/b", true);
    assert_eq!(bench.host(), [Out::Credit(0, 3), Out::Credit(0, 3)]);
    assert!(bench.connection.wants_plugin());
    assert_eq!((bench.connection.waiting(), bench.budget.waiting()), (2, 2));

    bench.pass(Duration::from_millis(2500));
    bench.connection.bind(bench.now);
    bench.plugin.next.settings([]);
    let seen = bench.plugin();
    assert_eq!(field(&seen[2], "grpc-timeout"), Some("7500000u"));
    assert_eq!(seen[3], Out::Credit(1, 1000));
    assert_eq!(seen[4], data(1, b"onetwo", true));
    assert!(matches!(seen[5..], [Out::Headers { id: 3, end: true, .. }]));
    assert_eq!((bench.budget.waiting(), bench.budget.bytes()), (0, 0));
    assert_eq!(bench.connection.policy().forwarded, ["/a", "/b"]);
}

#[test]
fn nothing_is_sent_before_the_plugins_settings() {
    let mut bench = Bench::new();
    bench.request(1, "/a", true);
    bench.host();
    bench.connection.bind(bench.now);
    assert!(matches!(bench.plugin_reads()[..], [Out::Settings(_)]));
    bench.plugin.next.settings([(3, 0)]);
    bench.plugin();
    assert_eq!(bench.connection.waiting(), 1);
    bench.plugin.next.settings([(3, 1)]);
    assert!(matches!(bench.plugin()[..], [Out::Headers { id: 1, .. }]));
}

#[test]
fn a_call_whose_time_is_over_is_not_sent_though_nobody_said_so_yet() {
    let mut bench = Bench::new();
    bench.request_with(1, "/a", &[("grpc-timeout", "1S")], true);
    bench.host();
    bench.now += Duration::from_secs(1);
    bench.bind(&[]);
    assert_eq!(bench.connection.policy().forwarded, [""; 0]);
    assert_eq!(bench.ended(), [("/a".into(), Outcome::DeadlineExceeded)]);
}

#[test]
fn a_time_limit_that_ends_while_waiting_is_answered_and_never_sent() {
    let mut bench = Bench::new();
    bench.request_with(1, "/a", &[("grpc-timeout", "1S")], true);
    bench.request(3, "/b", false);
    bench.host();
    bench.pass(Duration::from_secs(1));
    assert!(is_status(&bench.host_reads()[0], 1, Code::DeadlineExceeded));
    bench.pass(Duration::from_secs(29));
    let seen = bench.host_reads();
    assert!(is_status(&seen[0], 3, Code::Unavailable));
    assert_eq!(field(&seen[0], "grpc-message"), Some("/b waited"));
    assert_eq!(seen[1..], [Out::Reset(3, ErrorCode::NO_ERROR)]);
    let outcomes = bench.ended();
    assert_eq!(outcomes[0].1, Outcome::DeadlineExceeded);
    assert_eq!(outcomes[1].1, Outcome::NotServed(Code::Unavailable));
    bench.bind(&[]);
    assert_eq!(bench.plugin_reads(), []);
    assert_eq!(bench.connection.deadline(), None);
}

#[test]
fn a_call_for_which_waiting_is_of_no_use_is_answered_at_once() {
    let mut bench = Bench::new();
    bench.request(1, "/hopeless", true);
    let seen = bench.host();
    assert!(is_status(&seen[0], 1, Code::Unavailable));
    assert_eq!(field(&seen[0], "grpc-message"), Some("not before tomorrow"));
    assert_eq!(bench.ended(), [("/hopeless".into(), Outcome::NotServed(Code::Unavailable))]);
    assert_eq!((bench.budget.waiting(), bench.connection.wants_plugin()), (0, false));
    bench.bind(&[]);
    bench.request(3, "/hopeless", true);
    bench.host();
    assert!(matches!(bench.plugin_reads()[..], [Out::Headers { id: 3, .. }]), "it need not wait");
}

#[test]
fn too_many_calls_that_wait_are_answered_at_once() {
    let mut bench = Bench::new();
    for id in (1..=17).step_by(2) {
        bench.request(id, "/a", true);
    }
    let seen = bench.host();
    assert_eq!(seen.len(), 1);
    assert!(is_status(&seen[0], 17, Code::ResourceExhausted));
    assert_eq!(bench.connection.waiting(), 8);
    assert_eq!(bench.ended(), [("/a".into(), Outcome::NotServed(Code::ResourceExhausted))]);
}

#[test]
fn one_large_request_that_waits_does_not_starve_a_small_one() {
    let mut bench = Bench::with(Limits { hold_bytes: 100_000, ..Limits::default() });
    bench.request(1, "/big", false);
    // As much as the stream's window allows.
    for _ in 0..4 {
        bench.host.next.data(1, &[1; 16_000], false);
    }
    let credit: u32 =
        bench.host().iter().map(|out| if let Out::Credit(0, credit) = out { *credit } else { 0 }).sum();
    assert_eq!(credit, 64_000);
    bench.request(3, "/b", false);
    bench.host.next.data(3, &vec![1; 64_000], false);
    let credit: u32 =
        bench.host().iter().map(|out| if let Out::Credit(0, credit) = out { *credit } else { 0 }).sum();
    assert_eq!(credit, 36_000, "no more than may be kept");
    // Reset: what it took is free again, and the credit that was made for it is paid by what never arrives.
    bench.host.next.reset(1, ErrorCode::CANCEL);
    assert_eq!(bench.host(), []);
    assert_eq!(bench.connection.up.debt(), 36_000);
    bench.bind(&[]);
    let sent: usize = bench
        .plugin_reads()
        .iter()
        .map(|out| if let Out::Data { bytes, .. } = out { bytes.len() } else { 0 })
        .sum();
    assert_eq!(sent, 0);
    assert_eq!(bench.connection.up.queued(), 0);
}

#[test]
fn later_calls_wait_behind_those_that_wait() {
    let mut bench = Bench::bound_with(Limits::default(), &[(3, 1)]);
    for (id, path) in [(1, "/a"), (3, "/b"), (5, "/c")] {
        bench.request(id, path, true);
    }
    bench.host();
    assert!(matches!(bench.plugin_reads()[..], [Out::Headers { id: 1, .. }]));
    bench.answer(1);
    bench.trailers(1);
    assert!(matches!(bench.plugin()[..], [Out::Headers { id: 3, .. }]));
    bench.host.next.reset(3, ErrorCode::CANCEL);
    bench.host();
    assert!(matches!(bench.plugin_reads()[..], [Out::Reset(3, _), Out::Headers { id: 5, .. }]));
}

#[test]
fn the_program_may_end_those_that_wait() {
    let mut bench = Bench::new();
    bench.request(1, "/a", true);
    bench.request(3, "/b", true);
    bench.host();
    bench.connection.fail_held(bench.now, &Status::new(Code::Aborted, "not primed"));
    let seen = bench.host_reads();
    assert!(is_status(&seen[0], 1, Code::Aborted) && is_status(&seen[1], 3, Code::Aborted));
    assert_eq!(bench.budget.waiting(), 0);
}

#[test]
fn calls_for_which_it_is_too_late_by_now_end_and_the_others_go_on_waiting() {
    let mut bench = Bench::new();
    bench.request_with(1, "/a", &[("grpc-timeout", "5S")], false);
    bench.host.next.data(1, b"one", false);
    bench.request(3, "/b", true);
    bench.host();
    bench.pass(Duration::from_secs(2));
    bench.connection.policy().needed = Some(Duration::from_secs(10));
    bench.connection.reconsider(bench.now);
    let seen = bench.host_reads();
    assert!(is_status(&seen[0], 1, Code::Unavailable));
    assert_eq!(field(&seen[0], "grpc-message"), Some("/a has 3s left"));
    assert_eq!(seen[1..], [Out::Reset(1, ErrorCode::NO_ERROR)]);
    assert_eq!(bench.ended(), [("/a".into(), Outcome::NotServed(Code::Unavailable))]);
    assert_eq!((bench.connection.waiting(), bench.budget.waiting()), (1, 1));
    bench.bind(&[]);
    assert_eq!(bench.connection.policy().forwarded, ["/b"]);
}

#[test]
fn a_call_that_the_plugin_must_not_see_is_answered_and_those_behind_it_go_on() {
    let mut bench = Bench::new();
    bench.request(1, "/gated", false);
    bench.host.next.data(1, &[1; 1000], false);
    bench.request(3, "/b", true);
    bench.host();
    bench.connection.bind(bench.now);
    bench.plugin.next.settings([]);
    let seen = bench.plugin();
    assert!(matches!(seen[2..], [Out::Headers { id: 3, .. }]), "{seen:?}");
    let seen = bench.host_reads();
    assert!(seen.iter().any(|out| is_status(out, 1, Code::FailedPrecondition)), "{seen:?}");
    assert_eq!((bench.budget.waiting(), bench.budget.bytes()), (0, 0));
    // At once where nothing has to wait.
    bench.request(5, "/gated", true);
    assert!(is_status(&bench.host()[0], 5, Code::FailedPrecondition));
    assert_eq!(bench.plugin_reads(), []);
    let gated = ("/gated".to_owned(), Outcome::NotServed(Code::FailedPrecondition));
    assert_eq!(bench.ended(), [gated.clone(), gated]);
    assert_eq!(bench.connection.policy().forwarded, ["/b"]);
}

#[test]
fn a_call_that_its_plugin_is_not_ready_for_waits_and_so_do_those_behind_it() {
    let mut bench = Bench::bound();
    bench.connection.policy().stop = Some(Stop::Wait);
    bench.request(1, "/stopped", true);
    bench.request(3, "/b", true);
    assert_eq!(bench.host(), []);
    assert_eq!(bench.plugin_reads(), []);
    bench.connection.reconsider(bench.now);
    assert_eq!((bench.connection.waiting(), bench.budget.waiting()), (2, 2));
    bench.connection.policy().stop = None;
    bench.connection.reconsider(bench.now);
    let seen = bench.plugin_reads();
    assert!(matches!(seen[..], [Out::Headers { id: 1, .. }, Out::Headers { id: 3, .. }]), "{seen:?}");
    assert_eq!((bench.connection.waiting(), bench.budget.waiting()), (0, 0));
}

#[test]
fn a_call_that_its_plugin_is_not_ready_for_in_time_is_answered() {
    let mut bench = Bench::bound();
    bench.connection.policy().stop = Some(Stop::Wait);
    bench.request(1, "/stopped", true);
    bench.host();
    bench.pass(Duration::from_secs(30));
    assert!(is_status(&bench.host_reads()[0], 1, Code::Unavailable));
    bench.request(3, "/b", true);
    bench.host();
    assert!(matches!(bench.plugin_reads()[..], [Out::Headers { id: 3, .. }]));
}

#[test]
fn a_call_that_is_to_go_elsewhere_is_refused_once_its_host_knows_that_it_has_to_connect_again() {
    let mut bench = Bench::bound();
    bench.request(1, "/a", true);
    bench.host();
    bench.plugin_reads();
    bench.connection.policy().stop = Some(Stop::Elsewhere);
    bench.request(3, "/stopped", true);
    let refused = [Out::GoAway(3, ErrorCode::NO_ERROR), Out::Reset(3, ErrorCode::REFUSED_STREAM)];
    assert_eq!(bench.host(), refused);
    assert_eq!(bench.ended(), [("/stopped".into(), Outcome::Refused)]);
    // What the plugin has goes on.
    bench.answer(1);
    bench.trailers(1);
    bench.plugin();
    assert_eq!(bench.ended(), [("/a".into(), Outcome::Answered(Code::Ok))]);
    assert!(bench.connection.has_left_plugin() && bench.connection.has_left_host());
}
