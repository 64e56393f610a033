//! The host's side: what is known of it, and what is written to it.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{StreamId, block::Block};
use crate::{
    frame::{self, Frame, Kind, Output, PREFACE, Reader, flag},
    hpack::{DEFAULT_TABLE_SIZE, Decoder},
    limits::{Allowance, Limits},
    violation::Violation,
    window::{Announced, Settings},
};

/// The host's connection.
pub(super) struct HostSide {
    pub(super) reader: Reader,
    pub(super) output: Output,
    pub(super) phase: Phase,
    pub(super) decoder: Decoder,
    pub(super) block: Option<Block>,
    /// The highest id it used.
    pub(super) last_stream: StreamId,
    /// The initial window that it last set, which a plugin is told of.
    pub(super) told_window: u32,
    /// The one that is acknowledged, which our own streams keep to.
    pub(super) window: u32,
    pub(super) header_list: Option<u32>,
    /// What it was told of the windows of its streams.
    pub(super) announced: Announced,
    control: Allowance,
    resets: Allowance,
    /// A block was written: the encoder's table is known to have no size.
    block_written: bool,
    pub(super) goodbye: Goodbye,
    /// It said that it is leaving.
    pub(super) leaving: bool,
}

/// How far we have left the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// Not.
    Unsaid,
    /// It was told to open no more streams; at the answer to our ping, or by then, it is told which was the last.
    Asked { until: Instant },
    /// It was told which was the last: later streams are not ours to answer.
    Said,
    /// Nothing it sends is read, what is written goes out.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// So much of the preface was read.
    Preface {
        read: usize,
        since: Instant,
    },
    /// Its first SETTINGS are due.
    FirstSettings {
        since: Instant,
    },
    Open,
}

/// What the ping of a drain carries.
pub(super) const DRAIN_PING: [u8; 8] = *b"plugward";

// === impl HostSide ===

impl HostSide {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        let mut output = Output::default();
        // Not later: a host that is closed before it sees SETTINGS takes the address for broken.
        output.settings([(3, limits.streams), (6, limits.header_list)]);
        let mut announced = Announced::default();
        announced.sent(Settings { window: None, relayed: false });
        Self {
            reader: Reader::default(),
            output,
            phase: Phase::Preface { read: 0, since: now },
            decoder: Decoder::new(DEFAULT_TABLE_SIZE),
            block: None,
            last_stream: 0,
            told_window: frame::DEFAULT_WINDOW,
            window: frame::DEFAULT_WINDOW,
            header_list: None,
            announced,
            control: Allowance::new(limits.control_frames, now),
            resets: Allowance::new(limits.resets, now),
            block_written: false,
            goodbye: Goodbye::Unsaid,
            leaving: false,
        }
    }

    /// Reads what is left of the preface.
    pub(super) fn preface(&mut self, bytes: &mut &[u8]) -> Result<(), Violation> {
        let Phase::Preface { read, since } = self.phase else { return Ok(()) };
        let due = &PREFACE[read..];
        let count = due.len().min(bytes.len());
        let (now, rest) = bytes.split_at(count);
        if now != &due[..count] {
            return Err(Violation::Preface);
        }
        *bytes = rest;
        self.phase = if count == due.len() {
            Phase::FirstSettings { since }
        } else {
            Phase::Preface { read: read + count, since }
        };
        Ok(())
    }

    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let asked = match self.goodbye {
            Goodbye::Asked { until } => Some(until),
            Goodbye::Unsaid | Goodbye::Said => None,
            Goodbye::Over => return None,
        };
        [self.slow_at(limits.patience), asked].into_iter().flatten().min()
    }

    pub(super) fn is_too_slow(&self, limits: &Limits, now: Instant) -> bool {
        !self.is_over() && self.slow_at(limits.patience).is_some_and(|until| until <= now)
    }

    /// Whether nothing more of it is read.
    pub(super) fn is_over(&self) -> bool {
        self.goodbye == Goodbye::Over
    }

    /// Whether it was asked to leave, and has not answered.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.goodbye, Goodbye::Asked { .. })
    }

    fn slow_at(&self, patience: Duration) -> Option<Instant> {
        let begun = match self.phase {
            Phase::Preface { since, .. } | Phase::FirstSettings { since } => Some(since),
            Phase::Open => self.block.as_ref().map(|block| block.begun),
        };
        begun.map(|begun| begun + patience)
    }

    /// Writes a header block.
    pub(super) fn write_headers(&mut self, stream: StreamId, block: &[u8], end_stream: bool) {
        self.control.earn(1);
        if mem::replace(&mut self.block_written, true) || block.first() == Some(&0x20) {
            self.output.headers(stream, block, end_stream);
            return;
        }
        // Whatever table size the host asked for, this is smaller.
        let block = [&[0x20], block].concat();
        self.output.headers(stream, &block, end_stream);
    }

    /// Writes DATA, and allows for the control frames that honest hosts send for it: a PING, an update of the stream's window, and one of
    /// the connection's.
    pub(super) fn write_data(&mut self, stream: StreamId, bytes: &[u8], end_stream: bool) {
        self.control.earn(3);
        self.output.data(stream, bytes, end_stream);
    }

    /// Passes a DATA frame as it is.
    pub(super) fn pass_data(&mut self, frame: &Frame<'_>) {
        self.control.earn(3);
        self.output.frame(
            Kind::Data,
            frame.flags & (flag::END_STREAM | flag::PADDED),
            frame.stream,
            frame.payload,
        );
    }

    /// Counts a frame that is not about any DATA.
    pub(super) fn count_control(&mut self, now: Instant) -> Result<(), Violation> {
        if self.control.spend(now) { Ok(()) } else { Err(Violation::ControlFlood) }
    }

    /// Counts a stream that was opened for nothing.
    pub(super) fn count_reset(&mut self, now: Instant) -> Result<(), Violation> {
        if self.resets.spend(now) { Ok(()) } else { Err(Violation::RapidReset) }
    }
}

pub(super) fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
