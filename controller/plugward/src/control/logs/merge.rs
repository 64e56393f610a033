//! Several logs as one, in order of time.

use std::collections::VecDeque;

use futures::StreamExt;
use plugward_engine::EngineError;

use super::Log;
use crate::logs::LogLine;
use crate::names::SlotName;

/// Logs of which the next line is known, and those that have yet to say theirs.
pub(super) struct Merged {
    unread: VecDeque<(SlotName, Log)>,
    heads: Vec<(SlotName, Result<LogLine, EngineError>, Log)>,
}

impl Merged {
    pub(super) fn new(logs: Vec<(SlotName, Log)>) -> Self {
        Self { unread: logs.into(), heads: Vec::new() }
    }

    /// The earliest of the next lines. An error ends its log.
    pub(super) async fn next(&mut self) -> Option<(SlotName, Result<LogLine, EngineError>)> {
        while let Some((slot, mut log)) = self.unread.pop_front() {
            if let Some(line) = log.next().await {
                self.heads.push((slot, line, log));
            }
        }
        // Errors come first: they have no time.
        let earliest = self.heads.iter().enumerate();
        let (place, _) = earliest.min_by_key(|(_, (_, line, _))| line.as_ref().ok().map(|line| line.at))?;
        let (slot, line, log) = self.heads.swap_remove(place);
        if line.is_ok() {
            self.unread.push_back((slot.clone(), log));
        }
        Some((slot, line))
    }
}
