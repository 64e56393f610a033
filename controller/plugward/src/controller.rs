//! The controller: sources, stores, queue, workers and engines, wired together.
//!
//! ```text
//! manifests ─▶ source ─▶ records (store) ─┐
//! engines ─▶ links ───────────────────────┼─▶ queue ─▶ workers ─▶ reconcile
//! plugins ─▶ sessions ────────────────────┘
//! ```
//!
//! Nothing here touches the process (arguments, signals, ports): that is [`crate::app`]'s, and the simulation
//! drives the same controller with simulated engines and plugins.

mod follow;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plugward_api::status::EventType;
use plugward_api::{Kind, Name, RecordKey};
use plugward_runtime::{Backoff, Options, Queue, Request, Requests, Summary, Writer, WriterDropped};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::follow::{follow, wake};
use crate::attach::Roster;
use crate::clock::Clock;
use crate::desired::{self, Records};
use crate::engines::{Connector, Engines, Host, Listener, PullEnd, WakeReason};
use crate::execute::{Executor, Timings};
use crate::files;
use crate::gateway::sockets::Sockets;
use crate::gateway::{Gateway, Relays};
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::plugin::Plugins;
use crate::reason::Reason;
use crate::reconcile::Reconciler;
use crate::roll::Rolls;
use crate::runtimes;
use crate::session::{Sessions, Wake};
use crate::sharing::{self, Sharing};
use crate::source::{Declared, DirectorySource, LastGood, LastGoodError};
use crate::state::{Cluster, State, StateError};
use crate::status::Book;
use crate::usage::Usages;
use crate::view::View;

/// How long all workers may be busy without one run ending: far longer than the steps of a run on an engine that hangs,
/// each of which has a limit of its own.
const STALL: Duration = Duration::from_secs(600);

/// What a controller is made of.
pub struct Parts {
    /// Its memory.
    pub state: State,
    /// Who it is.
    pub cluster: Cluster,
    /// Where manifests are.
    pub source: crate::source::Settings,
    /// How engines are reached.
    pub connector: Arc<dyn Connector>,
    /// How plugins are reached.
    pub plugins: Arc<dyn Plugins>,
    /// The time of day.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// The sockets of mounts.
    pub mounts: Sockets,
    /// Where hosts' connections are relayed.
    pub relays: Relays,
    /// Where the directories shared with plugins are made.
    pub sockets: PathBuf,
    /// The group of these directories, and of the sockets in them; `None` is our own, and opens them to no other.
    pub group: Option<u32>,
    /// How it works.
    pub tuning: Tuning,
}

/// How a controller works.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Instances reconciled at once.
    pub concurrency: NonZeroUsize,
    /// How often each engine is listed when nothing happens.
    pub resync: Duration,
    /// How often each container is asked about at the most while somebody reads metrics, if it is.
    pub usage: Option<Duration>,
    /// The first and the longest delay after a failed reconcile.
    pub retry: (Duration, Duration),
    /// How long reconciles under way may take at a shutdown.
    pub grace: Duration,
    /// What jitter is drawn from; `None` for another one each time.
    pub seed: Option<u64>,
}

