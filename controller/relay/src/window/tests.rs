use proptest::prelude::*;

use super::*;

const MOST: usize = 1 << 20;

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Pass(usize),
    Drop(usize),
    Write(usize),
    Credit(u32),
    Invent(usize),
    Grant(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..40_000).prop_map(Step::Send),
        4 => (1usize..40_000).prop_map(Step::Pass),
        1 => (1usize..40_000).prop_map(Step::Drop),
        2 => (1usize..40_000).prop_map(Step::Write),
        4 => (1u32..60_000).prop_map(Step::Credit),
        1 => (1usize..40_000).prop_map(Step::Invent),
        4 => (0usize..40_000).prop_map(Step::Grant),
    ]
}

proptest! {
    #[test]
    fn what_waits_is_never_more_than_the_debt_and_the_room(steps in proptest::collection::vec(step(), 0..200)) {
        let mut flow = Flow::default();
        // What each side knows by itself: it must agree with the flow at each step.
        let (mut sender, mut receiver) = (i64::from(DEFAULT_WINDOW), i64::from(DEFAULT_WINDOW));
        let (mut ours, mut waits) = (0u64, 0usize);
        for step in steps {
            match step {
                Step::Send(count) => {
                    let sent = flow.arrived(count);
                    prop_assert_eq!(sent.is_ok(), signed(count) <= sender);
                    if sent.is_ok() {
                        sender -= signed(count);
                        waits += count;
                    }
                }
                Step::Pass(count) => {
                    let count = count.min(waits).min(flow.room());
                    flow.passed(count);
                    receiver -= signed(count);
                    waits -= count;
                }
                Step::Drop(count) => {
                    let count = count.min(waits);
                    flow.dropped(count);
                    waits -= count;
                }
                Step::Write(count) => {
                    let count = count.min(flow.own_room(MOST));
                    flow.wrote(count);
                    receiver -= signed(count);
                    ours += count as u64;
                }
                Step::Credit(credit) => {
                    if flow.credited(credit).is_ok() {
                        receiver += i64::from(credit);
                    }
                }
                Step::Invent(credit) => sender += i64::from(flow.invent(credit)),
                Step::Grant(buffered) => {
                    let grant = flow.grant(MOST, buffered);
                    sender += i64::from(grant);
                    if grant > 0 {
                        prop_assert_eq!(flow.debt(), 0, "a debt is paid before anything is passed on");
                        prop_assert!(sender + signed(waits + buffered) <= signed(MOST).max(i64::from(DEFAULT_WINDOW)));
                    }
                }
            }
            prop_assert!(receiver >= 0 && sender >= 0);
            prop_assert_eq!((flow.sender, flow.receiver, flow.queued()), (sender, receiver, waits));
            prop_assert!(waits as u64 <= flow.debt() + receiver.unsigned_abs());
            let _ = ours;
        }
    }

    /// A receiver that gives back what it was sent, and a sender that sends what it may, end where they began.
    #[test]
    fn nothing_is_lost_and_nothing_is_made(sizes in proptest::collection::vec((0usize..20_000, 0usize..20_000, 0usize..20_000, 0usize..20_000), 1..50)) {
        let mut flow = Flow::default();
        for (passed, dropped, wrote, invented) in sizes {
            flow.invent(invented);
            let passed = passed.min(flow.room());
            if flow.arrived(passed).is_ok() {
                flow.passed(passed);
                flow.credited(u32::try_from(passed).unwrap()).unwrap();
            }
            if flow.arrived(dropped).is_ok() {
                flow.dropped(dropped);
            }
            let wrote = wrote.min(flow.own_room(MOST));
            flow.wrote(wrote);
            flow.credited(u32::try_from(wrote).unwrap()).unwrap();
            flow.grant(MOST, 0);
        }
        // What was invented is still with the sender, or was paid: the rest is as it was.
        prop_assert_eq!(flow.room(), DEFAULT_WINDOW as usize);
        prop_assert_eq!(signed(flow.queued()), 0);
        prop_assert_eq!(i64::try_from(flow.debt()).unwrap(), flow.sender - i64::from(DEFAULT_WINDOW));
    }
}

#[test]
fn credit_passes_as_it_comes_where_there_is_no_debt() {
    let mut flow = Flow::default();
    flow.arrived(10).unwrap();
    flow.passed(10);
    flow.credited(10).unwrap();
    assert_eq!(flow.grant(MOST, 0), 10);
    assert_eq!(flow, Flow::default());
}

#[test]
fn what_we_wrote_is_paid_by_credit_that_is_swallowed() {
    let mut flow = Flow::default();
    flow.wrote(100);
    assert_eq!(flow.debt(), 100);
    flow.credited(60).unwrap();
    assert_eq!((flow.grant(MOST, 0), flow.debt()), (0, 40));
    flow.credited(60).unwrap();
    assert_eq!((flow.grant(MOST, 0), flow.debt()), (20, 0));
}

#[test]
fn what_never_reaches_the_receiver_is_given_back_or_pays() {
    let mut flow = Flow::default();
    flow.arrived(100).unwrap();
    flow.dropped(100);
    assert_eq!(flow.grant(MOST, 0), 100);
    assert_eq!(flow.invent(30), 30);
    flow.arrived(100).unwrap();
    flow.dropped(100);
    assert_eq!(flow.grant(MOST, 0), 70);
}

#[test]
fn a_window_wider_than_is_allowed_is_passed_on_as_bytes_leave() {
    let mut flow = Flow::default();
    flow.credited(u32::try_from(4 * MOST).unwrap()).unwrap();
    assert_eq!(flow.grant(MOST, 0) as usize, MOST - DEFAULT_WINDOW as usize);
    flow.arrived(MOST).unwrap();
    flow.passed(MOST);
    assert_eq!(flow.grant(MOST, MOST), 0, "all of it is still here");
    assert_eq!(flow.grant(MOST, MOST / 2) as usize, MOST / 2);
}

#[test]
fn our_own_part_of_a_window_is_large_enough_for_its_credit_to_come_back() {
    for wide in [0, 100_000, 5 << 20, 1 << 30] {
        let mut flow = Flow::default();
        flow.credited(wide).unwrap();
        flow.grant(MOST, 0);
        // Receivers give credit back when a quarter (grpc-go) or the half (h2) of the window is used.
        let window = (wide + DEFAULT_WINDOW) as usize;
        assert!(
            flow.own_room(MOST) >= (window / 2).min(window / 4).max(16_383),
            "{wide}: {}",
            flow.own_room(MOST)
        );
    }
}

#[test]
fn a_window_is_not_opened_beyond_its_limit() {
    let mut flow = Flow::default();
    assert_eq!(flow.credited(u32::MAX >> 1), Err(Overflow));
    assert_eq!(flow.arrived(DEFAULT_WINDOW as usize + 1), Err(Exceeded));
    assert_eq!(flow, Flow::default());
}

#[test]
fn a_peer_may_use_the_widest_window_until_it_acknowledged_the_narrower() {
    let mut announced = Announced::default();
    announced.sent(Settings { window: Some(10), relayed: false });
    announced.sent(Settings { window: None, relayed: true });
    assert_eq!(announced.widest(), DEFAULT_WINDOW);
    assert_eq!(announced.acknowledged(), Some(Settings { window: Some(10), relayed: false }));
    assert_eq!(announced.widest(), 10);
    assert_eq!(announced.acknowledged(), Some(Settings { window: None, relayed: true }));
    assert_eq!(announced.acknowledged(), None);
}
