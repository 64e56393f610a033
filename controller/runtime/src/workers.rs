//! The workers: they take keys from the queue and reconcile them, several at once.

use std::collections::HashMap;
use std::error::Error;
use std::mem;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span, debug, error, info_span, warn};

use crate::backoff::Backoff;
use crate::chain::chain;
use crate::observer::Outcome;
use crate::queue::{Key, Next, Reason, Requests, Taken};

#[cfg(test)]
mod tests;

/// How long an aborted run may take to get to its next `await`, where it ends.
const ABORT_TIME: Duration = Duration::from_secs(1);

/// How the workers work.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many keys are reconciled at once.
    pub concurrency: NonZeroUsize,
    /// How long a key waits after a failed run.
    pub backoff: Backoff,
    /// How long all workers may be busy without one run ending. After that they have no
    /// [pulse](crate::Queue::pulse) until one does: no single run takes that long.
    pub stall: Duration,
    /// How long the runs that are under way at a shutdown may still take.
    pub grace: Duration,
    /// What the jitter of the backoff is drawn from; `None` for another one each time.
    pub seed: Option<u64>,
}

/// What a reconcile gets to know. The reason of the request is left out on purpose: what is done depends on
/// the state of the world, and not on what was heard of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<K> {
    /// What to reconcile.
    pub key: K,
    /// How many runs of this key have failed since the last one that did not.
    pub attempt: u32,
}

/// What a reconcile that did not fail asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    after: Option<Duration>,
}

/// An error of a reconcile.
pub trait Failure: Error + Send + 'static {
    /// What kind of failure it is, from a closed set: for logs and labels.
    fn category(&self) -> &'static str;

    /// Whether trying again may help.
    fn verdict(&self) -> Verdict;
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may: the key is run again, with backoff.
    Retry,
    /// Not before something changes: the key is run again when that asks for it.
    Terminal,
}

/// What was left undone at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary<K> {
    /// Keys with a request that was accepted and not run, by the time they were due.
    pub dropped: Vec<K>,
    /// Keys whose run was ended before it was through. It did everything up to one of its `await`s, and
    /// nothing after that.
    pub aborted: Vec<K>,
}

/// Runs what comes out of the queue until `shutdown` resolves or the queue is closed.
///
/// # Flow
///
/// Nothing is run before `ready` resolves, for instance when all stores are filled; requests are merged
/// meanwhile. Then at most [`concurrency`](Options::concurrency) keys are reconciled at once, each in a task
/// and a span of its own. A run that fails is repeated with [backoff](Options::backoff), counted per key; one
/// that panics has failed like any other. Failures are logged here, with their chain of causes.
///
/// At the end the queue is closed, runs under way have the time of [`grace`](Options::grace), the rest is
/// aborted. When this returns no run is under way, with one exception: a run that blocks its thread cannot be
/// ended. It is waited for a second and then left behind, among the aborted.
///
/// To drop the returned future aborts everything at once.
///
/// # Errors
///
/// What `ready` fails with. Nothing was run then, and the queue is closed.
pub async fn run<K, R, E, G, F, Fut>(
    requests: Requests<K, R>,
    options: Options,
    ready: impl Future<Output = Result<(), G>>,
    reconcile: F,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary<K>, G>
where
    K: Key,
    R: Reason,
    E: Failure,
    F: Fn(Request<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, E>> + Send + 'static,
{
    let mut pool = Pool::new(&requests, &options, reconcile);
    let mut stop = pin!(async {
        tokio::select! {
            () = shutdown => {}
            () = requests.closed() => {}
        }
    });

    let gate = tokio::select! {
        biased;
        () = &mut stop => None,
        ready = ready => Some(ready),
    };
    match gate {
        None => {}
        Some(Err(error)) => {
            requests.drain();
            return Err(error);
        }
        Some(Ok(())) => loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                // Only ready when somebody asks, so what follows is not kept from its turn.
                () = requests.pulse().beat(), if pool.moves() => {}
                Some(ended) = pool.runs.join_next_with_id() => pool.settle(ended),
                Some(taken) = requests.next(), if pool.has_room() => pool.start(taken),
            }
        },
    }

    requests.close();
    debug!(running = pool.under_way.len(), "workers stop");
    let aborted = pool.wind_up(options.grace).await;
    Ok(Summary { dropped: requests.drain(), aborted })
}

struct Pool<'a, K: Key, R: Reason, E, F> {
    requests: &'a Requests<K, R>,
    concurrency: usize,
    backoff: Backoff,
    stall: Duration,
    jitter: SmallRng,
    reconcile: Arc<F>,
    runs: JoinSet<Result<Action, E>>,
    under_way: HashMap<Id, UnderWay<K, R>>,
    started: u64,
    /// When a run began or ended last.
    moved: Instant,
    aborted: Vec<K>,
}

/// What is known of a run while it is under way.
struct UnderWay<K, R> {
    taken: Taken<K, R>,
    since: Instant,
    span: Span,
}

