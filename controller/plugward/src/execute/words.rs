//! What a container wrote last, which is to outlive it.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use plugward_engine::{LogChannel, LogQuery};
use tokio::time::timeout;

use super::Run;
use crate::errors::chain;
use crate::failure::ReconcileError;
use crate::logs::{KeptLog, LastLines, LogLine, lines};
use crate::names::SlotName;
use crate::plan::Place;

/// Lines that the status tells of what a container wrote last.
const LAST_LINES: usize = 20;

/// Characters that it tells of each of these lines.
const LAST_LINE_CHARACTERS: usize = 512;

/// How long it may take to read them.
const LAST_LINES_LIMIT: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Keeps what a container wrote last that is about to be removed: a little in the status, where it is what ended last, and more for
    /// those who ask, where its slot stays.
    pub(super) async fn keep_words(
        &self,
        slot: &SlotName,
        place: &Place,
        ended_last: bool,
    ) -> Result<(), ReconcileError> {
        // What is kept of a slot goes with it.
        let stays = self.situation.targets.contains_key(slot);
        if !ended_last && !stays {
            return Ok(());
        }
        let log = self.last_lines(place).await;
        if ended_last {
            let output = log.as_deref().map(last_words).unwrap_or_default();
            self.change(slot, |stored| {
                if let Some(exit) = &mut stored.last_exit {
                    exit.output = output;
                }
            })
            .await?;
        }
        if stays {
            // Who asks why it ended asks for the slot that it served: it may be removed as a spare's.
            let slots = self.executor.state.slots(self.instance);
            let served = slots.iter().filter(|(_, slot)| slot.previous.as_ref() == Some(&place.name));
            let served = served.map(|(name, _)| name).min_by_key(|name| name.is_spare());
            self.keep_log(served.unwrap_or(slot), place, log).await;
        }
        Ok(())
    }

    /// The last lines that a container wrote; `None` when the engine does not say it in time. Without them, nothing is lost but words.
    pub(super) async fn last_lines(&self, place: &Place) -> Option<Vec<LogLine>> {
        let engine = self.executor.engine(&place.engine).ok()?;
        let query = LogQuery {
            tail: Some(LastLines::READ),
            stamped: true,
            stdout: true,
            stderr: true,
            ..LogQuery::default()
        };
        let read = async {
            let mut last = LastLines::default();
            let mut log = pin!(lines(engine.logs(&place.id, query).await.ok()?));
            while let Some(Ok(line)) = log.next().await {
                last.push(line);
            }
            Some(last.into_lines())
        };
        timeout(LAST_LINES_LIMIT, read).await.ok().flatten()
    }

    /// Keeps the last lines of a container for those who ask when it is gone.
    pub(super) async fn keep_log(&self, slot: &SlotName, place: &Place, log: Option<Vec<LogLine>>) {
        let Some(lines) = log else { return };
        let log = KeptLog { container: place.name.clone(), lines };
        if let Err(error) = self.executor.state.keep_log(self.instance, slot, log).await {
            tracing::warn!(container = place.name, error = chain(&error), "its last lines are not kept");
        }
    }
}
/// What of a log is told in the status: the last lines of standard error.
pub(super) fn last_words(log: &[LogLine]) -> Vec<String> {
    let written = log.iter().filter(|line| line.stream == LogChannel::Stderr);
    let mut words: Vec<String> = written
        .rev()
        .take(LAST_LINES)
        .map(|line| line.text.chars().take(LAST_LINE_CHARACTERS).collect())
        .collect();
    words.reverse();
    words
}
