//! The life of a call: opened, held, passed, answered, over.

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use super::{Binding, Connection, Scratch, StreamId, block::Head, host::Goodbye};
use crate::{
    frame::ErrorCode,
    grpc::{Code, Messages, Status},
    head::{HeaderList, Malformed, Request},
    hpack::encode,
    policy::{Decision, Observe, Outcome, Policy, Stop},
    served::Served,
    stream::{Account, Answer, AtPlugin, End, HeldStream, Lane, PassedStream, Queue, ServedStream, Stream},
    violation::Violation,
};

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl<P: Policy> Connection<P> {
    /// A request's head arrived.
    pub(super) fn open(&mut self, head: Head, list: &HeaderList, complete: bool) -> Result<(), Violation> {
        let id = head.stream;
        self.host.last_stream = id;
        if self.host.goodbye == Goodbye::Said {
            // The host knows, or will when it reads our GOAWAY, that this was not looked at.
            if !head.end_stream {
                self.be_late(id);
            }
            return self.host.count_control(self.now);
        }
        if self.streams.len() >= self.limits.streams as usize {
            return self.turn_away(head, ErrorCode::REFUSED_STREAM);
        }
        if !complete {
            let most = self.limits.header_list;
            let message = format!("the request's header list is larger than {most} bytes");
            self.answer(id, head.end_stream, &Status::new(Code::ResourceExhausted, message));
            return Ok(());
        }
        let Ok(request) = Request::of(list) else { return self.turn_away(head, ErrorCode::PROTOCOL_ERROR) };
        if head.depends_on_itself || head.end_stream && request.content_length().unwrap_or(0) > 0 {
            return self.turn_away(head, ErrorCode::PROTOCOL_ERROR);
        }
        match self.policy.request(&request) {
            Decision::Answer(status) => self.answer(id, head.end_stream, &status),
            Decision::Serve(call) => {
                let mut account = Account::new(call, self.now, None, Observe::default());
                account.host_done = head.end_stream;
                self.serve(id, account);
            }
            Decision::Pass { call, observe } => {
                let mut account = Account::new(call, self.now, request.timeout(), observe);
                account.host_done = head.end_stream;
                account.length = request.content_length();
                let goes = if self.held.is_empty() && self.has_plugin_room() {
                    forward(&mut self.policy, &mut self.scratch, &mut account.call, &request)
                } else {
                    Err(Stop::Wait)
                };
                match goes {
                    Ok(()) => self.pass(id, account, &request, Queue::default()),
                    Err(Stop::Answer(status)) => self.deny(id, account, &status),
                    // One that is to go elsewhere is refused when those that wait are looked at.
                    Err(Stop::Wait | Stop::Elsewhere) => self.hold(id, account, &request, list),
                }
            }
        }
        Ok(())
    }

    /// Resets a stream that was just opened.
    fn turn_away(&mut self, head: Head, code: ErrorCode) -> Result<(), Violation> {
        self.host.output.reset(head.stream, code);
        if !head.end_stream {
            self.be_late(head.stream);
        }
        self.host.count_reset(self.now)
    }

    /// Whether a call may go to the plugin now.
    fn has_plugin_room(&self) -> bool {
        matches!(&self.plugin, Binding::Bound(side) if side.ready && side.active < side.max_streams)
    }

    /// Sends a call's head to the plugin, as [`forward`] amended it, and `body` is what is there to follow.
    fn pass(&mut self, id: StreamId, account: Account<P::Call>, request: &Request<'_>, body: Queue) {
        let Binding::Bound(side) = &mut self.plugin else { return };
        let Scratch { block, amendments, .. } = &mut self.scratch;
        block.clear();
        if mem::replace(&mut side.first_block, false) {
            encode::begin(block);
        }
        // Only a call that waited has less time than its host said.
        let left = account.deadline.filter(|_| account.arrived != self.now);
        request.encode(block, amendments, left.map(|deadline| deadline.saturating_duration_since(self.now)));
        let place = self.to_plugin.place();
        let ends = account.host_done && (body.is_empty() || body.is_bare_end());
        self.to_plugin.headers(id, block, ends);
        side.active += 1;
        side.was_sent_data();
        side.last_stream = id;
        let up = Lane { used: 0, queue: if ends { Queue::default() } else { body } };
        let stream = PassedStream {
            account,
            place,
            up,
            down: Lane::default(),
            answer: Answer::None,
            messages: Messages::default(),
            at_plugin: AtPlugin::Open,
        };
        self.streams.insert(id, Stream::Passed(Box::new(stream)));
    }

    /// Keeps a call until there is a plugin for it.
    fn hold(
        &mut self,
        id: StreamId,
        mut account: Account<P::Call>,
        request: &Request<'_>,
        list: &HeaderList,
    ) {
        let end_stream = account.host_done;
        let Some(place) = self.budget.hold(request.size()) else {
            let status = Status::new(Code::ResourceExhausted, "too many calls are waiting for the plugin");
            return self.deny(id, account, &status);
        };
        let until = match self.policy.may_wait(&mut account.call, request.timeout()) {
            Ok(time) => self.now.checked_add(time),
            Err(status) => return self.deny(id, account, &status),
        };
        // Without either it waits for as long as it takes, which is a century here.
        let until = [until, account.deadline].into_iter().flatten().min().unwrap_or(self.now + CENTURY);
        let mut body = Queue::default();
        if end_stream {
            body.end(End::Data);
        }
        let list = list.clone();
        let held = HeldStream { account, list, place, until, body, given_back: 0, credit: 0 };
        self.held.insert(id);
        self.waits.insert((until, id));
        self.streams.insert(id, Stream::Held(Box::new(held)));
    }

    /// Sends on what waits, in the order of ids, while the plugin takes it.
    pub(super) fn release(&mut self) {
        // Not those whose time is over, though nobody said so yet.
        self.expire_held();
        while self.has_plugin_room()
            && let Some(&id) = self.held.first()
            && let Some(Stream::Held(stream)) = self.streams.get_mut(&id)
        {
            let HeldStream { account, list, .. } = &mut **stream;
            let forwarded = match Request::of(list) {
                Ok(request) => forward(&mut self.policy, &mut self.scratch, &mut account.call, &request),
                // It was one when it arrived.
                Err(Malformed) => Err(Status::new(Code::Internal, "the request is malformed").into()),
            };
            match forwarded {
                Ok(()) => {}
                Err(Stop::Wait) => return,
                Err(Stop::Elsewhere) => {
                    // Before it is refused: else the host tries again right here.
                    self.last_go_away();
                    self.refuse(id);
                    continue;
                }
                Err(Stop::Answer(status)) => {
                    self.answer_held(id, &status, Outcome::NotServed(status.code));
                    continue;
                }
            }
            let Some(Stream::Held(stream)) = self.streams.remove(&id) else { return };
            let HeldStream { mut account, list, until, body, given_back, credit, .. } = *stream;
            self.held.remove(&id);
            self.waits.remove(&(until, id));
            self.held_bytes -= given_back;
            account.waited = self.now.saturating_duration_since(account.arrived);
            let Ok(request) = Request::of(&list) else { continue };
            self.pass(id, account, &request, body);
            if let Some(Stream::Passed(stream)) = self.streams.get_mut(&id) {
                stream.down.used = -credit;
            }
            self.to_plugin.window_update(id, u32::try_from(credit).unwrap_or(0));
            self.flush_stream_up(id);
        }
    }

    /// Answers the calls that waited long enough.
    pub(super) fn expire_held(&mut self) {
        while let Some(&(until, id)) = self.waits.first()
            && until <= self.now
        {
            let Some(Stream::Held(stream)) = self.streams.get(&id) else {
                self.waits.pop_first();
                continue;
            };
            let (status, outcome) = if stream.account.deadline.is_some_and(|deadline| deadline <= self.now) {
                let message = "the call's time limit ended while it waited for the plugin";
                (Status::new(Code::DeadlineExceeded, message), Outcome::DeadlineExceeded)
            } else {
                let status = self.policy.waited(&stream.account.call);
                let outcome = Outcome::NotServed(status.code);
                (status, outcome)
            };
            self.answer_held(id, &status, outcome);
        }
    }

    /// Ends all calls that wait with `status`. Those that come later wait again.
    pub fn fail_held(&mut self, now: Instant, status: &Status) {
        self.now = now;
        for id in self.held.clone() {
            self.answer_held(id, status, Outcome::NotServed(status.code));
        }
        self.after();
    }

    /// Asks again of each call that waits whether it may: the prospects are not what they were.
    pub fn reconsider(&mut self, now: Instant) {
        self.now = now;
        self.expire_held();
        for id in self.held.clone() {
            let Some(Stream::Held(stream)) = self.streams.get_mut(&id) else { continue };
            let left = stream.until.saturating_duration_since(now);
            if let Err(status) = self.policy.may_go_on(&mut stream.account.call, left) {
                self.answer_held(id, &status, Outcome::NotServed(status.code));
            }
        }
        self.after();
    }

    fn answer_held(&mut self, id: StreamId, status: &Status, outcome: Outcome) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let account = stream.account();
        account.waited = self.now.saturating_duration_since(account.arrived);
        let end_stream = account.host_done;
        self.remove(id, outcome);
        self.answer(id, end_stream, status);
    }

    /// Answers a call that was just opened, and that the program knows, with a status alone.
    fn deny(&mut self, id: StreamId, account: Account<P::Call>, status: &Status) {
        self.answer(id, account.host_done, status);
        let (call, ended) = account.end(Outcome::NotServed(status.code), self.now);
        self.policy.ended(call, ended);
    }

    /// Answers with a status alone. `end_stream`: the host sent all of its request.
    pub(super) fn answer(&mut self, id: StreamId, end_stream: bool, status: &Status) {
        let block = status_block(&mut self.scratch.block, status, true);
        self.host.write_headers(id, block, true);
        self.stop_host(id, end_stream);
    }

    /// After our answer, tells a host that has not sent all of its request that the rest is not wanted.
    pub(super) fn stop_host(&mut self, id: StreamId, end_stream: bool) {
        if !end_stream {
            self.host.output.reset(id, ErrorCode::NO_ERROR);
            self.be_late(id);
        }
    }

    /// More of a stream that is over may come, and is not wrong.
    pub(super) fn be_late(&mut self, id: StreamId) {
        self.late.insert(id);
        if self.late.len() > self.limits.streams as usize {
            self.late.pop_first();
        }
    }

    /// Ends a stream of which the host broke a rule.
    pub(super) fn fail_stream(&mut self, id: StreamId, code: ErrorCode) {
        self.host.output.reset(id, code);
        let Some(stream) = self.streams.get(&id) else { return };
        if let Stream::Passed(stream) = stream
            && stream.at_plugin == AtPlugin::Open
        {
            self.to_plugin.reset(id, ErrorCode::CANCEL);
        }
        self.be_late(id);
        self.remove(id, Outcome::Malformed);
    }

    /// Serves a stream ourselves.
    fn serve(&mut self, id: StreamId, account: Account<P::Call>) {
        if self.served.len() >= self.limits.served_streams as usize {
            let status = Status::new(Code::ResourceExhausted, "too many such streams on one connection");
            return self.deny(id, account, &status);
        }
        let block = head_block(&mut self.scratch.block);
        self.host.write_headers(id, block, false);
        let stream = ServedStream { account, used: 0, served: Served::new(self.limits.served_message) };
        self.streams.insert(id, Stream::Served(Box::new(stream)));
        self.served.insert(id);
        self.opened.push_back(id);
    }

    /// Removes a stream that is over, with all that waits of it, and tells the program.
    pub(super) fn remove(&mut self, id: StreamId, outcome: Outcome) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.drop_waiting(id, &stream);
        let (call, ended) = stream.into_account().end(outcome, self.now);
        self.policy.ended(call, ended);
    }

    /// Follows a passed stream to its end, if that is reached.
    pub(super) fn settle(&mut self, id: StreamId) {
        let Some(Stream::Passed(stream)) = self.streams.get_mut(&id) else { return };
        let Answer::Ended(outcome) = stream.answer else { return };
        let host_done = stream.account.host_done;
        if stream.at_plugin == AtPlugin::Open && host_done && stream.up.queue.is_empty() {
            stream.at_plugin = AtPlugin::Done;
            if let Binding::Bound(side) = &mut self.plugin {
                side.active -= 1;
            }
        }
        if !stream.is_over() {
            return;
        }
        let reset = match stream.at_plugin {
            AtPlugin::Reset(code) if !host_done => Some(code),
            _ => None,
        };
        self.remove(id, outcome);
        if let Some(code) = reset {
            self.host.output.reset(id, code);
            self.be_late(id);
        }
    }
}

/// Asks the program for its last word on a call that is to go to the plugin, and what it sets on it.
fn forward<P: Policy>(
    policy: &mut P,
    scratch: &mut Scratch,
    call: &mut P::Call,
    request: &Request<'_>,
) -> Result<(), Stop> {
    scratch.amendments.clear();
    policy.forward(call, request, &mut scratch.amendments)
}

/// The head of an answer of ours.
fn head_block(block: &mut BytesMut) -> &[u8] {
    block.clear();
    encode::field(block, b":status", b"200", false);
    encode::field(block, b"content-type", b"application/grpc", false);
    block
}

/// The end of an answer of ours: trailers, or all of it if `alone`.
pub(super) fn status_block<'a>(block: &'a mut BytesMut, status: &Status, alone: bool) -> &'a [u8] {
    if alone {
        head_block(block);
    } else {
        block.clear();
    }
    encode::field(block, b"grpc-status", status.code_header().as_bytes(), false);
    if !status.message.is_empty() {
        encode::field(block, b"grpc-message", status.message_header().as_bytes(), false);
    }
    block
}
