//! The plugin's side: what is known of it, and what it is told when it is bound.

use std::{mem, time::Instant};

use super::{Binding, Connection, StreamId, answer::AnswerReader, block::Block};
use crate::{
    frame::{self, PREFACE, Reader},
    limits::{Allowance, Limits},
    policy::Policy,
    violation::Violation,
    window::{Announced, Settings},
};

/// The plugin's connection.
pub(super) struct PluginSide {
    pub(super) reader: Reader,
    pub(super) answers: AnswerReader,
    pub(super) block: Option<Block>,
    since: Instant,
    /// Its first SETTINGS were read.
    pub(super) ready: bool,
    /// What it was told of the windows of its streams.
    pub(super) announced: Announced,
    /// The initial window that it set, as far as it knows that we know.
    pub(super) window: u32,
    pub(super) max_streams: u32,
    /// Calls that it has.
    pub(super) active: u32,
    /// The last of them.
    pub(super) last_stream: StreamId,
    /// No block was written yet.
    pub(super) first_block: bool,
    /// It said with GOAWAY that it will, in a moment, say which stream was the last.
    pub(super) leaving: bool,
    /// Its pings since, which are answered when the host has seen our GOAWAY: it measures by them how long that takes.
    pub(super) pings: Vec<[u8; 8]>,
    control: Allowance,
}

// === impl PluginSide ===

impl PluginSide {
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let begun = if self.ready { self.block.as_ref().map(|block| block.begun) } else { Some(self.since) };
        begun.map(|begun| begun + limits.patience)
    }

    /// Allows for the control frames that honest plugins send for a frame of DATA.
    pub(super) fn was_sent_data(&mut self) {
        self.control.earn(3);
    }

    pub(super) fn count_control(&mut self, now: Instant) -> Result<(), Violation> {
        if self.control.spend(now) { Ok(()) } else { Err(Violation::ControlFlood) }
    }
}

// === impl Connection ===

impl<P: Policy> Connection<P> {
    /// The plugin's connection is established, and is this host connection's from now on. Nothing if there was one already.
    pub fn bind(&mut self, now: Instant) {
        self.now = now;
        if !matches!(self.plugin, Binding::Unbound) || self.host.is_over() {
            return;
        }
        let mut announced = Announced::default();
        announced.sent(Settings { window: Some(self.host.told_window), relayed: false });
        self.to_plugin.raw(PREFACE);
        // No table: each of its blocks then stands alone, and may be read, passed, dropped or delayed.
        let settings = [(1, 0), (2, 0), (4, self.host.told_window)];
        let header_list = self.host.header_list.map(|size| (6, size));
        self.to_plugin.settings(settings.into_iter().chain(header_list));
        self.plugin = Binding::Bound(Box::new(PluginSide {
            reader: Reader::default(),
            answers: AnswerReader::new(),
            block: None,
            since: now,
            ready: false,
            announced,
            window: frame::DEFAULT_WINDOW,
            max_streams: u32::MAX,
            active: 0,
            last_stream: 0,
            first_block: true,
            leaving: false,
            pings: Vec::new(),
            control: Allowance::new(self.limits.control_frames, now),
        }));
        self.after();
    }

    /// The host has seen the GOAWAY that the plugin's own was passed on by.
    pub(super) fn answer_plugin_pings(&mut self) {
        if let Binding::Bound(side) = &mut self.plugin {
            for opaque in mem::take(&mut side.pings) {
                self.to_plugin.ping(&opaque, true);
            }
        }
    }
}
