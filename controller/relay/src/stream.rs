//! The states of one relayed stream. Each owns what is valid in it, and nothing else.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use crate::{
    frame::ErrorCode,
    grpc::{Code, Copy, Messages},
    head::HeaderList,
    limits::Held,
    policy::{Ended, Observe, Outcome},
    served::Served,
};

/// A stream that a host opened and that is not over.
pub(crate) enum Stream<C> {
    /// Nothing of it has gone to the plugin.
    Held(Box<HeldStream<C>>),
    /// Its head has gone to the plugin, or is on its way.
    Passed(Box<PassedStream<C>>),
    /// The program serves it.
    Served(Box<ServedStream<C>>),
}

/// What is known of a call, whatever becomes of it.
pub(crate) struct Account<C> {
    pub(crate) call: C,
    pub(crate) arrived: Instant,
    /// When its time limit ends.
    pub(crate) deadline: Option<Instant>,
    pub(crate) waited: Duration,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) request: Option<Copy>,
    pub(crate) answer: Option<Copy>,
    /// The host sent its last frame.
    pub(crate) host_done: bool,
    /// The length that the host said its request has.
    pub(crate) length: Option<u64>,
}

/// A call that waits.
pub(crate) struct HeldStream<C> {
    pub(crate) account: Account<C>,
    pub(crate) list: HeaderList,
    /// What it takes of the budget of those that wait.
    pub(crate) place: Held,
    /// When it will have waited long enough.
    pub(crate) until: Instant,
    pub(crate) body: Queue,
    /// Bytes of it that the host's connection was given back.
    pub(crate) given_back: usize,
    /// What the host is ready to take of the answer, beyond the initial window.
    pub(crate) credit: i64,
}

/// A call at the plugin.
pub(crate) struct PassedStream<C> {
    pub(crate) account: Account<C>,
    /// Where its head begins in all that was written to the plugin.
    pub(crate) place: u64,
    pub(crate) up: Lane,
    pub(crate) down: Lane,
    pub(crate) answer: Answer,
    /// Follows the answer's messages.
    pub(crate) messages: Messages,
    /// The plugin's side is over: nothing more comes from there, or goes there.
    pub(crate) at_plugin: AtPlugin,
}

/// A stream as the plugin has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtPlugin {
    /// Open, in one direction at least.
    Open,
    /// Both directions ended.
    Done,
    /// It was reset, or went with its connection, after it was answered to the end; the host is to be told with this code when it has
    /// the whole answer.
    Reset(ErrorCode),
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    None,
    Begun { status: u16 },
    Ended(Outcome),
}

/// A stream that the program serves.
pub(crate) struct ServedStream<C> {
    pub(crate) account: Account<C>,
    /// Bytes that the host was sent beyond its credit for this stream.
    pub(crate) used: i64,
    pub(crate) served: Served,
}

/// One direction of a stream: what of its receiver's window is used, and what waits for room in it.
#[derive(Default)]
pub(crate) struct Lane {
    /// Bytes passed less credit given: the window is the initial window less this.
    pub(crate) used: i64,
    pub(crate) queue: Queue,
}

/// A part of a body that waits, and how the body ends.
#[derive(Default)]
pub(crate) struct Queue {
    data: BytesMut,
    end: Option<End>,
}

/// How a body ends.
#[derive(PartialEq, Eq)]
pub(crate) enum End {
    /// With its last byte.
    Data,
    /// With trailers, as a header block.
    Trailers(Vec<u8>),
}

// === impl Account ===

impl<C> Account<C> {
    pub(crate) fn new(call: C, arrived: Instant, timeout: Option<Duration>, observe: Observe) -> Self {
        Self {
            call,
            arrived,
            deadline: timeout.and_then(|timeout| arrived.checked_add(timeout)),
            waited: Duration::ZERO,
            sent: 0,
            received: 0,
            request: observe.request.map(Copy::new),
            answer: observe.answer.map(Copy::new),
            host_done: false,
            length: None,
        }
    }

