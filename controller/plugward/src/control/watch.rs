//! Watching records: each as it is at first, then each that becomes another one.
//!
//! A watch is a level, not a log. The news that it follows are names; what is told is how the record of that name stands
//! when the line is made, and only if that differs from what was told before. So a slow client loses nothing but what
//! came and went in between, and costs a few lines and a number for each record. Pulls under way are no news.
//!
//! Of sessions there is no news: they are looked at once a second, while somebody watches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use plugward_api::{API_VERSION, Kind, Name, PluginSession};
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::objects;
use crate::view::View;

/// Lines that wait for a client.
const LINES_WAITING: usize = 16;

/// How often sessions are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The records that a watch is about.
pub(super) trait Subject: Send + Sync + 'static {
    /// The names of all that are there.
    fn names(&self) -> Vec<Name>;
    /// One of them.
    fn get(&self, name: &Name) -> Option<Value>;
}

/// The records of a kind, or one of them.
pub(super) struct Records {
    pub(super) view: View,
    pub(super) kind: Kind,
    pub(super) only: Option<Name>,
}

/// The body of an answer about records, which goes on until its reader leaves, or `stop`.
pub(super) fn records(records: Records, stop: CancellationToken) -> Body {
    // Before the first look: what comes in between is looked at again.
    let news = records.view.book.news();
    let kind = records.kind;
    body(kind.as_str(), stop, move |told| Watch { kind, subject: records, told }.run(news))
}

/// The same about sessions, or about the one of this ID.
pub(super) fn sessions(view: View, only: Option<Name>, stop: CancellationToken) -> Body {
    let there = move || {
        let sessions = view.sessions().into_iter();
        let meant =
            sessions.filter(|session| only.as_ref().is_none_or(|only| *only == session.metadata.name));
        meant.map(|session| (session.metadata.name.clone(), json!(session))).collect()
    };
    body(PluginSession::KIND, stop, move |told| look_again(there, told))
}

fn body<F>(kind: &'static str, stop: CancellationToken, watch: impl FnOnce(Told) -> F) -> Body
where
    F: Future<Output = ()> + Send + 'static,
{
    let (lines, body) = mpsc::channel(LINES_WAITING);
    let watching = watch(Told { kind, hashes: BTreeMap::new(), lines });
    tokio::spawn(async move { stop.run_until_cancelled(watching).await });
    Body::from_stream(ReceiverStream::new(body).map(Ok::<_, Infallible>))
}

struct Watch<S> {
    kind: Kind,
    subject: S,
    told: Told,
}

/// What was told, and to whom.
struct Told {
    /// The kind of the objects.
    kind: &'static str,
    /// What was told of each object last, as a hash of it.
    hashes: BTreeMap<Name, u64>,
    lines: mpsc::Sender<Bytes>,
}

/// The reader left.
struct Left;

/// Tells of what is there, and of what is another once a second.
async fn look_again(there: impl Fn() -> BTreeMap<Name, Value>, mut told: Told) {
    loop {
        let found = there();
        for name in told.names_and(found.keys().cloned().collect()) {
            if told.tell(&name, found.get(&name)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = told.lines.closed() => return,
        }
    }
}

// === impl Watch ===

impl<S: Subject> Watch<S> {
    async fn run(mut self, mut news: Receiver<(Kind, Name)>) {
        let mut outcome = self.look_at_all().await;
        while outcome.is_ok() {
            let heard = tokio::select! {
                heard = news.recv() => heard,
                () = self.told.lines.closed() => return,
            };
            outcome = match heard {
                Ok((kind, name)) if kind == self.kind => self.look_at(&name).await,
                Ok(_) => Ok(()),
                // More news than are kept.
                Err(RecvError::Lagged(_)) => self.look_at_all().await,
                Err(RecvError::Closed) => return,
            };
        }
    }

    async fn look_at_all(&mut self) -> Result<(), Left> {
        for name in self.told.names_and(self.subject.names()) {
            self.look_at(&name).await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, name: &Name) -> Result<(), Left> {
        self.told.tell(name, self.subject.get(name).as_ref()).await
    }
}

// === impl Told ===

impl Told {
    /// These names, and those of what was told of: it may be gone.
    fn names_and(&self, mut names: Vec<Name>) -> Vec<Name> {
        names.extend(self.hashes.keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    /// Tells how an object stands, if that differs from what was told.
    async fn tell(&mut self, name: &Name, object: Option<&Value>) -> Result<(), Left> {
        let change = match object {
            Some(object) => {
                let mut hasher = DefaultHasher::new();
                object.to_string().hash(&mut hasher);
                let hash = hasher.finish();
                match self.hashes.insert(name.clone(), hash) {
                    None => json!({ "type": "ADDED", "object": object }),
                    Some(before) if before != hash => json!({ "type": "MODIFIED", "object": object }),
                    Some(_) => return Ok(()),
                }
            }
            None if self.hashes.remove(name).is_some() => {
                let metadata = json!({ "name": name });
                let object = json!({ "apiVersion": API_VERSION, "kind": self.kind, "metadata": metadata });
                json!({ "type": "DELETED", "object": object })
            }
            None => return Ok(()),
        };
        self.lines.send(Bytes::from(format!("{change}\n"))).await.map_err(|_| Left)
    }
}

// === impl Records ===

impl Subject for Records {
    fn names(&self) -> Vec<Name> {
        match &self.only {
            Some(name) => vec![name.clone()],
            None => objects::names(&self.view, self.kind),
        }
    }

    fn get(&self, name: &Name) -> Option<Value> {
        let meant = self.only.as_ref().is_none_or(|only| only == name);
        meant.then(|| objects::get(&self.view, self.kind, name)).flatten()
    }
}

#[cfg(test)]
mod tests;
