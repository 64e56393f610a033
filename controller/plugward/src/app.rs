//! `plugward run`: the controller as a process.
//!
//! Start: logs, locks, state, sockets, then the controller, so that nothing is touched by a process that
//! cannot run. Stop, on SIGTERM or SIGINT: hosts first, whose calls may end; then the controller; metrics and status
//! last, so that both can be looked at to the end. A second signal ends the process at once. SIGHUP has all manifests
//! looked at.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugward_engine::docker::{CredentialStore, ProcessSurroundings};
use plugward_engine::{Address, DockerEngine, Engine, EngineError, ErrorKind, Observed, Operation};
use rustix::fs::Gid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attach::{self, Attach};
use crate::clock::Clock;
use crate::control::server;
use crate::controller::{Controller, ControllerError, Parts, Tuning};
use crate::directories::RunDirectory;
use crate::engines::Connector;
use crate::errors::chain;
use crate::gateway::Relays;
use crate::gateway::sockets::Sockets;
use crate::lock::{ClusterLock, LockError, StateLock};
use crate::metrics::Metrics;
use crate::names::ClusterId;
use crate::plugin::SocketPlugins;
use crate::service::{self, Service};
use crate::source;
use crate::state::{State, StateError};
use crate::systemd::tell;
use crate::view::View;

/// How long plugins may take to end when the controller takes them with it.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// How long calls under way may take to end when the controller does.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

/// How a controller runs. Everything is resolved: nothing here is a default any more.
#[derive(Debug)]
pub struct Settings {
    /// Where manifests are.
    pub manifests: Vec<PathBuf>,
    /// Where state is kept.
    pub state_directory: PathBuf,
    /// Where sockets are made.
    pub run_directory: PathBuf,
    /// The cluster id, unless it is the stored or a new one.
    pub cluster: Option<ClusterId>,
    /// The group that may use the sockets.
    pub socket_group: Option<u32>,
    /// Whether plugins end with the controller.
    pub drain_on_exit: bool,
    /// Where metrics are served.
    pub metrics_address: String,
    /// Who runs the process, and keeps its listeners when it ends.
    pub service: Service,
    /// How the controller works.
    pub tuning: Tuning,
}

/// Why the controller does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another one holds what we need.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The run directory cannot be used.
    #[error("cannot make the run directory {}", path.display())]
    RunDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A socket or port cannot be had.
    #[error(transparent)]
    Listen(#[from] server::ListenError),
    /// The controller cannot be made.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// Metrics cannot be made.
    #[error("metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
    /// The controller ended though nobody asked for it.
    #[error("the controller failed: the log says why. Plugins run on")]
    Failed,
    /// There are no threads for hosts' connections.
    #[error("cannot start the threads that relay hosts' connections")]
    Threads(#[source] std::io::Error),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
}

/// Runs a controller until it is told to stop.
///
/// # Errors
/// When it cannot start. Nothing was touched then.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let _state_lock = StateLock::acquire(&settings.state_directory)?;
    let state = State::open(&settings.state_directory)?;
    let cluster = state.cluster(settings.cluster.as_ref())?;
    let _cluster_lock = ClusterLock::acquire(&cluster.id)?;
    let directories = RunDirectory::new(&settings.run_directory, &cluster.id);
    let own = [
        (directories.path().to_owned(), server::PASSED),
        (directories.plugins(), server::CLOSED),
        (directories.mounts(), server::CLOSED),
    ];
    for (path, mode) in own {
        server::make_socket_directory(&path, mode, settings.socket_group)
            .map_err(|source| RunError::RunDirectory { path, source })?;
    }
    let key = cluster.hash_key.clone();
    let attach_socket = attach::server::bind(&directories.attach_socket())?;
    let control = server::bind_control(&directories.control_socket(), settings.socket_group)?;
    let metrics_port = server::bind_metrics(&settings.metrics_address).await?;
    let Service { manager, watchdog, store } = settings.service;
    let mut signals = Signals::listen().map_err(RunError::Signals)?;
    let metrics = Metrics::new().map_err(RunError::Metrics)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        cluster = %cluster.id,
        state = %settings.state_directory.display(),
        run = %directories.path().display(),
        metrics = settings.metrics_address,
        "plugward starts"
    );
    let rules = plugward_api::manifest::Rules { mount_socket_directory: Some(directories.mounts()) };
    let controller = Controller::new(Parts {
        state,
        cluster,
        source: source::Settings::new(settings.manifests, rules),
        connector: Arc::new(DockerConnector { metrics: metrics.clone() }),
        plugins: Arc::new(SocketPlugins),
        clock: Clock::System,
        metrics,
        mounts: Sockets::new(directories.mounts(), settings.socket_group, store),
        relays: Relays::on_threads(relay_threads()).map_err(RunError::Threads)?,
        sockets: directories.plugins(),
        group: Some(plugin_group(settings.socket_group)),
        tuning: settings.tuning,
    })?;
    let view = controller.view();
    let services = TaskTracker::new();
    let services_stop = CancellationToken::new();
    services.spawn(server::serve_control(control, view.clone(), services_stop.clone()));
    services.spawn(server::serve_metrics(metrics_port, view.clone(), services_stop.clone()));
    let attach = Attach::new(view.clone(), Clock::System, &key);
    let attach_stop = CancellationToken::new();
    let attached = tokio::spawn(attach::server::serve(attach.clone(), attach_socket, attach_stop.clone()));
    services.spawn(services_stop.clone().run_until_cancelled_owned(attach.keep()));

    let stop = CancellationToken::new();
    let mut running = tokio::spawn(controller.run(stop.clone()));
    let attending_stop = CancellationToken::new();
    let attending = tokio::spawn(service::attend(
        manager.clone(),
        watchdog,
        view.clone(),
        signals.hangups,
        attending_stop.clone(),
    ));
    let failed = tokio::select! {
        () = signals.end.next() => false,
        _ = &mut running => true,
    };
    // Launchers that come from now on wait for the next controller.
    attach_stop.cancel();
    attending_stop.cancel();
    // It is over at its next await. Nothing is told after the end has begun.
    let _ = attending.await;
    tell(manager.stopping());
    if !failed {
        let ending = end(&view, &stop, running, settings.drain_on_exit);
        tokio::select! {
            () = ending => {}
            () = signals.end.next() => tracing::warn!("a second signal: ending at once"),
        }
    }
    services_stop.cancel();
    services.close();
    let _ = timeout(Duration::from_secs(1), services.wait()).await;
    let _ = std::fs::remove_file(directories.control_socket());
    // Sessions end with their launchers' connections here: these wait for the next controller, if there is something to go on with.
    attached.abort();
    if failed { Err(RunError::Failed) } else { Ok(()) }
}

