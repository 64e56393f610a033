//! The host's side: what it sends, and what becomes of it.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    Binding, Connection, StreamId,
    block::{self, Block, Head},
};
use crate::{
    frame::{self, ErrorCode, Frame, Kind, Output, PREFACE, Reader, flag},
    hpack::{DEFAULT_TABLE_SIZE, Decoder},
    limits::{Allowance, Limits},
    policy::{Outcome, Policy},
    stream::{Answer, AtPlugin, End, Stream},
    violation::Violation,
    window::{Announced, Settings},
};

/// The host's connection.
pub(super) struct HostSide {
    pub(super) reader: Reader,
    pub(super) output: Output,
    phase: Phase,
    pub(super) decoder: Decoder,
    block: Option<Block>,
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
enum Phase {
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

// === impl Connection ===

impl<P: Policy> Connection<P> {
    pub(super) fn host_frame(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        if let Some(mut block) = self.host.block.take() {
            if !block.go_on(frame, &self.limits)? {
                self.host.block = Some(block);
                return Ok(());
            }
            return self.host_block(block.head, &block.octets);
        }
        if let Phase::FirstSettings { .. } = self.host.phase {
            if frame.kind != Kind::Settings || frame.has(flag::ACK) {
                return Err(Violation::Preface);
            }
            self.host.phase = Phase::Open;
        }
        match frame.kind {
            Kind::Data => self.host_data(frame),
            Kind::Headers => {
                if frame.stream.is_multiple_of(2) {
                    return Err(Violation::StreamId);
                }
                let (head, content) = Head::of(frame)?;
                if frame.has(flag::END_HEADERS) {
                    return self.host_block(head, content);
                }
                self.host.block = Some(Block::begin(head, content, self.now));
                Ok(())
            }
            Kind::Reset => self.host_reset(frame),
            Kind::WindowUpdate => self.host_window_update(frame),
            Kind::Settings if frame.has(flag::ACK) => self.host_settings_ack(frame),
            Kind::Settings => self.host_settings(frame),
            Kind::Ping => self.host_ping(frame),
            Kind::GoAway => {
                if frame.stream != 0 {
                    return Err(Violation::UnexpectedFrame);
                }
                if frame.payload.len() < 8 {
                    return Err(Violation::FrameSize);
                }
                self.host.leaving = true;
                Ok(())
            }
            Kind::Priority => {
                self.host.count_control(self.now)?;
                block::priority(frame, &mut self.host.output)
            }
            Kind::PushPromise | Kind::Continuation => Err(Violation::UnexpectedFrame),
            Kind::Unknown(_) => self.host.count_control(self.now),
        }
    }

    fn host_block(&mut self, head: Head, octets: &[u8]) -> Result<(), Violation> {
        let mut list = mem::take(&mut self.scratch.list);
        let most = self.limits.header_list as usize;
        let decoded =
            list.decode(&mut self.host.decoder, octets, most).map_err(|_| Violation::Compression)?;
        if decoded.size > self.limits.header_bomb {
            return Err(Violation::HeaderBomb);
        }
        let result = if head.stream > self.host.last_stream {
            self.open(head, &list, decoded.complete)
        } else if head.depends_on_itself {
            self.fail_stream(head.stream, ErrorCode::PROTOCOL_ERROR);
            Ok(())
        } else {
            self.host_trailers(head, &list, decoded.complete)
        };
        self.scratch.list = list;
        result
    }

    fn host_trailers(
        &mut self,
        head: Head,
        list: &crate::head::HeaderList,
        complete: bool,
    ) -> Result<(), Violation> {
        let id = head.stream;
        let Some(stream) = self.streams.get_mut(&id) else {
            return match self.late.contains(&id) {
                true => {
                    if head.end_stream {
                        self.late.remove(&id);
                    }
                    self.host.count_control(self.now)
                }
                false if id == self.host.last_stream => Err(Violation::StreamClosed),
                false => Err(Violation::StreamId),
            };
        };
        let account = stream.account();
        if account.host_done {
            return Err(Violation::StreamClosed);
        }
        if !head.end_stream || !complete || !list.are_trailers() || !account.count_sent(&[], true) {
            self.fail_stream(id, ErrorCode::PROTOCOL_ERROR);
            return Ok(());
        }
        self.scratch.block.clear();
        list.encode(&mut self.scratch.block);
        match stream {
            Stream::Held(stream) => stream.body.end(End::Trailers(self.scratch.block.to_vec())),
            Stream::Passed(stream) => {
                if stream.at_plugin == AtPlugin::Open {
                    stream.up.queue.end(End::Trailers(self.scratch.block.to_vec()));
                    self.up_waiting.insert(id);
                    self.flush_up();
                } else {
                    self.settle(id);
                }
            }
            Stream::Served(_) => {}
        }
        Ok(())
    }

