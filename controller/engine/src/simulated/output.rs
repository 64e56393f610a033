//! What a container wrote, kept as the `json-file` driver keeps it.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::container::LogRotation;
use crate::log::{LogChannel, LogChunk, LogQuery};

/// The longest line that is kept as one: the engine's copier splits longer ones.
const LONGEST_LINE: usize = 16 * 1024;

/// A container's log. It outlives restarts of the process.
#[derive(Debug)]
pub(super) struct Output {
    lines: VecDeque<Line>,
    /// How many lines rotation has dropped, so that a position stays one.
    dropped: usize,
    bytes: u64,
    most_bytes: u64,
    /// What has been written of a line that has not ended.
    unfinished: [Vec<u8>; 2],
    pub(super) grown: Arc<Notify>,
}

/// A line, or a piece of one that is too long.
#[derive(Debug)]
struct Line {
    channel: LogChannel,
    at: Timestamp,
    bytes: Vec<u8>,
}

impl Output {
    pub(super) fn new(rotation: LogRotation) -> Self {
        Self {
            lines: VecDeque::new(),
            dropped: 0,
            bytes: 0,
            most_bytes: rotation.max_size_bytes.saturating_mul(u64::from(rotation.max_files.max(1))),
            unfinished: [Vec::new(), Vec::new()],
            grown: Arc::default(),
        }
    }

    pub(super) fn write(&mut self, channel: LogChannel, bytes: &[u8], now: Timestamp) {
        let mut line = std::mem::take(&mut self.unfinished[slot(channel)]);
        for byte in bytes {
            line.push(*byte);
            if *byte == b'\n' || line.len() == LONGEST_LINE {
                self.keep(channel, std::mem::take(&mut line), now);
            }
        }
        self.unfinished[slot(channel)] = line;
        self.grown.notify_waiters();
    }

    /// The process has ended: a line that it left unfinished is kept as it is.
    pub(super) fn finish(&mut self, now: Timestamp) {
        for channel in [LogChannel::Stdout, LogChannel::Stderr] {
            let line = std::mem::take(&mut self.unfinished[slot(channel)]);
            if !line.is_empty() {
                self.keep(channel, line, now);
            }
        }
        self.grown.notify_waiters();
    }

    /// The position of the first line that a query shows.
    pub(super) fn first(&self, query: LogQuery) -> usize {
        let tail = query.tail.map_or(usize::MAX, |tail| usize::try_from(tail).unwrap_or(usize::MAX));
        self.dropped + self.lines.len().saturating_sub(tail)
    }

    /// The lines from a position on that a query shows, and the position after them.
    pub(super) fn read(&self, from: usize, query: LogQuery) -> (Vec<LogChunk>, usize) {
        let lines = self
            .lines
            .iter()
            .skip(from.saturating_sub(self.dropped))
            .filter(|line| match line.channel {
                LogChannel::Stdout => query.stdout,
                LogChannel::Stderr => query.stderr,
            })
            .filter(|line| query.since.is_none_or(|since| line.at >= since))
            .map(|line| LogChunk {
                channel: line.channel,
                at: Some(line.at).filter(|_| query.stamped),
                bytes: line.bytes.clone(),
            })
            .collect();
        (lines, self.dropped + self.lines.len())
    }

    fn keep(&mut self, channel: LogChannel, bytes: Vec<u8>, at: Timestamp) {
        self.bytes += bytes.len() as u64;
        self.lines.push_back(Line { channel, at, bytes });
        while self.bytes > self.most_bytes {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.bytes.len() as u64;
            self.dropped += 1;
        }
    }
}

const fn slot(channel: LogChannel) -> usize {
    match channel {
        LogChannel::Stdout => 0,
        LogChannel::Stderr => 1,
    }
}
