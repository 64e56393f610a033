//! What plugins write to their standard error, for the launchers of those who use them.
//!
//! A container is read once, however many sessions it serves, and only while there are any. All users of one instance are one trust
//! domain: they share its standard error.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use plugward_engine::{ContainerId, LogQuery};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::launcher::Launcher;
use super::session::Session;
use crate::engines::Engines;
use crate::gateway::Gateway;
use crate::plan::Place;

/// Pieces that wait for a launcher's task. Of more, the oldest are lost.
const WAITING: usize = 256;

/// How long to wait before a log is asked for again that has ended, or could not be read: at first, and at most. A container that has ended
/// writes no more, and is another's business.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// The standard errors of containers that serve sessions. Clones share them.
#[derive(Clone)]
pub(super) struct StandardErrors {
    engines: Engines,
    readers: Arc<Mutex<HashMap<Key, Weak<Reader>>>>,
}

/// A container, by its engine's ID and its own.
type Key = (Arc<str>, ContainerId);

/// Who reads one container, until the last listener has gone.
struct Reader {
    pieces: broadcast::Sender<Arc<[u8]>>,
    task: AbortHandle,
}

impl StandardErrors {
    pub(super) fn new(engines: Engines) -> Self {
        Self { engines, readers: Arc::default() }
    }

    /// Passes on to a launcher what the containers write that serve its session, one after the other, for as long as this is polled.
    pub(super) async fn pass_on(&self, gateway: &Gateway, session: &Session, launcher: &Launcher) {
        let mut last: Option<Place> = None;
        loop {
            let place = gateway.session_container(&session.instance, &session.id, last.as_ref()).await;
            // Of one that is the session's own, all is for it; what others were told before is theirs.
            let own = gateway.session_slot(&session.instance, &session.id);
            let from_the_start = own.is_some_and(|slot| slot != crate::names::SlotName::Shared);
            let reader = self.reader(&place, from_the_start);
            let mut pieces = reader.pieces.subscribe();
            let passing = async {
                loop {
                    match pieces.recv().await {
                        Ok(piece) => launcher.write(&piece),
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    }
                }
            };
            tokio::select! {
                () = passing => {}
                _ = gateway.session_container(&session.instance, &session.id, Some(&place)) => {}
            }
            last = Some(place);
        }
    }

    fn reader(&self, place: &Place, from_the_start: bool) -> Arc<Reader> {
        let key = (place.engine.id.clone(), place.id.clone());
        // Each change is one insert or removal.
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers.get(&key).and_then(Weak::upgrade) {
            return reader;
        }
        readers.retain(|_, reader| reader.strong_count() > 0);
        let (pieces, _) = broadcast::channel(WAITING);
        let reading = read(self.engines.clone(), place.clone(), from_the_start, pieces.clone());
        let reader = Arc::new(Reader { pieces, task: tokio::spawn(reading).abort_handle() });
        readers.insert(key, Arc::downgrade(&reader));
        reader
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a container's standard error until that ends.
async fn read(engines: Engines, place: Place, from_the_start: bool, to: broadcast::Sender<Arc<[u8]>>) {
    let mut query =
        LogQuery { follow: true, stderr: true, tail: (!from_the_start).then_some(0), ..LogQuery::default() };
    let mut pause = AGAIN.0;
    loop {
        if let Some(engine) = engines.engine(&place.engine.id)
            && let Ok(mut log) = engine.logs(&place.id, query).await
        {
            while let Some(Ok(piece)) = log.next().await {
                pause = AGAIN.0;
                // That nobody listens at the moment is no failure.
                let _ = to.send(piece.bytes.into());
            }
            // The end of the log is the container's, or the engine went away.
            query.tail = Some(0);
        }
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}