    fn host_data(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let id = frame.stream;
        if id == 0 {
            return Err(Violation::UnexpectedFrame);
        }
        let (content, _) = frame.content()?;
        let size = frame.payload.len();
        let end = frame.has(flag::END_STREAM);
        self.up.arrived(size).map_err(|_| Violation::WindowExceeded)?;
        if content.is_empty() && !end {
            self.host.count_control(self.now)?;
        }
        let widest = self.host.announced.widest();
        let Some(stream) = self.streams.get_mut(&id) else {
            self.up.dropped(size);
            if id > self.host.last_stream {
                return Err(Violation::UnexpectedFrame);
            }
            return self.late_data(id, end);
        };
        let account = stream.account();
        if account.host_done {
            self.up.dropped(size);
            self.fail_stream(id, ErrorCode::STREAM_CLOSED);
            return self.host.count_control(self.now);
        }
        let as_announced = account.count_sent(content, end);
        let allowed = match stream {
            Stream::Held(stream) => stream.body.len() + size <= widest as usize,
            Stream::Passed(stream) => stream.up.allows(size, widest),
            // Credit for these is given as they are read; what may wait is bounded otherwise.
            Stream::Served(_) => true,
        };
        if !as_announced || !allowed {
            self.up.dropped(size);
            let code = if allowed { ErrorCode::PROTOCOL_ERROR } else { ErrorCode::FLOW_CONTROL_ERROR };
            self.fail_stream(id, code);
            return Ok(());
        }
        match stream {
            Stream::Held(stream) => {
                // Padding is of no use to anyone, and would have to be cut with the rest.
                let padding = size - content.len();
                stream.body.push(content);
                if end {
                    stream.body.end(End::Data);
                }
                self.up.dropped(padding);
                self.host.output.window_update(id, length(padding));
                self.give_held_back(id, content.len());
            }
            Stream::Passed(stream) => {
                let Binding::Bound(side) = &mut self.plugin else {
                    self.up.dropped(size);
                    self.settle(id);
                    return Ok(());
                };
                if stream.at_plugin != AtPlugin::Open {
                    self.up.dropped(size);
                    self.settle(id);
                } else if stream.up.queue.is_empty()
                    && size <= self.up.room()
                    && size <= stream.up.room(side.window)
                {
                    side.was_sent_data();
                    stream.up.used += signed(size);
                    self.up.passed(size);
                    if size > 0 || end {
                        let flags = frame.flags & (flag::END_STREAM | flag::PADDED);
                        self.to_plugin.frame(Kind::Data, flags, id, frame.payload);
                    }
                    if end {
                        self.settle(id);
                    }
                } else {
                    let padding = size - content.len();
                    stream.up.queue.push(content);
                    if end {
                        stream.up.queue.end(End::Data);
                    }
                    self.up.dropped(padding);
                    self.host.output.window_update(id, length(padding));
                    self.up_waiting.insert(id);
                    self.flush_up();
                }
            }
            Stream::Served(stream) => {
                let arrived = stream.served.arrived(content, length(size));
                let credit = if end { 0 } else { stream.served.credit() };
                if let Err(status) = arrived {
                    stream.served.finish(status);
                }
                self.up.dropped(size);
                self.host.output.window_update(id, credit);
            }
        }
        Ok(())
    }

    /// DATA of a stream that is over.
    fn late_data(&mut self, id: StreamId, end: bool) -> Result<(), Violation> {
        if self.late.contains(&id) {
            if end {
                self.late.remove(&id);
            }
            return Ok(());
        }
        self.host.output.reset(id, ErrorCode::STREAM_CLOSED);
        self.host.count_control(self.now)
    }