    /// Counts a part of the request's body. False if that is not the body that was announced.
    pub(crate) fn count_sent(&mut self, content: &[u8], end: bool) -> bool {
        self.sent += content.len() as u64;
        self.host_done |= end;
        if let Some(copy) = &mut self.request {
            copy.extend(content);
        }
        match self.length {
            Some(length) if end => self.sent == length,
            Some(length) => self.sent <= length,
            None => true,
        }
    }

    /// Counts a part of the answer's body.
    pub(crate) fn count_received(&mut self, content: &[u8]) {
        self.received += content.len() as u64;
        if let Some(copy) = &mut self.answer {
            copy.extend(content);
        }
    }

    pub(crate) fn end(self, outcome: Outcome, now: Instant) -> (C, Ended) {
        let ended = Ended {
            outcome,
            waited: self.waited,
            took: now.saturating_duration_since(self.arrived),
            sent: self.sent,
            received: self.received,
            request: self.request,
            answer: self.answer,
        };
        (self.call, ended)
    }
}

// === impl Stream ===

impl<C> Stream<C> {
    pub(crate) fn account(&mut self) -> &mut Account<C> {
        match self {
            Self::Held(stream) => &mut stream.account,
            Self::Passed(stream) => &mut stream.account,
            Self::Served(stream) => &mut stream.account,
        }
    }

    pub(crate) fn into_account(self) -> Account<C> {
        match self {
            Self::Held(stream) => stream.account,
            Self::Passed(stream) => stream.account,
            Self::Served(stream) => stream.account,
        }
    }
}

// === impl PassedStream ===

impl<C> PassedStream<C> {
    /// Whether the answer has ended, though its end may still wait here.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.answer, Answer::Ended(_))
    }

    /// Whether nothing is left to be done in either direction.
    pub(crate) fn is_over(&self) -> bool {
        let sent = match self.at_plugin {
            AtPlugin::Open => self.account.host_done && self.up.queue.is_empty(),
            AtPlugin::Done | AtPlugin::Reset(_) => true,
        };
        sent && self.is_answered() && self.down.queue.is_empty()
    }
}

// === impl Answer ===

impl Answer {
    /// The outcome that trailers, or an answer of trailers only, tell.
    pub(crate) fn outcome(http: u16, grpc: Option<Code>) -> Outcome {
        match grpc {
            Some(code) => Outcome::Answered(code),
            None => Outcome::NotGrpc(http),
        }
    }
}

// === impl Lane ===

impl Lane {
    /// What the receiver of this direction takes now, of a stream whose window began as `initial`.
    pub(crate) fn room(&self, initial: u32) -> usize {
        usize::try_from(i64::from(initial) - self.used).unwrap_or(0)
    }

    /// Whether the sender may send `count` more bytes, of a stream whose window it may think began as `initial`.
    pub(crate) fn allows(&self, count: usize, initial: u32) -> bool {
        self.queue.len() + count <= self.room(initial)
    }
}

// === impl Queue ===

impl Queue {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    pub(crate) fn end(&mut self, end: End) {
        self.end = Some(end);
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether neither bytes nor an end wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.end.is_none()
    }

    /// Whether nothing but the end of the body waits, without trailers.
    pub(crate) fn is_bare_end(&self) -> bool {
        self.data.is_empty() && self.end == Some(End::Data)
    }

    /// Takes at most `most` bytes, and the end if nothing waits before it.
    pub(crate) fn take(&mut self, most: usize, write: impl FnOnce(&[u8], Option<End>)) -> usize {
        let count = self.data.len().min(most);
        let end = if count == self.data.len() { self.end.take() } else { None };
        if count > 0 || end.is_some() {
            write(&self.data[..count], end);
        }
        self.data.advance(count);
        if self.data.is_empty() {
            self.data = BytesMut::new();
        }
        count
    }
}
