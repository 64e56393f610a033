//! The pulls of one engine: one for each image at a time, shared by all instances that want it.
//!
//! A pull is a task of its own. A plan only begins it; that it ended is a reason to look again for all who want the image. It is
//! given up when nobody wants it any more. What failed may be tried again after a delay that doubles with each failure; the return of
//! the engine ends the delay, and an edit of an instance that wants the image makes it as short as the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use plugward_api::Name;
use plugward_api::status::PullStatus;
use plugward_engine::{Engine, EngineError, ErrorKind, Operation, Progress};
use plugward_runtime::Backoff;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::Instrument;

use super::images::Images;
use crate::clock::Clock;
use crate::errors::chain;
use crate::plan::PullSight;
use crate::slot::Edit;

/// Pulls at once. An engine itself downloads but a few layers at a time.
const AT_ONCE: usize = 4;

/// How long a pull may tell nothing new. Large layers take minutes to unpack, of which engines tell.
const SILENCE: Duration = Duration::from_secs(180);

/// The delay after the first failure, and the longest: a kubelet's is the same at its end.
const DELAYS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// Who hears that a pull ended.
pub(super) type Ended = Box<dyn Fn(&Name, &PullEnd) + Send + Sync>;

/// How a pull ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullEnd {
    /// What was pulled: `repository:tag`.
    pub image: String,
    /// How long it took.
    pub took: Duration,
    /// How far it came.
    pub progress: Progress,
    /// Why it failed, in words.
    pub result: Result<(), String>,
}

/// What became of the wish to begin a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It has begun.
    Begun,
    /// It was under way.
    UnderWay,
}

/// The pulls of one engine. Dropping it gives them up.
pub(super) struct Pulls {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<dyn Engine>,
    images: Arc<Images>,
    clock: Clock,
    ended: Ended,
    turns: Semaphore,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// What instances want, and as of which edit.
    wishes: HashMap<Name, (Edit, BTreeSet<String>)>,
    /// The images that somebody wants, or that are being pulled.
    pulls: BTreeMap<String, Pull>,
    /// Counts pulls: a task that was given up must not conclude its successor.
    begun: u64,
}

#[derive(Default)]
struct Pull {
    wanted_by: BTreeSet<Name>,
    stage: Stage,
    /// In a row.
    failures: u32,
}

#[derive(Default)]
enum Stage {
    #[default]
    NotBegun,
    Running {
        number: u64,
        since: Timestamp,
        random: u64,
        progress: Progress,
        task: AbortHandle,
    },
    Done {
        at: Timestamp,
    },
    Failed {
        since: Timestamp,
        at: Timestamp,
        message: String,
        retry_at: Timestamp,
    },
}

// === impl Pulls ===

