//! The state machine of one host connection and, once bound, of its plugin connection: bytes in, bytes out.
//!
//! It reads and writes nothing itself, has no clock, and does the same for the same calls: the [driver](crate::driver) moves the bytes,
//! a test or a simulation may as well.

mod answer;
mod block;
mod calls;
mod end;
mod flow;
mod from_host;
mod from_plugin;
mod host;
mod own;
mod payload;
mod plugin;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, mem,
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;

pub use self::own::Received;
use self::{
    host::{Goodbye, HostSide},
    plugin::PluginSide,
};
use crate::{
    frame::Output,
    head::{Amendments, HeaderList},
    limits::{HoldBudget, Limits},
    policy::Policy,
    stream::Stream,
    violation::{Peer, Violation},
    window::Flow,
};

/// The id of a stream.
pub type StreamId = u32;

/// One host connection, bound to at most one plugin connection in its life.
///
/// Whoever drives it calls [`host_read`](Self::host_read) and [`plugin_read`](Self::plugin_read) with what arrived,
/// [`on_deadline`](Self::on_deadline) at the [`deadline`](Self::deadline), and after each call writes what is in
/// [`to_host`](Self::to_host) and [`to_plugin`](Self::to_plugin). **Both sides are always read**, whatever waits to be written: what is
/// kept is bounded by the [`Limits`], and a side that is not read could stop both.
pub struct Connection<P: Policy> {
    policy: P,
    limits: Limits,
    budget: Arc<HoldBudget>,
    now: Instant,
    host: HostSide,
    plugin: Binding,
    /// What waits for the plugin's transport. It outlives the plugin's side, whose last words it has.
    to_plugin: Output,
    streams: BTreeMap<StreamId, Stream<P::Call>>,
    /// Those that wait.
    held: BTreeSet<StreamId>,
    /// When each of them has waited long enough.
    waits: BTreeSet<(Instant, StreamId)>,
    /// Bytes of theirs that the host was given back.
    held_bytes: usize,
    /// Those that we serve.
    served: BTreeSet<StreamId>,
    /// Of these, those that nobody was told of.
    opened: VecDeque<StreamId>,
    /// Those that we ended and the host has not: more of them may be on its way.
    late: BTreeSet<StreamId>,
    /// Host to plugin.
    up: Flow,
    /// Plugin to host.
    down: Flow,
    /// Streams of which something waits for room.
    up_waiting: BTreeSet<StreamId>,
    down_waiting: BTreeSet<StreamId>,
    scratch: Scratch,
}

/// The plugin's side.
enum Binding {
    /// There was none yet.
    Unbound,
    /// This one, for good.
    Bound(Box<PluginSide>),
    /// It is over, and there will be no other.
    Gone,
}

/// Memory that is used again.
#[derive(Default)]
struct Scratch {
    list: HeaderList,
    block: BytesMut,
    amendments: Amendments,
}

impl<P: Policy> Connection<P> {
    /// A connection that a host opened at `now`. Our SETTINGS wait to be written.
    ///
    /// `budget` is shared by all connections whose calls wait for the same plugin.
    pub fn new(policy: P, limits: Limits, budget: Arc<HoldBudget>, now: Instant) -> Self {
        let host = HostSide::new(&limits, now);
        Self {
            policy,
            limits,
            budget,
            now,
            host,
            plugin: Binding::Unbound,
            to_plugin: Output::default(),
            streams: BTreeMap::new(),
            held: BTreeSet::new(),
            waits: BTreeSet::new(),
            held_bytes: 0,
            served: BTreeSet::new(),
            opened: VecDeque::new(),
            late: BTreeSet::new(),
            up: Flow::default(),
            down: Flow::default(),
            up_waiting: BTreeSet::new(),
            down_waiting: BTreeSet::new(),
            scratch: Scratch::default(),
        }
    }

    /// The program's part.
    pub fn policy(&mut self) -> &mut P {
        &mut self.policy
    }

    /// The host sent `bytes`, cut anywhere.
    pub fn host_read(&mut self, now: Instant, bytes: &[u8]) {
        self.now = now;
        let mut reader = mem::take(&mut self.host.reader);
        let mut rest = bytes;
        let result = loop {
            if self.host.is_over() {
                break Ok(());
            }
            let frame = match self.host.preface(&mut rest).and_then(|()| reader.next(&mut rest)) {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(()),
                Err(violation) => break Err(violation),
            };
            if let Err(violation) = self.host_frame(&frame) {
                break Err(violation);
            }
        };
        self.host.reader = reader;
        if let Err(violation) = result {
            self.violated(Peer::Host, violation);
        }
        self.after();
    }

