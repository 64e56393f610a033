//! Knocks of ours, at a side that shares its one connection: for a host at its plugin, and for a plugin at its host.
//!
//! What is opened next after a yes belongs to what was knocked for, and nothing but the order says so. So one who knocks keeps the turn
//! until his stream is open, also if nobody waits for it any more; and a yes that comes when nobody expected it any more is
//! followed by a stream at once, which leads nowhere.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use go_plugin::BrokerMessage;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::Instrument;

use crate::plugin::{HostLine, PluginError, StreamTurn};

/// How long a knock waits for its answer. go-plugin's own broker waits for 5 s, and whoever waits for ours is to hear of it in words.
const ANSWERED_WITHIN: Duration = Duration::from_millis(3500);

/// Of how many unanswered knocks a late answer is understood. A Go program answers those for what it has yet to serve, once it does.
const MOST_OVERDUE: usize = 64;

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum KnockError {
    /// The other side says so.
    #[error("it is not let in to server {id}: {reason}")]
    Refused {
        /// The number.
        id: u32,
        /// In the other side's words.
        reason: String,
    },
    /// The other side says nothing.
    #[error("a knock for server {id} was not answered within {ANSWERED_WITHIN:?}")]
    Unanswered {
        /// The number.
        id: u32,
    },
    /// There is nobody there any more.
    #[error("the connection that it is a stream of has ended")]
    Ended,
    /// The stream that was to follow could not be opened.
    #[error("no stream to server {id} can be opened")]
    Open {
        /// The number.
        id: u32,
        /// Why.
        source: PluginError,
    },
}

/// Gives the turn to open the next stream. `None`: there is no connection to open it in.
type Turns = Box<dyn Fn() -> BoxFuture<'static, Option<StreamTurn>> + Send + Sync>;

/// Knocks at one side.
pub(super) struct Knocker {
    turns: Turns,
    say: mpsc::Sender<BrokerMessage>,
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    /// The knock that is to be answered, by whose turn it is.
    current: Option<(u32, oneshot::Sender<Option<String>>)>,
    /// Those that were not in time.
    overdue: BTreeSet<u32>,
}

// === impl Knocker ===

impl Knocker {
    /// One who knocks by these messages.
    pub(super) fn new(say: mpsc::Sender<BrokerMessage>, turns: Turns) -> Arc<Self> {
        Arc::new(Self { turns, say, waits: Mutex::default() })
    }

    /// A stream to the server of this number. A future that is dropped leaves a stream that leads nowhere, or none.
    pub(super) async fn open(self: &Arc<Self>, id: u32) -> Result<HostLine, KnockError> {
        let (mut done, opened) = oneshot::channel();
        let knocker = self.clone();
        let opening = async move {
            let turn = tokio::select! {
                turn = (knocker.turns)() => turn,
                // Nothing was said yet.
                () = done.closed() => return,
            };
            let opened = match turn {
                Some(turn) => knocker.knock(id, turn).await,
                None => Err(KnockError::Ended),
            };
            // Whoever has given up has no use for it.
            let _ = done.send(opened);
        };
        tokio::spawn(opening.in_current_span());
        opened.await.unwrap_or(Err(KnockError::Ended))
    }

    async fn knock(&self, id: u32, turn: StreamTurn) -> Result<HostLine, KnockError> {
        let (answer, mut answered) = oneshot::channel();
        self.waits().current = Some((id, answer));
        let answer = async {
            self.say.send(BrokerMessage::Knock { id }).await.map_err(|_| KnockError::Ended)?;
            (&mut answered).await.map_err(|_| KnockError::Ended)
        };
        let answer = match timeout(ANSWERED_WITHIN, answer).await {
            Ok(answer) => answer,
            Err(_) if self.gives_up(id) => Err(KnockError::Unanswered { id }),
            // Just then.
            Err(_) => answered.await.map_err(|_| KnockError::Ended),
        };
        match answer? {
            None => turn().await.map_err(|source| KnockError::Open { id, source }),
            Some(reason) => Err(KnockError::Refused { id, reason }),
        }
    }

    /// Expects no answer any more. False: it is here.
    fn gives_up(&self, id: u32) -> bool {
        let mut waits = self.waits();
        let gives_up = waits.current.take().is_some();
        if gives_up && waits.overdue.len() < MOST_OVERDUE {
            waits.overdue.insert(id);
        }
        gives_up
    }

    /// The other side answers a knock. False: nobody has knocked.
    pub(super) fn answered(self: &Arc<Self>, id: u32, error: Option<String>) -> bool {
        let mut waits = self.waits();
        if let Some((_, answer)) = waits.current.take_if(|(current, _)| *current == id) {
            // It waits until it is answered.
            let _ = answer.send(error);
            return true;
        }
        if !waits.overdue.remove(&id) {
            return false;
        }
        if error.is_none() {
            let turn = (self.turns)();
            let late = async move {
                if let Some(turn) = turn.await {
                    drop(turn().await);
                }
            };
            tokio::spawn(late.in_current_span());
        }
        true
    }

    /// Nobody answers any more.
    pub(super) fn end(&self) {
        self.waits().current = None;
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        // Each change is complete when it could be interrupted.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Knocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Knocker").finish_non_exhaustive()
    }
}
