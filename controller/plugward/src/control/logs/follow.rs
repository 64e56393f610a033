//! What is written from now on, over restarts of containers, engines and slots.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use plugward_api::Kind;
use plugward_engine::{ContainerState, ErrorKind, LogQuery};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::find::without_handshake;
use super::{Cursor, Left, Reading, Teller, Told, is_known};
use crate::logs::lines;
use crate::names::SlotName;
use crate::slot::Start;
use crate::view::View;

/// How long to wait before a log is tried again that could not be read.
const RETRY: Duration = Duration::from_millis(500);

impl Reading {
    /// Tells what is written until the instance is gone.
    pub(super) async fn follow(&self, told: BTreeMap<SlotName, Cursor>) -> Result<(), Left> {
        // Before the first look: what comes in between is looked at again.
        let mut news = self.view.book.news();
        let mut followed: BTreeMap<SlotName, String> = BTreeMap::new();
        let mut followers = JoinSet::new();
        loop {
            let slots = self.slots();
            followed.retain(|slot, _| slots.contains_key(slot));
            for (slot, start) in slots {
                let Some(start) = start else { continue };
                if followed.get(&slot) == Some(&start.container) {
                    continue;
                }
                let cursor = told.get(&slot).filter(|cursor| cursor.container == start.container);
                if cursor.is_none() {
                    let container = &start.container;
                    self.teller.tell(Told::Container { slot: &slot, container }).await?;
                }
                followed.insert(slot.clone(), start.container.clone());
                followers.spawn(self.follower(slot, start, cursor).run());
            }
            if !is_known(&self.view, &self.instance) {
                // What was written up to the end is told.
                while followers.join_next().await.is_some() {}
                let message = format!("instance {:?} is deleted", self.instance.as_str());
                return self.teller.tell(Told::Note { message }).await;
            }
            loop {
                match news.recv().await {
                    Ok((Kind::PluginInstance, name)) if name == self.instance => break,
                    Ok(_) => {}
                    // More news than are kept.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Err(Left),
                }
            }
            while followers.try_join_next().is_some() {}
        }
    }

    fn follower(&self, slot: SlotName, start: Start, cursor: Option<&Cursor>) -> Follower {
        let first = LogQuery {
            follow: true,
            // Of a container that comes later, everything is new.
            tail: cursor.and(self.asked.tail).filter(|tail| *tail == 0),
            since: cursor.and(self.asked.since),
            stamped: true,
            stdout: true,
            stderr: true,
        };
        Follower {
            view: self.view.clone(),
            instance: self.instance.clone(),
            teller: self.teller.clone(),
            slot,
            start,
            first,
            at: cursor.and_then(|cursor| cursor.at),
        }
    }
}

/// Follows the log of one container to its end.
struct Follower {
    view: View,
    instance: plugward_api::Name,
    teller: Teller,
    slot: SlotName,
    start: Start,
    /// What to ask for as long as nothing was told.
    first: LogQuery,
    /// When the last line that was told was written.
    at: Option<Timestamp>,
}

/// What becomes of a log that can be read no further.
enum Next {
    /// It goes on: it is to be tried again.
    Again,
    /// Its container has ended, or is gone.
    Over,
}

impl Follower {
    async fn run(mut self) -> Result<(), Left> {
        while let Next::Again = self.read().await? {
            sleep(RETRY).await;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Next, Left> {
        // One that does not answer now comes back, or its containers are given up.
        let Some(engine) = self.view.engines.engine(&self.start.engine.id) else {
            return Ok(self.while_wanted());
        };
        let Ok(Some(container)) = engine.inspect(&self.start.container).await else {
            // Not made yet, or gone; or nobody knows.
            return Ok(self.while_wanted());
        };
        let query = match self.at {
            Some(at) => LogQuery { since: after(at), tail: None, ..self.first },
            None => self.first,
        };
        let log = match engine.logs(&container.id, query).await {
            Ok(log) => log,
            Err(error) if matches!(error.kind, ErrorKind::Refused | ErrorKind::Incompatible) => {
                let message = format!("slot {}: {error}", self.slot);
                self.teller.tell(Told::Error { message }).await?;
                return Ok(Next::Over);
            }
            Err(_) => return Ok(self.while_wanted()),
        };
        let mut log = without_handshake(lines(log).boxed());
        while let Some(line) = log.next().await {
            // It broke off with its engine: the rest is there when that is back.
            let Ok(line) = line else { return Ok(self.while_wanted()) };
            self.teller.tell(Told::Line { slot: &self.slot, line: &line }).await?;
            self.at = self.at.max(Some(line.at));
        }
        // An engine that is stopped ends its streams, too.
        match engine.inspect(&self.start.container).await {
            Ok(Some(container)) if matches!(container.state, ContainerState::Exited(_)) => Ok(Next::Over),
            Ok(_) | Err(_) => Ok(self.while_wanted()),
        }
    }

    /// Tries again as long as this is the latest start of its slot, and has not ended.
    fn while_wanted(&self) -> Next {
        let stored = self.view.state.slot(&self.instance, &self.slot);
        let current = stored.current.as_ref();
        let wanted =
            current.is_some_and(|start| start.container == self.start.container && start.end.is_none());
        if wanted { Next::Again } else { Next::Over }
    }
}

/// The first moment after this one.
fn after(at: Timestamp) -> Option<Timestamp> {
    at.checked_add(jiff::SignedDuration::from_nanos(1)).ok()
}
