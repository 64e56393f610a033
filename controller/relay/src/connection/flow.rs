//! What waits for room goes on when there is some, and credit goes to those who may send.

use super::{Binding, Connection, StreamId, host::signed};
use crate::{
    policy::Policy,
    stream::{AtPlugin, End, Stream},
};

impl<P: Policy> Connection<P> {
    /// Passes what waits for the plugin, as far as the window of its connection allows.
    pub(super) fn flush_up(&mut self) {
        let mut next = 0;
        while self.up.room() > 0
            && let Some(&id) = self.up_waiting.range(next..).next()
        {
            next = id + 1;
            self.flush_stream_up(id);
        }
    }

    /// Passes what waits of one stream, as far as the plugin's windows allow.
    pub(super) fn flush_stream_up(&mut self, id: StreamId) {
        let Binding::Bound(side) = &mut self.plugin else { return };
        let Some(Stream::Passed(stream)) = self.streams.get_mut(&id) else { return };
        let room = self.up.room().min(stream.up.room(side.window));
        let output = &mut self.to_plugin;
        let passed = stream.up.queue.take(room, |bytes, end| match end {
            Some(End::Trailers(block)) => {
                output.data(id, bytes, false);
                output.headers(id, &block, true);
            }
            end => output.data(id, bytes, end.is_some()),
        });
        side.was_sent_data();
        stream.up.used += signed(passed);
        self.up.passed(passed);
        if stream.up.queue.is_empty() {
            self.up_waiting.remove(&id);
            self.settle(id);
        } else {
            self.up_waiting.insert(id);
        }
    }

    /// Passes what waits for the host, as far as the window of its connection allows.
    pub(super) fn flush_down(&mut self) {
        let mut next = 0;
        while self.down.room() > 0
            && let Some(&id) = self.down_waiting.range(next..).next()
        {
            next = id + 1;
            self.flush_stream_down(id);
        }
    }

    /// Passes what waits of one stream. Its own window allows all that is here: the plugin keeps to it.
    pub(super) fn flush_stream_down(&mut self, id: StreamId) {
        let Some(Stream::Passed(stream)) = self.streams.get_mut(&id) else { return };
        let host = &mut self.host;
        let passed = stream.down.queue.take(self.down.room(), |bytes, end| match end {
            Some(End::Trailers(block)) => {
                host.write_data(id, bytes, false);
                host.write_headers(id, &block, true);
            }
            end => host.write_data(id, bytes, end.is_some()),
        });
        stream.down.used += signed(passed);
        self.down.passed(passed);
        if stream.down.queue.is_empty() {
            self.down_waiting.remove(&id);
            self.settle(id);
        } else {
            self.down_waiting.insert(id);
        }
    }

    /// Writes what the program sends on streams of its own, as far as the host's windows and the debt allow.
    pub(super) fn flush_own(&mut self) {
        let mut next = 0;
        while let Some(&id) = self.served.range(next..).next() {
            next = id + 1;
            let Some(Stream::Served(stream)) = self.streams.get_mut(&id) else { continue };
            let room = usize::try_from(i64::from(self.host.window) - stream.used).unwrap_or(0);
            let leaving = stream.served.leaving();
            let count = leaving.len().min(room).min(self.down.own_room(self.limits.window));
            if count > 0 {
                self.host.write_data(id, &leaving[..count], false);
                stream.account.count_received(&leaving[..count]);
                stream.used += signed(count);
                stream.served.left(count);
                self.down.wrote(count);
            }
            if let Some(status) = stream.served.end() {
                let status = status.clone();
                self.end_own(id, &status);
            }
        }
    }

    /// Gives the host credit for its connection: what the plugin gave, less the debt, within what may be on its way.
    pub(super) fn grant_up(&mut self) {
        let credit = self.up.grant(self.limits.window, self.to_plugin.len());
        self.host.output.window_update(0, credit);
    }

    /// The same for the plugin. What the host gives before there is one is kept for it.
    pub(super) fn grant_down(&mut self) {
        if let Binding::Bound(_) = self.plugin {
            let credit = self.down.grant(self.limits.window, self.host.output.len());
            self.to_plugin.window_update(0, credit);
        }
    }

    /// Gives the host's connection back what a call that waits took of its window, so that it does not starve the others.
    pub(super) fn give_held_back(&mut self, id: StreamId, count: usize) {
        let Some(Stream::Held(stream)) = self.streams.get_mut(&id) else { return };
        let room = self.limits.hold_bytes.saturating_sub(self.held_bytes);
        let taken = stream.place.more(count.min(room));
        stream.given_back += taken;
        self.held_bytes += taken;
        let credit = self.up.invent(taken);
        self.host.output.window_update(0, credit);
    }

    /// Throws away what waits of a stream that ends otherwise.
    pub(super) fn drop_waiting(&mut self, id: StreamId, stream: &Stream<P::Call>) {
        match stream {
            Stream::Held(stream) => {
                self.held.remove(&id);
                self.waits.remove(&(stream.until, id));
                self.held_bytes -= stream.given_back;
                self.up.dropped(stream.body.len());
            }
            Stream::Passed(stream) => {
                self.up_waiting.remove(&id);
                self.down_waiting.remove(&id);
                self.up.dropped(stream.up.queue.len());
                self.down.dropped(stream.down.queue.len());
                if stream.at_plugin == AtPlugin::Open
                    && let Binding::Bound(side) = &mut self.plugin
                {
                    side.active -= 1;
                }
            }
            Stream::Served(_) => {
                self.served.remove(&id);
            }
        }
    }
}
