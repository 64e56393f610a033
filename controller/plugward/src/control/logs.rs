//! Logs of an instance's plugins: what is there, merged by time, and then what is written.
//!
//! The answer is lines of JSON ([`Told`]), made as fast as the client reads them: of each container a line is held, and an engine
//! is not read on while they wait. So a client that stops reading costs a few lines, and no plugin waits for it: an engine keeps
//! logs in files.

mod find;
mod follow;
mod merge;

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path as Segment, Query, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use plugward_api::Name;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use self::find::{Found, Log};
use super::server::{Controlled, no_record};
use crate::logs::LogLine;
use crate::names::SlotName;
use crate::slot::Start;
use crate::view::View;

/// Lines that wait for a client.
const LINES_WAITING: usize = 16;

/// What follows the question mark.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    /// Go on with what is written, over restarts, until the client leaves or the instance is deleted.
    #[serde(default)]
    follow: bool,
    /// Of the container before the current one.
    #[serde(default)]
    previous: bool,
    /// Of this slot alone.
    slot: Option<String>,
    /// Only what was written then or later.
    since: Option<Timestamp>,
    /// Only so many of the last lines of each slot.
    tail: Option<u32>,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
enum Told<'a> {
    /// From here on lines of this slot are of this container.
    Container { slot: &'a SlotName, container: &'a str },
    /// A line that a container wrote.
    Line {
        slot: &'a SlotName,
        #[serde(flatten)]
        line: &'a LogLine,
    },
    /// Something that people should know of the lines.
    Note { message: String },
    /// Something that keeps lines from being told.
    Error { message: String },
    /// There is nothing more, because that was all, and not because the controller ends.
    End,
}

/// Where the answer goes.
#[derive(Clone)]
struct Teller(mpsc::Sender<Bytes>);

/// The reader left.
struct Left;

/// An answer that is being made.
struct Reading {
    view: View,
    instance: Name,
    /// The only slot that is meant.
    only: Option<SlotName>,
    asked: Asked,
    teller: Teller,
}

/// Up to where a container's log was told.
#[derive(Debug, Clone)]
struct Cursor {
    container: String,
    /// When the last line that was told was written.
    at: Option<Timestamp>,
}

/// Answers `GET /v1/instances/NAME/logs`.
pub(super) async fn logs(
    Shared(controlled): Shared<Controlled>,
    Segment(name): Segment<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let Controlled { view, stop, .. } = controlled;
    let Some(instance) = name.parse().ok().filter(|instance| is_known(&view, instance)) else {
        return no_record(&view, plugward_api::Kind::PluginInstance, &name);
    };
    let slots = view.state.slots(&instance);
    let only = match &asked.slot {
        None => None,
        Some(text) => match text.parse().ok().filter(|slot| slots.contains_key(slot)) {
            Some(slot) => Some(slot),
            None => return no_such_slot(&instance, text, slots.keys()),
        },
    };
    if slots.is_empty() && !asked.follow {
        let message = format!(
            "instance {name:?} has had no container yet: `plugward describe instance {name}` says what it waits for"
        );
        return (StatusCode::NOT_FOUND, Json(json!({ "message": message }))).into_response();
    }
    let (lines, body) = mpsc::channel(LINES_WAITING);
    let reading = Reading { view, instance, only, asked, teller: Teller(lines.clone()) };
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        tokio::select! {
            // That the reader left is noticed also where nothing is written.
            () = lines.closed() => {}
            _ = reading.run() => {}
        }
    }));
    let body = Body::from_stream(ReceiverStream::new(body).map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// Whether there is such an instance, or what is left of one.
fn is_known(view: &View, instance: &Name) -> bool {
    super::objects::get(view, plugward_api::Kind::PluginInstance, instance).is_some()
}

fn no_such_slot<'a>(instance: &Name, wanted: &str, slots: impl Iterator<Item = &'a SlotName>) -> Response {
    let slots: Vec<String> = slots.map(ToString::to_string).collect();
    let there = if slots.is_empty() { "no slot yet".to_owned() } else { slots.join(", ") };
    let message = format!("instance {:?} has no slot {wanted:?}: it has {there}", instance.as_str());
    (StatusCode::NOT_FOUND, Json(json!({ "message": message }))).into_response()
}

// === impl Teller ===

impl Teller {
    async fn tell(&self, told: Told<'_>) -> Result<(), Left> {
        let Ok(mut line) = serde_json::to_vec(&told) else { return Ok(()) };
        line.push(b'\n');
        self.0.send(line.into()).await.map_err(|_| Left)
    }
}

// === impl Reading ===

impl Reading {
    async fn run(self) -> Result<(), Left> {
        let told = self.tell_what_is_there().await?;
        if self.asked.follow {
            self.follow(told).await?;
        }
        self.teller.tell(Told::End).await
    }

    /// The slots that are meant, with what is the latest start of each.
    fn slots(&self) -> BTreeMap<SlotName, Option<Start>> {
        let slots = self.view.state.slots(&self.instance).into_iter();
        slots
            .filter(|(slot, _)| self.only.as_ref().is_none_or(|only| only == slot))
            .map(|(slot, stored)| (slot, stored.current.clone()))
            .collect()
    }

    /// Tells what was written up to now, in order of time.
    async fn tell_what_is_there(&self) -> Result<BTreeMap<SlotName, Cursor>, Left> {
        let mut logs = Vec::new();
        let mut cursors = BTreeMap::new();
        for (slot, start) in self.slots() {
            let found = if self.asked.previous {
                self.previous(&slot, start.as_ref()).await
            } else {
                self.current(&slot, start.as_ref()).await
            };
            match found {
                Ok(Found { container, log, note }) => {
                    self.teller.tell(Told::Container { slot: &slot, container: &container }).await?;
                    if let Some(message) = note {
                        self.teller.tell(Told::Note { message }).await?;
                    }
                    cursors.insert(slot.clone(), Cursor { container, at: None });
                    logs.push((slot, log));
                }
                // There will be something.
                Err(Absent::Nothing(message)) if self.asked.follow => {
                    self.teller.tell(Told::Note { message }).await?;
                }
                Err(Absent::Nothing(message) | Absent::Failed(message)) => {
                    self.teller.tell(Told::Error { message }).await?;
                }
            }
        }
        let mut merged = merge::Merged::new(logs);
        while let Some((slot, line)) = merged.next().await {
            match line {
                Ok(line) => {
                    self.teller.tell(Told::Line { slot: &slot, line: &line }).await?;
                    if let Some(cursor) = cursors.get_mut(&slot) {
                        cursor.at = cursor.at.max(Some(line.at));
                    }
                }
                Err(error) => {
                    let message = format!("slot {slot}: {error}");
                    self.teller.tell(Told::Error { message }).await?;
                }
            }
        }
        Ok(cursors)
    }
}

/// Why there are no lines of a slot.
enum Absent {
    /// There is nothing that could have written any.
    Nothing(String),
    /// They cannot be read.
    Failed(String),
}

#[cfg(test)]
mod tests;