impl Pulls {
    pub(super) fn new(engine: Arc<dyn Engine>, images: Arc<Images>, clock: Clock, ended: Ended) -> Self {
        let shared =
            Shared { engine, images, clock, ended, turns: Semaphore::new(AT_ONCE), book: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// What an instance wants to be pulled here, as of an edit: these images and no others.
    pub(super) fn want(&self, instance: &Name, edit: Edit, images: &BTreeSet<String>) {
        let mut book = self.shared.lock();
        if images.is_empty() && !book.wishes.contains_key(instance) {
            return;
        }
        let before = if images.is_empty() {
            book.wishes.remove(instance)
        } else {
            book.wishes.insert(instance.clone(), (edit, images.clone()))
        };
        let (edited, before) =
            before.map_or((false, BTreeSet::new()), |(known, before)| (known != edit, before));
        for image in before.difference(images) {
            book.unwanted(image, instance);
        }
        for image in images {
            let pull = book.pulls.entry(image.clone()).or_default();
            pull.wanted_by.insert(instance.clone());
            if edited {
                pull.shorten_delay();
            }
        }
    }

    /// How the pull of an image stands.
    pub(super) fn sight(&self, image: &str) -> PullSight {
        match self.shared.lock().pulls.get(image).map(|pull| &pull.stage) {
            None | Some(Stage::NotBegun) => PullSight::None,
            Some(Stage::Running { since, .. }) => PullSight::Running { since: *since },
            Some(Stage::Done { at }) => PullSight::Done { at: *at },
            Some(Stage::Failed { message, retry_at, .. }) => {
                PullSight::Failed { message: message.clone(), retry_at: *retry_at }
            }
        }
    }

    /// Begins to pull an image, unless that is under way. `random` is for the delay after a failure.
    pub(super) fn begin(&self, image: &str, random: u64) -> Begun {
        let mut book = self.shared.lock();
        if matches!(book.pulls.get(image), Some(Pull { stage: Stage::Running { .. }, .. })) {
            return Begun::UnderWay;
        }
        book.begun += 1;
        let number = book.begun;
        let since = self.shared.clock.now();
        let running =
            Running { shared: self.shared.clone(), image: image.to_owned(), number, concluded: false };
        let span = tracing::info_span!("pull", image);
        let handle = tokio::spawn(running.run().instrument(span)).abort_handle();
        // The task cannot conclude before that: it waits for the book.
        book.pulls.entry(image.to_owned()).or_default().stage =
            Stage::Running { number, since, random, progress: Progress::default(), task: handle };
        Begun::Begun
    }

    /// What failed may be tried again at once.
    pub(super) fn forget_failures(&self) {
        self.shared.lock().pulls.values_mut().for_each(Pull::forget_failures);
    }

    /// What there is to tell of the pull of an image that an instance wants.
    pub(super) fn status(&self, instance: &Name) -> Option<PullStatus> {
        let book = self.shared.lock();
        let (_, images) = book.wishes.get(instance)?;
        images.iter().find_map(|image| book.pulls.get(image)?.status(image))
    }
}

impl Drop for Pulls {
    fn drop(&mut self) {
        for pull in std::mem::take(&mut self.shared.lock().pulls).values() {
            pull.give_up();
        }
    }
}

// === impl Book ===

impl Book {
    fn unwanted(&mut self, image: &str, by: &Name) {
        let Some(pull) = self.pulls.get_mut(image) else { return };
        pull.wanted_by.remove(by);
        if pull.wanted_by.is_empty() {
            pull.give_up();
            self.pulls.remove(image);
        }
    }
}

// === impl Pull ===

impl Pull {
    fn give_up(&self) {
        if let Stage::Running { task, .. } = &self.stage {
            task.abort();
        }
    }

    fn forget_failures(&mut self) {
        if matches!(self.stage, Stage::Failed { .. }) {
            (self.stage, self.failures) = (Stage::NotBegun, 0);
        }
    }

    /// The delay is what it was after the first failure. It does not end: an edit of a runtime is one of all its instances, and they must
    /// not each have a try of their own.
    fn shorten_delay(&mut self) {
        if let Stage::Failed { at, retry_at, .. } = &mut self.stage {
            *retry_at = (*retry_at).min(at.saturating_add(DELAYS.0).unwrap_or(Timestamp::MAX));
            self.failures = 0;
        }
    }

    fn status(&self, image: &str) -> Option<PullStatus> {
        let status = |started_at| PullStatus {
            image: image.to_owned(),
            started_at,
            layers: 0,
            layers_done: 0,
            bytes: 0,
            total_bytes: 0,
            failures: self.failures,
            error: None,
            retry_at: None,
        };
        match &self.stage {
            Stage::NotBegun | Stage::Done { .. } => None,
            Stage::Running { since, progress, .. } => Some(PullStatus {
                layers: progress.layers,
                layers_done: progress.layers_done,
                bytes: progress.bytes,
                total_bytes: progress.total_bytes,
                ..status(*since)
            }),
            Stage::Failed { since, message, retry_at, .. } => {
                Some(PullStatus { error: Some(message.clone()), retry_at: Some(*retry_at), ..status(*since) })
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Book> {
        // Each change is one insert, remove or assignment.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of a pull. However it ends, that is concluded.
struct Running {
    shared: Arc<Shared>,
    image: String,
    number: u64,
    concluded: bool,
}

impl Running {
    async fn run(mut self) {
        let result = {
            // Never closed.
            let _turn = self.shared.turns.acquire().await;
            self.pull().await
        };
        let result = result.map_err(|error| chain(&error));
        self.concluded = true;
        self.conclude(result);
    }

    async fn pull(&self) -> Result<(), EngineError> {
        let mut items = self.shared.engine.pull(&self.image).await?;
        loop {
            match timeout(SILENCE, items.next()).await {
                Ok(Some(Ok(progress))) => self.note(progress),
                Ok(Some(Err(error))) => return Err(error),
                Ok(None) => return Ok(()),
                Err(_) => {
                    return Err(EngineError {
                        operation: Operation::Pull,
                        subject: self.image.clone(),
                        kind: ErrorKind::TimedOut,
                        message: format!("the registry has sent nothing for {} s", SILENCE.as_secs()),
                    });
                }
            }
        }
    }

    fn note(&self, news: Progress) {
        let mut book = self.shared.lock();
        if let Some(Stage::Running { number, progress, .. }) =
            book.pulls.get_mut(&self.image).map(|pull| &mut pull.stage)
            && *number == self.number
        {
            *progress = news;
        }
    }

    fn conclude(&self, result: Result<(), String>) {
        // Whatever a pull that failed has changed: what was said of images is asked again.
        self.shared.images.changed();
        let now = self.shared.clock.now();
        let (wanted_by, end) = {
            let mut book = self.shared.lock();
            let Some(pull) = book.pulls.get_mut(&self.image) else { return };
            let Stage::Running { number, since, random, progress, .. } = pull.stage else { return };
            if number != self.number {
                return;
            }
            pull.stage = match &result {
                Ok(()) => {
                    pull.failures = 0;
                    Stage::Done { at: now }
                }
                Err(message) => {
                    let delay = delay(pull.failures, random);
                    pull.failures = pull.failures.saturating_add(1);
                    let retry_at = now.saturating_add(delay).unwrap_or(Timestamp::MAX);
                    Stage::Failed { since, at: now, message: message.clone(), retry_at }
                }
            };
            let took = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            (pull.wanted_by.clone(), PullEnd { image: self.image.clone(), took, progress, result })
        };
        match &end.result {
            Ok(()) => tracing::info!(bytes = end.progress.bytes, took = ?end.took, "pulled"),
            Err(error) => tracing::warn!(error, "the image cannot be pulled"),
        }
        for instance in &wanted_by {
            (self.shared.ended)(instance, &end);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A panic, or the runtime's end. Of one that was given up nothing is in the book.
        if !self.concluded {
            self.conclude(Err("the pull was broken off".to_owned()));
        }
    }
}

/// The delay before the next try, after so many failures before this one.
fn delay(failures: u32, random: u64) -> Duration {
    // Constants that are a backoff.
    Backoff::new(DELAYS.0, DELAYS.1).map_or(DELAYS.1, |backoff| backoff.delay(failures, random))
}

#[cfg(test)]
mod tests;