/// Why a controller cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Its memory cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The last good manifests cannot be read.
    #[error(transparent)]
    LastGood(#[from] LastGoodError),
    /// The delays make no sense.
    #[error(transparent)]
    Retry(#[from] plugward_runtime::InvalidBackoff),
}

/// A controller that is ready to run.
pub struct Controller {
    view: View,
    source: DirectorySource,
    writer: Writer<RecordKey, Declared>,
    requests: Requests<Name, Reason>,
    reconciler: Arc<Reconciler>,
    sessions: Sessions,
    rolls: Rolls,
    news: Arc<Notify>,
    options: Options,
}

/// Turns news of engines into requests.
struct Triggers {
    queue: Queue<Name, Reason>,
    records: Records,
    book: Book,
    news: Arc<Notify>,
}

impl Default for Tuning {
    /// As the program works: 16 at once, a list every 30 s, retries from 100 ms to 30 s, 30 s at the end.
    fn default() -> Self {
        Self {
            concurrency: const { NonZeroUsize::new(16).unwrap() },
            resync: Duration::from_secs(30),
            usage: Some(Duration::from_secs(30)),
            retry: (Duration::from_millis(100), Duration::from_secs(30)),
            grace: Duration::from_secs(30),
            seed: None,
        }
    }
}

// === impl Controller ===

impl Controller {
    /// Wires the parts.
    ///
    /// # Errors
    /// When something that an earlier controller left cannot be read.
    #[expect(clippy::too_many_lines, reason = "all is wired here, and nothing decided")]
    pub fn new(parts: Parts) -> Result<Self, ControllerError> {
        let Parts {
            state,
            cluster,
            source,
            connector,
            plugins,
            clock,
            metrics,
            mounts,
            relays,
            sockets,
            group,
            tuning,
        } = parts;
        let statuses = state.statuses()?;
        let (writer, records) = plugward_runtime::store();
        let (queue, requests) = plugward_runtime::queue(metrics.clone());
        let news = Arc::new(Notify::new());
        let book = Book::new(clock, metrics.clone(), statuses);
        let triggers = Triggers {
            queue: queue.clone(),
            records: records.clone(),
            book: book.clone(),
            news: news.clone(),
        };
        let engines = Engines::new(
            connector,
            Arc::new(triggers),
            metrics.clone(),
            cluster.id.clone(),
            state.clone(),
            clock,
            tuning.resync,
        )?;
        let wake: Wake = {
            let queue = queue.clone();
            Arc::new(move |instance: &Name| {
                queue.add(instance.clone(), Reason::Session);
            })
        };
        let gateway =
            Gateway::new(mounts, relays, clock, wake.clone(), Arc::new(state.clone()), metrics.clone());
        let sessions = Sessions::new(
            plugins,
            gateway.clone(),
            state.clone(),
            records.clone(),
            metrics.clone(),
            clock,
            wake.clone(),
        );
        let roster = Roster::new(&state, wake.clone());
        let (rules, manifests) = (source.rules.clone(), source.first_directory().into());
        let source = DirectorySource::new(source, LastGood::open(state.manifests())?);
        let rolls = Rolls::default();
        let sharing = Sharing {
            cluster: cluster.id.clone(),
            directory: sockets,
            group,
            user: rustix::process::geteuid().as_raw(),
        };
        let draining = Arc::new(AtomicBool::new(false));
        let reconciler = Reconciler {
            records: records.clone(),
            reports: source.reports(),
            hash_key: cluster.hash_key.clone(),
            draining: draining.clone(),
            observer: Observer {
                cluster: cluster.id.clone(),
                state: state.clone(),
                engines: engines.clone(),
                sessions: sessions.clone(),
                gateway: gateway.clone(),
                sharing: sharing.clone(),
                roster: roster.clone(),
                hash_key: cluster.hash_key.clone(),
                clock,
                chance: Mutex::new(tuning.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64)),
            },
            executor: Executor {
                cluster: cluster.id.clone(),
                state: state.clone(),
                engines: engines.clone(),
                sessions: sessions.clone(),
                gateway: gateway.clone(),
                book: book.clone(),
                clock,
                sharing,
                timings: Timings::default(),
                metrics: metrics.clone(),
            },
            gateway: gateway.clone(),
            book: book.clone(),
            rolls: rolls.clone(),
            queue: queue.clone(),
            clock,
        };
        let view = View {
            cluster: cluster.id,
            records,
            reports: source.reports(),
            looker: source.looker(),
            book,
            engines,
            state,
            queue,
            gateway,
            roster,
            usages: Usages::new(tuning.usage),
            metrics,
            rules,
            manifests,
            synced: watch::Sender::new(false),
            draining,
        };
        let options = Options {
            concurrency: tuning.concurrency,
            backoff: Backoff::new(tuning.retry.0, tuning.retry.1)?,
            stall: STALL,
            grace: tuning.grace,
            seed: tuning.seed,
        };
        Ok(Self {
            view,
            source,
            writer,
            requests,
            reconciler: Arc::new(reconciler),
            sessions,
            rolls,
            news,
            options,
        })
    }

    /// What others may look at.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Runs until `shutdown`. Plugins run on.
    ///
    /// To drop the returned future ends everything at once, in the middle of whatever is under way: what a
    /// crash does, less the writes of files that were begun.
    pub async fn run(self, shutdown: CancellationToken) -> Summary<Name> {
        let Self { view, source, writer, requests, reconciler, sessions, rolls, news, options } = self;
        let tasks = Outgoing { sessions, gateway: view.gateway.clone(), engines: view.engines.clone() };
        // What goes on beside the work, to its end.
        let mut background = JoinSet::new();
        background.spawn(view.book.clone().keep(view.state.clone()));
        background.spawn(count_manifests(view.clone()));
        background.spawn(runtimes::keep_statuses(view.clone(), news.clone()));
        background.spawn(sweep_sockets(view.clone()));
        background.spawn(watch_files(view.clone()));
        background.spawn(view.usages.clone().keep(view.state.clone(), view.engines.clone()));

        view.engines.keep(&BTreeSet::new()).await;

        let (output, events) = mpsc::channel(1024);
        let source_stop = CancellationToken::new();
        let mut inputs = JoinSet::new();
        inputs.spawn(source.run(output, source_stop.clone()));
        let listed = CancellationToken::new();
        background.spawn(note_sync(view.clone(), listed.clone()));
        inputs.spawn(follow(view.clone(), rolls, writer, events, news, listed.clone()));

        let (stores, state, sharing) =
            (view.records.clone(), view.state.clone(), reconciler.executor.sharing.clone());
        let reconcile = move |request: Request<Name>| reconciler.clone().reconcile(request);
        let ready = async move {
            stores.ready().await?;
            listed.cancelled().await;
            // Nothing is started yet. Where directories may lie is told by the runtimes.
            let directories = desired::socket_directories(&stores);
            if let Err(error) = sharing::sweep(&sharing, directories.iter().map(PathBuf::as_path), &state) {
                tracing::warn!(error = crate::errors::chain(&error), "left-over directories stay");
            }
            Ok::<_, WriterDropped>(())
        };
        // A controller that hears nothing any more must not go on as if all were well.
        let stop = async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                ended = inputs.join_next() => {
                    tracing::error!(failed = ended.is_some_and(|ended| ended.is_err()), "manifests are not read any more");
                }
            }
        };
        let summary = plugward_runtime::run(requests, options, ready, reconcile, stop).await;
        source_stop.cancel();
        while inputs.join_next().await.is_some() {}
        drop(tasks);
        background.shutdown().await;
        if let Err(error) = view.book.write(&view.state) {
            tracing::warn!(error = crate::errors::chain(&error), "statuses cannot be stored");
        }
        // The stores are never dropped before they are ready, unless we are stopped before.
        summary.unwrap_or(Summary { dropped: Vec::new(), aborted: Vec::new() })
    }
}

