//! Watching records: each as it is at first, then each that becomes another one.
//!
//! A watch is a level, not a log. The news that it follows are names; what is told is how the record of that name stands
//! when the line is made, and only if that differs from what was told before. So a slow client loses nothing but what
//! came and went in between, and costs a few lines and a number for each record. Pulls under way are no news.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::Body;
use bytes::Bytes;
use plugward_api::{API_VERSION, Kind, Name};
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::objects;
use crate::view::View;

/// Lines that wait for a client.
const LINES_WAITING: usize = 16;

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

/// The body of an answer that goes on until its reader leaves, or `stop`.
pub(super) fn stream(records: Records, stop: CancellationToken) -> Body {
    let (lines, body) = mpsc::channel(LINES_WAITING);
    // Before the first look: what comes in between is looked at again.
    let news = records.view.book.news();
    let watch = Watch { kind: records.kind, subject: records, told: BTreeMap::new(), lines };
    tokio::spawn(async move { stop.run_until_cancelled(watch.run(news)).await });
    Body::from_stream(ReceiverStream::new(body).map(Ok::<_, Infallible>))
}

struct Watch<S> {
    kind: Kind,
    subject: S,
    /// What was told of each record last, as a hash of it.
    told: BTreeMap<Name, u64>,
    lines: mpsc::Sender<Bytes>,
}

/// The reader left.
struct Left;

// === impl Watch ===

impl<S: Subject> Watch<S> {
    async fn run(mut self, mut news: Receiver<(Kind, Name)>) {
        let mut outcome = self.look_at_all().await;
        while outcome.is_ok() {
            let heard = tokio::select! {
                heard = news.recv() => heard,
                () = self.lines.closed() => return,
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
        let mut names = self.subject.names();
        names.extend(self.told.keys().cloned());
        names.sort();
        names.dedup();
        for name in names {
            self.look_at(&name).await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, name: &Name) -> Result<(), Left> {
        let change = match self.subject.get(name) {
            Some(object) => {
                let mut hasher = DefaultHasher::new();
                object.to_string().hash(&mut hasher);
                let hash = hasher.finish();
                match self.told.insert(name.clone(), hash) {
                    None => json!({ "type": "ADDED", "object": object }),
                    Some(before) if before != hash => json!({ "type": "MODIFIED", "object": object }),
                    Some(_) => return Ok(()),
                }
            }
            None if self.told.remove(name).is_some() => {
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
