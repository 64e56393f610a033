//! One engine, watched: what it holds, what happens on it, whether it is there.
//!
//! # Flow
//!
//! On every connection: read the engine's own time, subscribe to events from that time on, list. Then pass events
//! on, list again every [`WatchOptions::resync`], and ask for a sign of life when nothing was heard for
//! [`WatchOptions::idle`]. Whatever fails ends the connection; the next one is tried after a backoff, without end.
//!
//! # Guarantees
//!
//! - [`Signal::Up`] begins each connection. Everything that it does not list must be presumed gone.
//! - What happens after the list of an [`Signal::Up`] comes as a [`Signal::Event`] (the subscription is older than the list),
//!   as far as engines keep their word; what they lose, the next [`Signal::Listed`] shows.
//! - [`Signal::Down`] comes once for a lost connection, however many attempts fail until the next [`Signal::Up`], unless the
//!   cause changes.
//! - A resync is one list call, whatever the number of containers.
//!
//! # Assumptions
//!
//! The stream does nothing while nobody polls it, and an engine drops events for a listener who does not read: it
//! must be polled all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use tokio::time::Instant;

use crate::container::Listed;
use crate::error::{EngineError, ErrorKind, Operation};
use crate::event::Event;
use crate::info::EngineInfo;
use crate::port::Engine;

/// How an engine is watched.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Only containers with all of these labels are listed and told of.
    pub labels: BTreeMap<String, String>,
    /// Time between two lists.
    pub resync: Duration,
    /// Time without an event or a list after which the engine is asked whether it lives.
    pub idle: Duration,
    /// When to try again after a lost connection.
    pub retry: Retry,
}

/// Pauses between attempts to connect: each twice as long as the one before. They begin anew after a connection that
/// lasted longer than the longest of them, so an engine that answers and dies at once is not asked in a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first pause.
    pub first: Duration,
    /// The longest pause, before jitter.
    pub longest: Duration,
    /// Whether each pause gets up to as much again, by chance, so that many watchers of one engine spread.
    pub jitter: bool,
}

/// What a watch tells.
#[derive(Debug, Clone)]
pub enum Signal {
    /// The engine is there, and holds these containers.
    Up {
        /// Who it is: another one than before, perhaps.
        info: EngineInfo,
        /// All containers with the labels.
        containers: Vec<Listed>,
    },
    /// The periodic list: all containers with the labels.
    Listed(Vec<Listed>),
    /// Something happened: a reason to look.
    Event(Event),
    /// The engine is lost, or was not found.
    Down(EngineError),
}

/// Watches an engine for as long as the stream is kept.
pub fn watch(engine: Arc<dyn Engine>, options: WatchOptions) -> impl Stream<Item = Signal> + Send {
    let watcher = Watcher { pauses: options.retry.pauses(), engine, options };
    stream::unfold((watcher, State::Connecting { told: None }), |(mut watcher, mut state)| async move {
        loop {
            let (signal, next) = watcher.step(state).await;
            state = next;
            if let Some(signal) = signal {
                return Some((signal, (watcher, state)));
            }
        }
    })
}

struct Watcher {
    engine: Arc<dyn Engine>,
    options: WatchOptions,
    pauses: ExponentialBackoff,
}

/// Where a watch stands. Each state owns what is valid in it.
enum State {
    /// About to connect. `told` is the cause that the last [`Signal::Down`] gave.
    Connecting { told: Option<ErrorKind> },
    /// Waiting for the next attempt.
    Pausing { told: ErrorKind, pause: Duration },
    /// Connected.
    Following(Connection),
}

struct Connection {
    engine_id: Arc<str>,
    events: BoxStream<'static, Result<Event, EngineError>>,
    since: Instant,
    next_list: Instant,
    last_sign: Instant,
}

/// What ends the wait of a connection.
enum Wake {
    Event(Option<Result<Event, EngineError>>),
    List,
    Idle,
}

// === impl Watcher ===

