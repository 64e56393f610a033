//! What the plugin sends, and what becomes of it.

use std::mem;

use super::{
    Binding, Connection, StreamId,
    block::{Block, Head},
    host::{length, signed},
    payload::{self, Setting},
};
use crate::{
    frame::{self, ErrorCode, Frame, Kind, flag},
    policy::{Outcome, Policy},
    stream::{Answer, AtPlugin, End, Queue, Stream},
    violation::Violation,
    window::Settings,
};

/// Streams of ours that a host may have open beside as many calls as its plugin takes: they count for the host too.
const OWN_STREAMS: u32 = 16;
/// What we add to a request's header list, at most.
const AMENDED: u32 = 512;

impl<P: Policy> Connection<P> {
    pub(super) fn plugin_frame(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let Binding::Bound(side) = &mut self.plugin else { return Ok(()) };
        if let Some(mut block) = side.block.take() {
            if !block.go_on(frame, &self.limits)? {
                side.block = Some(block);
                return Ok(());
            }
            return self.plugin_block(block.head, &block.octets);
        }
        if !side.ready && (frame.kind != Kind::Settings || frame.has(flag::ACK)) {
            return Err(Violation::Preface);
        }
        match frame.kind {
            Kind::Data => self.plugin_data(frame),
            Kind::Headers => {
                let (head, content) = Head::of(frame)?;
                if frame.has(flag::END_HEADERS) {
                    return self.plugin_block(head, content);
                }
                side.block = Some(Block::begin(head, content, self.now));
                Ok(())
            }
            Kind::Reset => self.plugin_reset(frame),
            Kind::WindowUpdate => self.plugin_window_update(frame),
            Kind::Settings if frame.has(flag::ACK) => self.plugin_settings_ack(frame),
            Kind::Settings => self.plugin_settings(frame),
            Kind::Ping => {
                let opaque = payload::ping(frame)?;
                if !frame.has(flag::ACK) {
                    side.count_control(self.now)?;
                    if side.leaving && self.host.is_asked() {
                        side.pings.push(opaque);
                    } else {
                        self.to_plugin.ping(&opaque, true);
                    }
                }
                Ok(())
            }
            Kind::GoAway => self.plugin_go_away(frame),
            Kind::Priority | Kind::Unknown(_) => side.count_control(self.now),
            Kind::PushPromise | Kind::Continuation => Err(Violation::UnexpectedFrame),
        }
    }

    /// A stream of the plugin's that is not there: was there one?
    fn check_known(&self, id: StreamId) -> Result<(), Violation> {
        match &self.plugin {
            Binding::Bound(side) if id % 2 == 1 && id <= side.last_stream => Ok(()),
            _ => Err(Violation::StreamId),
        }
    }

    fn plugin_block(&mut self, head: Head, octets: &[u8]) -> Result<(), Violation> {
        let Binding::Bound(side) = &mut self.plugin else { return Ok(()) };
        let id = head.stream;
        let said = side.answers.read(octets).map_err(|_| Violation::Compression)?;
        if said.size > self.limits.header_bomb {
            return Err(Violation::HeaderBomb);
        }
        let Some(Stream::Passed(stream)) = self.streams.get_mut(&id) else { return self.check_known(id) };
        stream.answer = match (stream.answer, said.http, head.end_stream) {
            (Answer::Ended(_), ..) => return Err(Violation::StreamClosed),
            // Of the answer to come.
            (Answer::None, Some(100..=199), false) => Answer::None,
            (Answer::None, Some(status), false) => Answer::Begun { status },
            (Answer::None, Some(status), true) | (Answer::Begun { status }, None, true) => {
                Answer::Ended(Answer::outcome(status, said.grpc))
            }
            _ => return Err(Violation::UnexpectedFrame),
        };
        if stream.down.queue.is_empty() {
            self.host.write_headers(id, octets, head.end_stream);
        } else {
            stream.down.queue.end(End::Trailers(octets.to_vec()));
        }
        if head.end_stream {
            self.settle(id);
        }
        Ok(())
    }

    fn plugin_data(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let Binding::Bound(side) = &mut self.plugin else { return Ok(()) };
        let id = frame.stream;
        let (content, _) = frame.content()?;
        let size = frame.payload.len();
        let end = frame.has(flag::END_STREAM);
        self.down.arrived(size).map_err(|_| Violation::WindowExceeded)?;
        if content.is_empty() && !end {
            side.count_control(self.now)?;
        }
        let Some(Stream::Passed(stream)) = self.streams.get_mut(&id) else {
            self.down.dropped(size);
            return self.check_known(id);
        };
        let Answer::Begun { status } = stream.answer else {
            self.down.dropped(size);
            let ended = matches!(stream.answer, Answer::Ended(_));
            return Err(if ended { Violation::StreamClosed } else { Violation::UnexpectedFrame });
        };
        if !stream.down.allows(size, side.announced.widest()) {
            self.down.dropped(size);
            return Err(Violation::WindowExceeded);
        }
        stream.account.count_received(content);
        stream.messages.follow(content);
        if end {
            stream.answer = Answer::Ended(Answer::outcome(status, None));
        }
        if stream.down.queue.is_empty() && size <= self.down.room() {
            stream.down.used += signed(size);
            self.down.passed(size);
            if size > 0 || end {
                self.host.pass_data(frame);
            }
        } else {
            let padding = size - content.len();
            stream.down.queue.push(content);
            if end {
                stream.down.queue.end(End::Data);
            }
            self.down.dropped(padding);
            self.to_plugin.window_update(id, length(padding));
            self.flush_stream_down(id);
        }
        if end {
            self.settle(id);
        }
        Ok(())
    }