/// Tasks that end with the controller, however it ends.
struct Outgoing {
    sessions: Sessions,
    gateway: Gateway,
    engines: Engines,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.sessions.end_all();
        self.gateway.close();
        self.engines.close();
    }
}

/// Keeps the metrics of manifests.
async fn count_manifests(mut view: View) {
    loop {
        {
            let report = view.reports.read();
            let bad = report.bad_files().count();
            let errors = report.files.values().map(|file| file.problems.len()).sum::<usize>()
                + report.directories.values().filter(|directory| directory.problem.is_some()).count();
            view.metrics.manifests(report.files.len() - bad, bad, errors);
            for kind in Kind::ALL {
                let records = report.files.values().flat_map(|file| &file.records);
                view.metrics.records(kind, records.filter(|key| key.kind == kind).count());
            }
        }
        if view.reports.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Asks for a reconcile of instances whose files have changed.
async fn watch_files(view: View) {
    let records = view.records.clone();
    files::watch(records, |instance| wake(&view, [instance.clone()], Reason::File)).await;
}

/// Removes the sockets that earlier controllers left of mounts that nobody declares any more, once that is certain.
async fn sweep_sockets(mut view: View) {
    if view.records.ready().await.is_err() {
        return;
    }
    while !view.reports.removals_allowed() {
        if view.reports.changed().await.is_err() {
            return;
        }
    }
    view.gateway.sweep(&desired::mounts(&view.records));
}

/// Notes when everything that was there at the start has been looked at once: all of it is in the queue since `listed`.
async fn note_sync(view: View, listed: CancellationToken) {
    const POLL: Duration = Duration::from_millis(20);
    listed.cancelled().await;
    loop {
        let depth = view.queue.depth();
        if depth.due + depth.running == 0 {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    view.synced.send_replace(true);
    tracing::info!(records = view.records.len(), "first sync is done");
}

// === impl Triggers ===

impl Listener for Triggers {
    fn instance(&self, instance: &Name, reason: WakeReason) {
        match reason {
            WakeReason::Resync | WakeReason::EngineUp => {
                self.queue.add_background(instance.clone(), Reason::Engine(reason))
            }
            WakeReason::Container | WakeReason::Image | WakeReason::EngineDown => {
                self.queue.add(instance.clone(), Reason::Engine(reason))
            }
        };
    }

    fn engine(&self, host: &Host, reason: WakeReason) {
        self.news.notify_one();
        for instance in desired::instances_on(host, &self.records) {
            self.queue.add_background(instance, Reason::Engine(reason));
        }
    }

    fn pulled(&self, instance: &Name, end: &PullEnd) {
        match &end.result {
            Ok(()) => {
                let took = end.took.as_millis();
                let message = format!("pulled image {} in {}.{:03} s", end.image, took / 1000, took % 1000);
                self.book.event(instance, EventType::Normal, "Pulled", message);
            }
            Err(error) => self.book.event(instance, EventType::Warning, "PullFailed", error),
        }
        self.queue.add(instance.clone(), Reason::Engine(WakeReason::Image));
    }
}