async fn end(
    view: &View,
    stop: &CancellationToken,
    running: tokio::task::JoinHandle<plugward_runtime::Summary<plugward_api::Name>>,
    drain: bool,
) {
    view.gateway.shut_down(FINISH_LIMIT).await;
    if drain {
        tracing::info!("stopping all plugins");
        if timeout(DRAIN_LIMIT, view.drain()).await.is_err() {
            tracing::warn!("some plugins did not stop in time");
        }
    }
    stop.cancel();
    match running.await {
        Ok(summary) if summary.aborted.is_empty() => tracing::info!("plugward ends; plugins run on"),
        Ok(summary) => tracing::warn!(aborted = summary.aborted.len(), "plugward ends in the middle of work"),
        Err(error) => tracing::error!(error = %error, "the controller failed"),
    }
}

/// The group that plugins and we share: ours, or where that is root's, the hosts' or nobody's. Only what is in a shared directory is
/// open to it, and the way there is not.
fn plugin_group(socket_group: Option<u32>) -> u32 {
    /// Nobody is in it.
    const NOBODY: u32 = 65534;
    let ours = rustix::process::getegid();
    if ours != Gid::ROOT {
        return ours.as_raw();
    }
    socket_group.filter(|group| *group != Gid::ROOT.as_raw()).unwrap_or(NOBODY)
}

/// How many threads relay hosts' connections: a few, and no more than there are processors.
fn relay_threads() -> usize {
    const MOST: usize = 4;
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

/// What the process is told.
struct Signals {
    end: EndSignals,
    /// To look at all manifests.
    hangups: Signal,
}

/// What tells it to end.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let end = EndSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self { end, hangups: signal(SignalKind::hangup())? })
    }
}

impl EndSignals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Docker Engines at declared addresses, their calls counted.
struct DockerConnector {
    metrics: Metrics,
}

impl Connector for DockerConnector {
    fn connect(&self, host: Option<&str>) -> Result<Arc<dyn Engine>, EngineError> {
        let address = Address::resolve(host, &ProcessSurroundings).map_err(|error| EngineError {
            operation: Operation::Connect,
            subject: host.unwrap_or("the default engine").to_owned(),
            kind: ErrorKind::Unreachable,
            message: chain(&error),
        })?;
        let engine =
            Arc::new(DockerEngine::new(address).with_credentials(CredentialStore::of(&ProcessSurroundings)));
        Ok(Arc::new(Observed::new(engine, Arc::new(self.metrics.clone()))))
    }
}