    fn host_reset(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let code = block::reset_code(frame)?;
        let id = frame.stream;
        self.late.remove(&id);
        let Some(stream) = self.streams.get_mut(&id) else {
            if id > self.host.last_stream || id.is_multiple_of(2) {
                return Err(Violation::UnexpectedFrame);
            }
            return self.host.count_control(self.now);
        };
        let (begun, answered) = match stream {
            Stream::Held(_) => (false, None),
            Stream::Passed(stream) => match stream.answer {
                Answer::None => (false, None),
                Answer::Begun { .. } => (true, None),
                Answer::Ended(outcome) => (true, Some(outcome)),
            },
            Stream::Served(_) => (true, None),
        };
        let account = stream.account();
        account.host_done = true;
        let on_time =
            code == ErrorCode::CANCEL && account.deadline.is_some_and(|deadline| deadline <= self.now);
        if !begun && !on_time && code != ErrorCode::NO_ERROR {
            self.host.count_reset(self.now)?;
        }
        if let Stream::Passed(stream) = stream
            && stream.at_plugin == AtPlugin::Open
        {
            self.to_plugin.reset(id, code);
        }
        self.remove(id, answered.unwrap_or(Outcome::Cancelled(code)));
        Ok(())
    }

    fn host_window_update(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let credit = block::credit(frame)?;
        let id = frame.stream;
        self.host.count_control(self.now)?;
        if id == 0 {
            if credit == 0 {
                return Err(Violation::UnexpectedFrame);
            }
            self.down.credited(credit).map_err(|_| Violation::WindowOverflow)?;
            self.flush_down();
            return Ok(());
        }
        let told = i64::from(self.host.told_window);
        let Some(stream) = self.streams.get_mut(&id) else {
            return if id > self.host.last_stream || id.is_multiple_of(2) {
                Err(Violation::UnexpectedFrame)
            } else {
                Ok(())
            };
        };
        let used = match stream {
            Stream::Held(stream) => -stream.credit,
            Stream::Passed(stream) => stream.down.used,
            Stream::Served(stream) => stream.used,
        } - i64::from(credit);
        if credit == 0 || told - used > frame::MAX_WINDOW {
            let code = if credit == 0 { ErrorCode::PROTOCOL_ERROR } else { ErrorCode::FLOW_CONTROL_ERROR };
            self.fail_stream(id, code);
            return Ok(());
        }
        match stream {
            Stream::Held(stream) => stream.credit = -used,
            Stream::Passed(stream) => {
                stream.down.used = used;
                if stream.at_plugin == AtPlugin::Open && !stream.is_answered() {
                    self.to_plugin.window_update(id, credit);
                }
            }
            Stream::Served(stream) => stream.used = used,
        }
        Ok(())
    }

    fn host_settings(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let settings = block::settings(frame)?;
        self.host.count_control(self.now)?;
        let window = block::initial_window(&settings);
        if let Some(window) = window {
            self.check_windows(window)?;
            self.host.told_window = window;
        }
        for setting in &settings {
            if let block::Setting::MaxHeaderList(size) = setting {
                self.host.header_list = Some(*size);
            }
        }
        if let Binding::Bound(side) = &mut self.plugin {
            self.to_plugin.settings(settings.iter().map(|setting| setting.pair()));
            side.announced.sent(Settings { window, relayed: true });
        } else {
            self.host.window = self.host.told_window;
            self.host.output.settings_ack();
        }
        Ok(())
    }

    /// Whether no stream's window gets too large with a new initial one.
    fn check_windows(&self, window: u32) -> Result<(), Violation> {
        let fits = self.streams.values().all(|stream| {
            let used = match stream {
                Stream::Held(stream) => -stream.credit,
                Stream::Passed(stream) => stream.down.used,
                Stream::Served(stream) => stream.used,
            };
            i64::from(window) - used <= frame::MAX_WINDOW
        });
        if fits { Ok(()) } else { Err(Violation::WindowOverflow) }
    }

    fn host_settings_ack(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        if frame.stream != 0 {
            return Err(Violation::UnexpectedFrame);
        }
        if !frame.payload.is_empty() {
            return Err(Violation::FrameSize);
        }
        let settings = self.host.announced.acknowledged().ok_or(Violation::UnexpectedFrame)?;
        if let Binding::Bound(side) = &mut self.plugin
            && settings.relayed
        {
            side.window = settings.window.unwrap_or(side.window);
            self.to_plugin.settings_ack();
            self.flush_up();
        }
        Ok(())
    }

    fn host_ping(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let opaque = block::ping(frame)?;
        if !frame.has(flag::ACK) {
            self.host.output.ping(&opaque, true);
            return self.host.count_control(self.now);
        }
        if opaque == DRAIN_PING && self.host.is_asked() {
            self.last_go_away();
        }
        Ok(())
    }
}

pub(super) fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
