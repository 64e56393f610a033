//! Where a slot's lines are: on the engine, as long as the container is there, else what was kept of it.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use plugward_engine::{ContainerId, Engine, EngineError, ErrorKind, LogQuery};

use super::{Absent, Reading};
use crate::errors::chain;
use crate::logs::{KeptLog, LogLine, lines};
use crate::names::{SlotName, instance_selector, label};
use crate::slot::Start;

/// Lines of a log, without the handshake.
pub(super) type Log = BoxStream<'static, Result<LogLine, EngineError>>;

/// A log.
pub(super) struct Found {
    /// The name of the container that wrote it.
    pub(super) container: String,
    pub(super) log: Log,
    /// What people should know of it.
    pub(super) note: Option<String>,
}

impl Reading {
    /// What the container of a slot's latest start has written.
    pub(super) async fn current(&self, slot: &SlotName, start: Option<&Start>) -> Result<Found, Absent> {
        if let Some(start) = start
            && let Some(found) = self.on_engine(start, &start.container).await?
        {
            return Ok(found);
        }
        let kept = self.kept(slot).await?;
        let kept = kept.ok_or_else(|| Absent::Nothing(format!("slot {slot} has no container now")))?;
        let note =
            format!("slot {slot} has no container now: these are the last lines of {}", kept.container);
        Ok(self.of_kept(kept, note))
    }

    /// What the container before that has written. Where the latest has ended already, it is the one.
    pub(super) async fn previous(&self, slot: &SlotName, start: Option<&Start>) -> Result<Found, Absent> {
        if let Some(start) = start {
            if start.end.is_some()
                && let Some(found) = self.on_engine(start, &start.container).await?
            {
                return Ok(found);
            }
            let before = self.view.state.slot(&self.instance, slot).previous.clone();
            for name in before.into_iter().chain(self.earlier(slot, start).await?) {
                if let Some(found) = self.on_engine(start, &name).await? {
                    return Ok(found);
                }
            }
        }
        let kept = self.kept(slot).await?.ok_or_else(|| {
            Absent::Nothing(format!(
                "slot {slot} has no earlier container whose lines are kept: leave --previous out to see the current one's"
            ))
        })?;
        let note = format!("{} is gone: these are its last lines", kept.container);
        Ok(self.of_kept(kept, note))
    }

    /// What a container has written that is on the engine of a start; `None` when it is not there.
    async fn on_engine(&self, start: &Start, name: &str) -> Result<Option<Found>, Absent> {
        let engine = self.engine(start)?;
        let unreadable = |error: EngineError| Absent::Failed(chain(&error));
        let Some(container) = engine.inspect(name).await.map_err(unreadable)? else { return Ok(None) };
        let log = match self.open(&*engine, &container.id).await {
            Ok(log) => log,
            // It was removed in between.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        Ok(Some(Found { container: name.to_owned(), log, note: None }))
    }

    /// The engine of a start, if it answers.
    fn engine(&self, start: &Start) -> Result<std::sync::Arc<dyn Engine>, Absent> {
        self.view.engines.engine(&start.engine.id).ok_or_else(|| {
            let host = start.engine.host.as_deref().unwrap_or("at the default address");
            Absent::Failed(format!(
                "the engine {host} does not answer, and the log of {} is there: `plugward status` says why",
                start.container
            ))
        })
    }

    /// The names of containers of a slot that are there beside the latest, the newest first. A spare that took over has its old label:
    /// it is its new slot's latest.
    async fn earlier(&self, slot: &SlotName, start: &Start) -> Result<Vec<String>, Absent> {
        let mut labels = instance_selector(&self.view.cluster, &self.instance);
        labels.insert(label::SLOT.to_owned(), slot.to_string());
        let listed =
            self.engine(start)?.list(&labels).await.map_err(|error| Absent::Failed(chain(&error)))?;
        let slots = self.view.state.slots(&self.instance);
        let is_latest = |name: &String| {
            slots.values().filter_map(|slot| slot.current.as_ref()).any(|start| start.container == *name)
        };
        Ok(listed.into_iter().map(|listed| listed.name).filter(|name| !is_latest(name)).collect())
    }

    async fn open(&self, engine: &dyn Engine, id: &ContainerId) -> Result<Log, EngineError> {
        let query = LogQuery {
            follow: false,
            tail: self.tail(engine, id).await?,
            since: self.asked.since,
            stamped: true,
            stdout: true,
            stderr: true,
        };
        Ok(without_handshake(lines(engine.logs(id, query).await?).boxed()))
    }

    /// How many lines to ask for: where the handshake is one of them, one more.
    async fn tail(&self, engine: &dyn Engine, id: &ContainerId) -> Result<Option<u32>, EngineError> {
        let Some(tail) = self.asked.tail.filter(|tail| *tail > 0) else { return Ok(self.asked.tail) };
        let more = tail.saturating_add(1);
        let query = LogQuery { tail: Some(more), stamped: true, stdout: true, ..LogQuery::default() };
        let mut log = lines(engine.logs(id, query).await?).boxed();
        while let Some(line) = log.next().await {
            if line?.is_handshake() {
                return Ok(Some(more));
            }
        }
        Ok(Some(tail))
    }

    async fn kept(&self, slot: &SlotName) -> Result<Option<KeptLog>, Absent> {
        let kept = self.view.state.kept_log(&self.instance, slot).await;
        kept.map_err(|error| Absent::Failed(chain(&error)))
    }

    fn of_kept(&self, kept: KeptLog, note: String) -> Found {
        let since = self.asked.since;
        let lines = kept.lines.into_iter().filter(|line| since.is_none_or(|since| line.at >= since));
        let mut lines: Vec<LogLine> = lines.collect();
        if let Some(tail) = self.asked.tail {
            let tail = usize::try_from(tail).unwrap_or(usize::MAX);
            lines.drain(..lines.len().saturating_sub(tail));
        }
        let log = stream::iter(lines.into_iter().map(Ok)).boxed();
        Found { container: kept.container, log, note: Some(note) }
    }
}

/// A log without the line that is for hosts.
pub(super) fn without_handshake(log: Log) -> Log {
    let shown = |line: &Result<LogLine, EngineError>| line.as_ref().map_or(true, |line| !line.is_handshake());
    log.filter(move |line| std::future::ready(shown(line))).boxed()
}
