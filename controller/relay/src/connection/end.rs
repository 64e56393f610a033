//! Ends: of the plugin's connection, of the host's, and the drain between two plugins.

use std::{mem, time::Instant};

use super::{
    Binding, Connection, StreamId,
    calls::status_block,
    host::{DRAIN_PING, Goodbye},
};
use crate::{
    frame::{ErrorCode, MAX_STREAM_ID},
    grpc::Status,
    policy::{Outcome, Policy},
    stream::{Answer, AtPlugin, End, Queue, Stream},
    violation::{Peer, Violation},
};

impl<P: Policy> Connection<P> {
    /// Begins to move the host elsewhere: its next connection is to be bound to another plugin. No call fails by it.
    ///
    /// The host is told twice: first that it should open no more streams, and when it has seen that (its answer to a ping; or after
    /// [`drain_ping`](crate::Limits::drain_ping)), which was the last that is served. Calls in flight go on, and streams that the program
    /// serves until the host closes. When no call is left, the plugin's connection is [left](Self::has_left_plugin).
    pub fn drain(&mut self, now: Instant) {
        self.now = now;
        self.begin_drain();
        self.after();
    }

    pub(super) fn begin_drain(&mut self) {
        if self.host.goodbye != Goodbye::Unsaid {
            return;
        }
        self.host.output.go_away(MAX_STREAM_ID, ErrorCode::NO_ERROR, "");
        self.host.output.ping(&DRAIN_PING, false);
        self.host.goodbye = Goodbye::Asked { until: self.now + self.limits.drain_ping };
    }

    /// Says which stream was the last. It is not lower than any that is open.
    pub(super) fn last_go_away(&mut self) {
        if let Goodbye::Unsaid | Goodbye::Asked { .. } = self.host.goodbye {
            self.host.output.go_away(self.host.last_stream, ErrorCode::NO_ERROR, "");
            self.host.goodbye = Goodbye::Said;
        }
        self.answer_plugin_pings();
    }

    /// The plugin's connection ended, and all that came from it was [read](Self::plugin_read). How it ended is about to be
    /// [said](Self::plugin_closed).
    ///
    /// Calls of which the plugin's transport took no byte are refused, so that the host tries them again, on its next connection. What it
    /// calls from now on goes there, too.
    pub fn plugin_ending(&mut self, now: Instant) {
        self.now = now;
        self.refuse_unseen();
        self.after();
    }

    /// The same, and no call is left waiting for it: those that were not refused end with `status`. What had been answered of them stays
    /// so.
    pub fn plugin_closed(&mut self, now: Instant, status: &Status) {
        self.now = now;
        self.end_plugin(status);
        self.after();
    }