// === impl Pool ===

impl<'a, K, R, E, F, Fut> Pool<'a, K, R, E, F>
where
    K: Key,
    R: Reason,
    E: Failure,
    F: Fn(Request<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, E>> + Send + 'static,
{
    fn new(requests: &'a Requests<K, R>, options: &Options, reconcile: F) -> Self {
        Self {
            requests,
            concurrency: options.concurrency.get(),
            backoff: options.backoff,
            stall: options.stall,
            jitter: SmallRng::seed_from_u64(options.seed.unwrap_or_else(rand::random)),
            reconcile: Arc::new(reconcile),
            runs: JoinSet::new(),
            under_way: HashMap::new(),
            started: 0,
            moved: Instant::now(),
            aborted: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.concurrency
    }

    /// Whether there is room, or runs end.
    fn moves(&self) -> bool {
        self.has_room() || self.moved.elapsed() < self.stall
    }

    fn start(&mut self, taken: Taken<K, R>) {
        let since = Instant::now();
        self.moved = since;
        let Taken { key, reason, attempt, due, .. } = &taken;
        self.started += 1;
        // A root: nothing that runs when the workers are started belongs to it.
        let span = info_span!(
            parent: None,
            "reconcile",
            object.key = %key,
            %reason,
            attempt,
            run_id = self.started,
        );
        self.requests.observer().started(key, since.saturating_duration_since(*due));

        let request = Request { key: key.clone(), attempt: *attempt };
        let reconcile = Arc::clone(&self.reconcile);
        // Called within the task, so that a panic before the first `await` is caught there as well.
        let run = async move { reconcile(request).await }.instrument(span.clone());
        let id = self.runs.spawn(run).id();
        self.under_way.insert(id, UnderWay { taken, since, span });
    }

    /// Takes in the end of a run and decides what comes next for its key.
    fn settle(&mut self, ended: Result<(Id, Result<Action, E>), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(UnderWay { taken, since, span }) = self.under_way.remove(&id) else {
            return;
        };
        self.moved = Instant::now();
        let _span = span.entered();
        let took = since.elapsed();
        let (outcome, next) = match ended {
            Ok((_, Ok(Action { after: None }))) => (Outcome::Done, Next::Forget),
            Ok((_, Ok(Action { after: Some(after) }))) => (Outcome::Requeued(after), Next::Requeue(after)),
            Ok((_, Err(failed))) => {
                let (category, verdict) = (failed.category(), failed.verdict());
                let error = chain(&failed);
                let next = match verdict {
                    Verdict::Retry => {
                        let delay = self.delay(&taken);
                        warn!(%error, category, retry_in = ?delay, "reconcile failed");
                        Next::Retry(delay)
                    }
                    Verdict::Terminal => {
                        warn!(%error, category, "reconcile failed, and will until something changes");
                        Next::Forget
                    }
                };
                (Outcome::Failed(category, verdict), next)
            }
            Err(ended) if ended.is_panic() => {
                let delay = self.delay(&taken);
                error!(error = %ended, retry_in = ?delay, "reconcile panicked");
                (Outcome::Panicked, Next::Retry(delay))
            }
            Err(_) => {
                self.aborted.push(taken.key.clone());
                warn!("reconcile aborted");
                (Outcome::Aborted, Next::Forget)
            }
        };

        let observer = self.requests.observer();
        observer.finished(&taken.key, outcome, took);
        if let Next::Retry(delay) = next {
            observer.retried(&taken.key, taken.attempt.saturating_add(1), delay);
        }
        self.requests.finish(taken, next);
    }

    fn delay(&mut self, taken: &Taken<K, R>) -> Duration {
        self.backoff.delay(taken.attempt, self.jitter.random())
    }

    async fn settle_all(&mut self) {
        while let Some(ended) = self.runs.join_next_with_id().await {
            self.settle(ended);
        }
    }

    /// Lets the runs under way come to their end, or to an end. Returns those that were aborted.
    async fn wind_up(mut self, grace: Duration) -> Vec<K> {
        if timeout(grace, self.settle_all()).await.is_ok() {
            return self.aborted;
        }
        self.runs.abort_all();
        if timeout(ABORT_TIME, self.settle_all()).await.is_err() {
            for UnderWay { taken, since, span } in mem::take(&mut self.under_way).into_values() {
                span.in_scope(|| error!("reconcile blocks its thread and is left behind"));
                self.requests.observer().finished(&taken.key, Outcome::Aborted, since.elapsed());
                self.aborted.push(taken.key);
            }
        }
        self.aborted
    }
}

// === impl Action ===

impl Action {
    /// There is nothing to do before something changes.
    pub const fn done() -> Self {
        Self { after: None }
    }

    /// Run again after this time, or when something changes before.
    pub const fn after(delay: Duration) -> Self {
        Self { after: Some(delay) }
    }
}