impl Watcher {
    async fn step(&mut self, state: State) -> (Option<Signal>, State) {
        match state {
            State::Connecting { told } => match self.connect().await {
                Ok((info, containers, connection)) => {
                    (Some(Signal::Up { info, containers }), State::Following(connection))
                }
                Err(error) => self.lost(error, told),
            },
            State::Pausing { told, pause } => {
                tokio::time::sleep(pause).await;
                (None, State::Connecting { told: Some(told) })
            }
            State::Following(mut connection) => match self.follow(&mut connection).await {
                Ok(signal) => (signal, State::Following(connection)),
                Err(error) => {
                    if connection.since.elapsed() > self.options.retry.longest {
                        self.pauses = self.options.retry.pauses();
                    }
                    self.lost(error, None)
                }
            },
        }
    }

    fn lost(&mut self, error: EngineError, told: Option<ErrorKind>) -> (Option<Signal>, State) {
        let pause = self.pauses.next().unwrap_or(self.options.retry.longest);
        let next = State::Pausing { told: error.kind, pause };
        let news = told != Some(error.kind);
        (news.then_some(Signal::Down(error)), next)
    }

    async fn connect(&self) -> Result<(EngineInfo, Vec<Listed>, Connection), EngineError> {
        let info = self.engine.info().await?;
        let events = self.engine.events(&self.options.labels, info.time).await?;
        let containers = self.engine.list(&self.options.labels).await?;
        let now = Instant::now();
        let connection = Connection {
            engine_id: info.id.clone(),
            events,
            since: now,
            next_list: now + self.options.resync,
            last_sign: now,
        };
        Ok((info, containers, connection))
    }

    /// Waits for the next thing and does it.
    async fn follow(&self, connection: &mut Connection) -> Result<Option<Signal>, EngineError> {
        let wake = tokio::select! {
            biased;
            // A flood of events does not put off the list: it is what is true.
            () = tokio::time::sleep_until(connection.next_list) => Wake::List,
            event = connection.events.next() => Wake::Event(event),
            () = tokio::time::sleep_until(connection.last_sign + self.options.idle) => Wake::Idle,
        };
        let signal = match wake {
            Wake::Event(Some(event)) => Some(Signal::Event(event?)),
            Wake::Event(None) => return Err(ended()),
            Wake::List => {
                let containers = self.engine.list(&self.options.labels).await?;
                connection.next_list = Instant::now() + self.options.resync;
                Some(Signal::Listed(containers))
            }
            Wake::Idle => {
                let info = self.engine.info().await?;
                if info.id != connection.engine_id {
                    return Err(replaced(&connection.engine_id, &info.id));
                }
                None
            }
        };
        connection.last_sign = Instant::now();
        Ok(signal)
    }
}

// === impl WatchOptions ===

impl WatchOptions {
    /// Watches containers with these labels: a list a minute, a question for a sign of life after half a minute of
    /// silence.
    pub fn new(labels: BTreeMap<String, String>) -> Self {
        Self {
            labels,
            resync: Duration::from_mins(1),
            idle: Duration::from_secs(30),
            retry: Retry::default(),
        }
    }
}

// === impl Retry ===

impl Retry {
    fn pauses(self) -> ExponentialBackoff {
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.first.min(self.longest))
            .with_max_delay(self.longest)
            .without_max_times();
        if self.jitter { builder.with_jitter().build() } else { builder.build() }
    }
}

/// From 0.2 s up to 30 s. A restarted engine is back within a second; one that is down for the night does not mind.
impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(30), jitter: true }
    }
}

fn ended() -> EngineError {
    lost("the engine ended the event stream".to_owned())
}

fn replaced(before: &str, now: &str) -> EngineError {
    lost(format!("another engine answers at this address: {now}, which was {before}"))
}

fn lost(message: String) -> EngineError {
    EngineError {
        operation: Operation::Events,
        subject: "engine".to_owned(),
        kind: ErrorKind::Unreachable,
        message,
    }
}

#[cfg(test)]
mod tests;
