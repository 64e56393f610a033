//! Windows: who may send how much to whom.
//!
//! A stream's window passes end to end, so that a slow reader slows its writer and nothing is kept here. A connection's window cannot
//! pass unchanged, because the relay itself writes DATA to a host, and keeps some of a host's DATA from the plugin. [`Flow`] is the
//! arithmetic of that, for one direction: from a *sender* through us to a *receiver*.
//!
//! Nothing here reads, writes or waits.

#[cfg(test)]
mod tests;

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