    fn plugin_reset(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let code = payload::reset_code(frame)?;
        let id = frame.stream;
        let Binding::Bound(side) = &mut self.plugin else { return Ok(()) };
        let Some(Stream::Passed(stream)) = self.streams.get_mut(&id) else {
            side.count_control(self.now)?;
            return self.check_known(id);
        };
        if stream.at_plugin != AtPlugin::Open {
            return side.count_control(self.now);
        }
        if stream.is_answered() {
            // The host gets the whole answer first: some of it may wait here.
            stream.at_plugin = AtPlugin::Reset(code);
            side.active -= 1;
            self.up.dropped(stream.up.queue.len());
            stream.up.queue = Queue::default();
            self.up_waiting.remove(&id);
            self.settle(id);
            return Ok(());
        }
        self.host.output.reset(id, code);
        if !stream.account.host_done {
            self.be_late(id);
        }
        self.remove(id, Outcome::Reset(code));
        Ok(())
    }

    fn plugin_window_update(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let credit = payload::credit(frame)?;
        let Binding::Bound(side) = &mut self.plugin else { return Ok(()) };
        side.count_control(self.now)?;
        if credit == 0 {
            return Err(Violation::UnexpectedFrame);
        }
        let id = frame.stream;
        if id == 0 {
            self.up.credited(credit).map_err(|_| Violation::WindowOverflow)?;
            self.flush_up();
            return Ok(());
        }
        let Some(Stream::Passed(stream)) = self.streams.get_mut(&id) else { return self.check_known(id) };
        let used = stream.up.used - i64::from(credit);
        if i64::from(side.window) - used > frame::MAX_WINDOW {
            return Err(Violation::WindowOverflow);
        }
        stream.up.used = used;
        if !stream.account.host_done {
            self.host.output.window_update(id, credit);
        }
        if !stream.up.queue.is_empty() {
            self.flush_stream_up(id);
        }
        Ok(())
    }

    fn plugin_settings(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let settings = payload::settings(frame)?;
        let Binding::Bound(side) = &mut self.plugin else { return Ok(()) };
        side.count_control(self.now)?;
        let window = payload::initial_window(&settings);
        let mut header_list = None;
        for setting in &settings {
            match setting {
                Setting::MaxConcurrentStreams(streams) => side.max_streams = *streams,
                Setting::MaxHeaderList(size) => header_list = Some(*size),
                Setting::InitialWindow(_) => {}
            }
        }
        let ours = &self.limits;
        let host_settings = |setting: &Setting| match *setting {
            Setting::MaxConcurrentStreams(streams) => {
                Setting::MaxConcurrentStreams(streams.saturating_add(OWN_STREAMS).min(ours.streams))
            }
            Setting::MaxHeaderList(size) => {
                Setting::MaxHeaderList(size.saturating_sub(AMENDED).min(ours.header_list))
            }
            Setting::InitialWindow(window) => Setting::InitialWindow(window),
        };
        if mem::replace(&mut side.ready, true) {
            self.host.output.settings(settings.iter().map(host_settings).map(Setting::pair));
            self.host.announced.sent(Settings { window, relayed: true });
            return Ok(());
        }
        // The first says all, and is acknowledged by us: what the host was told before was said by us.
        side.window = window.unwrap_or(frame::DEFAULT_WINDOW);
        let all = [
            Setting::MaxConcurrentStreams(side.max_streams),
            Setting::InitialWindow(side.window),
            Setting::MaxHeaderList(header_list.unwrap_or(u32::MAX)),
        ];
        self.host.output.settings(all.iter().map(host_settings).map(Setting::pair));
        self.host.announced.sent(Settings { window: Some(side.window), relayed: false });
        self.to_plugin.settings_ack();
        self.release();
        Ok(())
    }

    fn plugin_settings_ack(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        if frame.stream != 0 || !frame.payload.is_empty() {
            return Err(Violation::FrameSize);
        }
        let Binding::Bound(side) = &mut self.plugin else { return Ok(()) };
        let settings = side.announced.acknowledged().ok_or(Violation::UnexpectedFrame)?;
        if settings.relayed {
            self.host.window = settings.window.unwrap_or(self.host.window);
            self.host.output.settings_ack();
        }
        Ok(())
    }

    fn plugin_go_away(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        if frame.stream != 0 {
            return Err(Violation::UnexpectedFrame);
        }
        let [a, b, c, d, ..] = *frame.payload else { return Err(Violation::FrameSize) };
        if frame.payload.len() < 8 {
            return Err(Violation::FrameSize);
        }
        let last = u32::from_be_bytes([a, b, c, d]) & frame::MAX_STREAM_ID;
        let code = ErrorCode(frame::number(&frame.payload[4..]));
        tracing::debug!(last, code = code.0, "the plugin is leaving");
        let Binding::Bound(side) = &mut self.plugin else { return Ok(()) };
        if last == frame::MAX_STREAM_ID {
            side.leaving = true;
            self.begin_drain();
            return Ok(());
        }
        self.last_go_away();
        // What the plugin says it did not look at may be tried again, after the GOAWAY that keeps the host from trying it here.
        let unseen: Vec<StreamId> = self.streams.range(last + 1..).map(|(id, _)| *id).collect();
        for id in unseen {
            if let Some(Stream::Passed(stream)) = self.streams.get(&id)
                && stream.answer == Answer::None
            {
                self.refuse(id);
            }
        }
        self.refuse_held();
        Ok(())
    }
}