    /// The plugin sent `bytes`, cut anywhere.
    pub fn plugin_read(&mut self, now: Instant, bytes: &[u8]) {
        self.now = now;
        let Binding::Bound(side) = &mut self.plugin else { return };
        let mut reader = mem::take(&mut side.reader);
        let mut rest = bytes;
        let result = loop {
            let frame = match reader.next(&mut rest) {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(()),
                Err(violation) => break Err(violation),
            };
            if let Err(violation) = self.plugin_frame(&frame) {
                break Err(violation);
            }
        };
        if let Binding::Bound(side) = &mut self.plugin {
            side.reader = reader;
        }
        if let Err(violation) = result {
            self.violated(Peer::Plugin, violation);
        }
        self.after();
    }

    /// What is to be written to the host. Say with [`host_took`](Self::host_took) how much of it was.
    pub fn to_host(&self) -> &[u8] {
        self.host.output.chunk()
    }

    /// The host's transport took the first `count` bytes.
    pub fn host_took(&mut self, count: usize) {
        self.host.output.advance(count);
        self.grant_down();
    }

    /// What is to be written to the plugin. Say with [`plugin_took`](Self::plugin_took) how much of it was: whether a call may be tried
    /// again after the plugin's end depends on it.
    pub fn to_plugin(&self) -> &[u8] {
        self.to_plugin.chunk()
    }

    /// The plugin's transport took the first `count` bytes.
    pub fn plugin_took(&mut self, count: usize) {
        self.to_plugin.advance(count);
        self.grant_up();
    }

    /// Whether a call waits for a plugin connection, of which there was none yet: then [`bind`](Self::bind) one.
    pub fn wants_plugin(&self) -> bool {
        matches!(self.plugin, Binding::Unbound) && !self.held.is_empty()
    }

    /// Whether a plugin connection is bound and not over.
    pub fn is_bound(&self) -> bool {
        matches!(self.plugin, Binding::Bound(_))
    }

    /// Whether the plugin connection was bound and is over: when [`to_plugin`](Self::to_plugin) is written, it is to be closed.
    pub fn has_left_plugin(&self) -> bool {
        matches!(self.plugin, Binding::Gone)
    }

    /// Whether the host connection is over: when [`to_host`](Self::to_host) is written, it is to be closed.
    pub fn has_left_host(&self) -> bool {
        self.host.is_over()
    }

    /// Calls of the application that are not over, those that wait among them. Streams that the program serves do not count.
    pub fn calls(&self) -> usize {
        self.streams.len() - self.served.len()
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// When [`on_deadline`](Self::on_deadline) is to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let plugin = match &self.plugin {
            Binding::Bound(side) => side.deadline(&self.limits),
            Binding::Unbound | Binding::Gone => None,
        };
        let held = self.waits.first().map(|(until, _)| *until);
        [held, plugin, self.host.deadline(&self.limits)].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, now: Instant) {
        self.now = now;
        self.expire_held();
        if let Goodbye::Asked { until } = self.host.goodbye
            && until <= now
        {
            self.last_go_away();
        }
        if self.host.is_too_slow(&self.limits, now) {
            self.violated(Peer::Host, Violation::TooSlow);
        }
        if let Binding::Bound(side) = &self.plugin
            && side.deadline(&self.limits).is_some_and(|deadline| deadline <= now)
        {
            self.violated(Peer::Plugin, Violation::TooSlow);
        }
        self.after();
    }

    /// What follows from whatever happened.
    fn after(&mut self) {
        self.release();
        self.flush_own();
        self.grant_up();
        self.grant_down();
        if self.host.output.len() > self.limits.unread {
            self.violated(Peer::Host, Violation::NotReading);
        }
        if self.is_bound() && self.to_plugin.len() > self.limits.unread {
            self.violated(Peer::Plugin, Violation::NotReading);
        }
        self.leave_what_is_over();
    }
}

/// Without anything that a peer sent.
impl<P: Policy> fmt::Debug for Connection<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("bound", &self.is_bound())
            .field("calls", &self.calls())
            .field("waiting", &self.waiting())
            .field("served", &self.served.len())
            .field("to_host", &self.to_host().len())
            .field("to_plugin", &self.to_plugin.len())
            .finish_non_exhaustive()
    }
}
