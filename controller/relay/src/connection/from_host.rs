//! What the host sends, and what becomes of it.

use std::mem;

use super::{
    Binding, Connection, StreamId,
    block::{Block, Head},
    host::{DRAIN_PING, Phase, length, signed},
    payload::{self, Setting},
};
use crate::{
    frame::{self, ErrorCode, Frame, Kind, flag},
    head::HeaderList,
    policy::{Outcome, Policy},
    stream::{Answer, AtPlugin, End, Stream},
    violation::Violation,
    window::Settings,
};

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
                payload::priority(frame, &mut self.host.output)
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

    fn host_trailers(&mut self, head: Head, list: &HeaderList, complete: bool) -> Result<(), Violation> {
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
                    self.flush_stream_up(id);
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
                    self.flush_stream_up(id);
                }
            }
            Stream::Served(stream) => {
                let before = stream.served.untaken().len();
                let arrived = stream.served.arrived(content, length(size));
                for message in stream.served.untaken().skip(before) {
                    self.policy.heard(&mut stream.account.call, message);
                }
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
        let code = payload::reset_code(frame)?;
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
        let credit = payload::credit(frame)?;
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
        let settings = payload::settings(frame)?;
        self.host.count_control(self.now)?;
        let window = payload::initial_window(&settings);
        if let Some(window) = window {
            self.check_windows(window)?;
            self.host.told_window = window;
        }
        for setting in &settings {
            if let Setting::MaxHeaderList(size) = setting {
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
        let opaque = payload::ping(frame)?;
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
