//! Windows: who may send how much to whom.
//!
//! A stream's window passes end to end, so that a slow reader slows its writer and nothing is kept here. A connection's window cannot
//! pass unchanged, because the relay itself writes DATA to a host, and keeps some of a host's DATA from the plugin. [`Flow`] is the
//! arithmetic of that, for one direction: from a *sender* through us to a *receiver*.
//!
//! Nothing here reads, writes or waits.

use std::collections::VecDeque;

use crate::frame::{DEFAULT_WINDOW, MAX_WINDOW};

/// The connection windows of one direction.
///
/// What the sender could make us keep is `sender + queued - receiver`. Where that is more than nothing it is the *debt*: credit that
/// the sender has beyond what the receiver granted. It is raised by what we write to the receiver ourselves and by credit that we invent;
/// it is paid by credit of the receiver that we do not pass on and by bytes of the sender that never reach the receiver. Where it is
/// less than nothing, it is the *reserve*: credit of the receiver that the sender was not told of yet.
///
/// What waits here is never more than the debt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// What the sender may send us.
    sender: i64,
    /// What we may send the receiver.
    receiver: i64,
    /// What we have of the sender's.
    queued: i64,
    /// The largest window that the receiver ever gave.
    widest: i64,
}

/// More was sent than the window allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded;

/// A window was opened beyond 2^31 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The window that each new stream of a peer begins with, and those that it was told of and has not acknowledged.
#[derive(Debug)]
pub(crate) struct Announced {
    acknowledged: u32,
    sent: VecDeque<Settings>,
}

/// A SETTINGS frame that was sent and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Its initial window.
    pub(crate) window: Option<u32>,
    /// Whether it was the other peer's, who is to have the acknowledgement.
    pub(crate) relayed: bool,
}

// === impl Flow ===

impl Default for Flow {
    fn default() -> Self {
        let window = i64::from(DEFAULT_WINDOW);
        Self { sender: window, receiver: window, queued: 0, widest: window }
    }
}

impl Flow {
    /// The sender sent `count` bytes of DATA, which are ours until they are [passed](Self::passed) or [dropped](Self::dropped).
    ///
    /// # Errors
    ///
    /// [`Exceeded`] if it might not.
    pub(crate) fn arrived(&mut self, count: usize) -> Result<(), Exceeded> {
        let count = signed(count);
        if count > self.sender {
            return Err(Exceeded);
        }
        self.sender -= count;
        self.queued += count;
        Ok(())
    }

    /// Bytes that arrived were sent on, within [`room`](Self::room).
    pub(crate) fn passed(&mut self, count: usize) {
        let count = signed(count);
        debug_assert!(count <= self.queued && count <= self.receiver, "{count} of {self:?}");
        self.queued -= count;
        self.receiver -= count;
    }

    /// Bytes that arrived will not reach the receiver.
    pub(crate) fn dropped(&mut self, count: usize) {
        debug_assert!(signed(count) <= self.queued, "{count} of {self:?}");
        self.queued -= signed(count);
    }

    /// We sent the receiver `count` bytes of our own, within [`own_room`](Self::own_room).
    pub(crate) fn wrote(&mut self, count: usize) {
        debug_assert!(signed(count) <= self.receiver, "{count} of {self:?}");
        self.receiver -= signed(count);
    }

    /// The receiver gave credit.
    ///
    /// # Errors
    ///
    /// [`Overflow`] if its window is then too large.
    pub(crate) fn credited(&mut self, credit: u32) -> Result<(), Overflow> {
        let receiver = self.receiver + i64::from(credit);
        if receiver > MAX_WINDOW {
            return Err(Overflow);
        }
        self.receiver = receiver;
        self.widest = self.widest.max(receiver);
        Ok(())
    }

    /// Gives the sender credit that the receiver did not give, up to its window's size: the credit to send.
    pub(crate) fn invent(&mut self, credit: usize) -> u32 {
        let credit = signed(credit).min(MAX_WINDOW - self.sender);
        self.sender += credit;
        unsigned(credit)
    }

    /// The credit to send to the sender now, 0 if none. With it the sender can have no more than `most` bytes on the way to the receiver,
    /// of which `buffered` have been passed and not left us.
    pub(crate) fn grant(&mut self, most: usize, buffered: usize) -> u32 {
        let reserve = self.reserve();
        let room = signed(most) - self.sender - self.queued - signed(buffered);
        let grant = reserve.min(room);
        // All there is, or a piece worth a frame.
        if grant <= 0 || (grant < reserve && grant < 16_384) {
            return 0;
        }
        self.sender += grant;
        unsigned(grant)
    }

    /// What may be sent to the receiver.
    pub(crate) fn room(&self) -> usize {
        usize::try_from(self.receiver).unwrap_or(0)
    }

    /// What we may send the receiver of our own.
    ///
    /// A receiver gives credit back when a part of its window is used up, at most the half. Were our part smaller, with a sender that is
    /// silent, it would never come back.
    pub(crate) fn own_room(&self, most: usize) -> usize {
        let allowed = (self.widest.min(signed(most)) / 2).max(16_384);
        usize::try_from((allowed - self.balance()).min(self.receiver)).unwrap_or(0)
    }

    #[cfg(test)]
    /// Credit that the sender has, and bytes of its that wait here, beyond what the receiver granted.
    pub(crate) fn debt(&self) -> u64 {
        self.balance().max(0).unsigned_abs()
    }

    #[cfg(test)]
    /// What waits here.
    pub(crate) fn queued(&self) -> usize {
        usize::try_from(self.queued).unwrap_or(0)
    }

    /// There is no receiver any more: what waits was thrown away, and what arrives is given back.
    pub(crate) fn receiver_gone(&mut self) {
        self.queued = 0;
        self.receiver = self.sender;
    }

    /// There is no sender any more, and nothing of its left: only our own writing is left.
    pub(crate) fn sender_gone(&mut self) {
        self.sender = 0;
    }

    fn balance(&self) -> i64 {
        self.sender + self.queued - self.receiver
    }

    fn reserve(&self) -> i64 {
        (-self.balance()).max(0)
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX / 4)
}

fn unsigned(credit: i64) -> u32 {
    u32::try_from(credit).unwrap_or(0)
}

// === impl Announced ===

impl Default for Announced {
    fn default() -> Self {
        Self { acknowledged: DEFAULT_WINDOW, sent: VecDeque::new() }
    }
}

impl Announced {
    /// SETTINGS were sent.
    pub(crate) fn sent(&mut self, settings: Settings) {
        self.sent.push_back(settings);
    }

    /// The oldest SETTINGS were acknowledged: which they were. `None` if none were out.
    pub(crate) fn acknowledged(&mut self) -> Option<Settings> {
        let settings = self.sent.pop_front()?;
        self.acknowledged = settings.window.unwrap_or(self.acknowledged);
        Some(settings)
    }

    /// The largest window that the peer may rightly think new streams have.
    pub(crate) fn widest(&self) -> u32 {
        self.sent.iter().filter_map(|settings| settings.window).fold(self.acknowledged, u32::max)
    }
}

#[cfg(test)]
mod tests {
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
}