    fn end_plugin(&mut self, status: &Status) {
        if !self.is_bound() {
            return;
        }
        self.refuse_unseen();
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            self.end_at_plugin(id, status);
        }
        self.leave_plugin();
    }

    fn refuse_unseen(&mut self) {
        if !self.is_bound() {
            return;
        }
        // Before anything is refused: else the host tries again right here.
        self.last_go_away();
        let taken = self.to_plugin.taken();
        let unseen = |stream: &Stream<P::Call>| match stream {
            Stream::Passed(stream) => stream.at_plugin == AtPlugin::Open && stream.place >= taken,
            Stream::Held(_) => true,
            Stream::Served(_) => false,
        };
        let ids = self.streams.iter().filter(|(_, stream)| unseen(stream)).map(|(id, _)| *id);
        for id in ids.collect::<Vec<StreamId>>() {
            self.refuse(id);
        }
    }

    /// Ends a call that the plugin may have seen, which is gone.
    fn end_at_plugin(&mut self, id: StreamId, status: &Status) {
        let stream = match self.streams.get_mut(&id) {
            Some(Stream::Passed(stream)) if stream.at_plugin == AtPlugin::Open => stream,
            _ => return,
        };
        let host_done = stream.account.host_done;
        let in_message = stream.messages.is_in_message();
        if stream.answer == Answer::None {
            self.remove(id, Outcome::PluginGone { begun: false, in_message });
            return self.answer(id, host_done, status);
        }
        self.up.dropped(stream.up.queue.len());
        stream.up.queue = Queue::default();
        self.up_waiting.remove(&id);
        stream.at_plugin = AtPlugin::Reset(ErrorCode::NO_ERROR);
        if let Answer::Begun { .. } = stream.answer {
            stream.answer = Answer::Ended(Outcome::PluginGone { begun: true, in_message });
            let trailers = status_block(&mut self.scratch.block, status, false);
            if stream.down.queue.is_empty() {
                self.host.write_headers(id, trailers, true);
            } else {
                stream.down.queue.end(End::Trailers(trailers.to_vec()));
            }
        }
        self.settle(id);
    }

    /// Refuses a call that the plugin cannot have seen. After a GOAWAY, never before.
    pub(super) fn refuse(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.account().host_done {
            self.be_late(id);
        }
        self.host.output.reset(id, ErrorCode::REFUSED_STREAM);
        self.remove(id, Outcome::Refused);
    }

    /// Refuses the calls that wait.
    pub(super) fn refuse_held(&mut self) {
        for id in self.held.clone() {
            self.refuse(id);
        }
    }

    /// Ends the calls that are not over with `status`, and leaves the plugin. Streams that the program serves go on.
    pub fn abandon(&mut self, now: Instant, status: &Status) {
        self.now = now;
        self.last_go_away();
        self.fail_held(now, status);
        self.leave_plugin_politely(status);
        self.after();
    }

    /// Ends everything with `status`. The connection is over when the host has taken what waits for it.
    pub fn close(&mut self, now: Instant, status: &Status) {
        self.abandon(now, status);
        for id in self.served.clone() {
            self.end_own(id, status);
        }
        self.after();
    }

    /// The host's connection ended.
    pub fn host_closed(&mut self, now: Instant) {
        self.now = now;
        self.end_host();
    }

    fn end_host(&mut self) {
        self.host.goodbye = Goodbye::Over;
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            self.remove(id, Outcome::HostGone);
        }
        self.leave_plugin_politely(&Status::ok());
    }

    /// A peer broke the rules, which ends its connection.
    pub(super) fn violated(&mut self, by: Peer, violation: Violation) {
        tracing::debug!(by = by.as_str(), %violation, "a peer broke the rules");
        self.policy.violated(by, violation);
        match by {
            Peer::Host => {
                self.end_host();
                self.host.output.go_away(self.host.last_stream, violation.code(), violation.as_str());
            }
            Peer::Plugin => {
                self.to_plugin.go_away(0, violation.code(), violation.as_str());
                self.end_plugin(&Status::unavailable(format!("the plugin's HTTP/2 is broken: {violation}")));
            }
        }
    }

    /// Closes the plugin's connection from our side.
    fn leave_plugin_politely(&mut self, status: &Status) {
        if self.is_bound() {
            self.to_plugin.go_away(0, ErrorCode::NO_ERROR, "");
            self.end_plugin(status);
        }
    }

    fn leave_plugin(&mut self) {
        let Binding::Bound(mut side) = mem::replace(&mut self.plugin, Binding::Gone) else { return };
        // Nobody else will acknowledge these.
        while let Some(settings) = side.announced.acknowledged() {
            if settings.relayed {
                self.host.window = settings.window.unwrap_or(self.host.window);
                self.host.output.settings_ack();
            }
        }
        self.up.receiver_gone();
        self.down.sender_gone();
    }

    /// Leaves the plugin when the last call is over after a drain, and the host when it has no stream left.
    pub(super) fn leave_what_is_over(&mut self) {
        let leaving = self.host.goodbye == Goodbye::Said || self.host.leaving;
        if !leaving || self.host.is_over() {
            return;
        }
        if self.calls() == 0 {
            self.leave_plugin_politely(&Status::ok());
        }
        if self.streams.is_empty() {
            self.host.goodbye = Goodbye::Over;
        }
    }
}
