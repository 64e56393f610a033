//! The engines that plugins run on: one link to each, kept up.
//!
//! A link follows its engine ([`plugward_engine::watch`]): what changes there asks for reconciles, never more.
//! Two addresses of one engine are one engine: the link that finds its engine taken by another becomes an
//! alias of that. An engine that may hold containers of ours is remembered in the state directory, so that
//! it is found and cleaned even when no record names it any more.

mod changes;
mod images;
mod live;
mod pulls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use plugward_api::Name;
use plugward_api::status::PullStatus;
use plugward_engine::watch::{Signal, WatchOptions, watch};
use plugward_engine::{Engine, EngineError, EngineInfo, EventKind, Listed};
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::names::{ClusterId, cluster_selector, label};
use crate::plan::{Absence, EngineSight};
use crate::slot::EngineRef;
use crate::state::{State, StateError};
use crate::trial::Trials;
use changes::Changes;
use images::Images;
use pulls::Pulls;

pub use live::LiveEngine;
pub use pulls::{Begun, PullEnd};

/// A declared address of an engine; `None` is the machine's default one.
pub type Host = Option<String>;

/// Makes connections to engines. They need not be up for that.
pub trait Connector: Send + Sync + 'static {
    /// A connection to the engine at an address.
    ///
    /// # Errors
    /// When the address is none that can be connected to.
    fn connect(&self, host: Option<&str>) -> Result<Arc<dyn Engine>, EngineError>;
}

/// Whom an engine's news concern.
pub trait Listener: Send + Sync + 'static {
    /// Something of this instance changed.
    fn instance(&self, instance: &Name, reason: WakeReason);
    /// Something changed that may concern every instance on the engine at `host`.
    fn engine(&self, host: &Host, reason: WakeReason);
    /// A pull that this instance wanted has ended.
    fn pulled(&self, instance: &Name, end: &PullEnd);
}

/// Why an engine's news ask for a reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeReason {
    /// A container changed.
    Container,
    /// An image came or went.
    Image,
    /// The engine came.
    EngineUp,
    /// The engine went.
    EngineDown,
    /// The periodic list differs from what was seen last.
    Resync,
}

/// All engines of the controller.
#[derive(Clone)]
pub struct Engines {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Arc<dyn Connector>,
    listener: Arc<dyn Listener>,
    metrics: Metrics,
    cluster: ClusterId,
    state: State,
    clock: Clock,
    resync: Duration,
    links: Mutex<BTreeMap<Host, Link>>,
    remembered: tokio::sync::Mutex<BTreeSet<EngineRef>>,
}

struct Link {
    engine: Option<Arc<dyn Engine>>,
    images: Arc<Images>,
    pulls: Option<Arc<Pulls>>,
    changes: Arc<Changes>,
    trials: Arc<Trials>,
    status: LinkStatus,
    absence: Option<Absence>,
    task: Option<AbortHandle>,
}

/// How a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkStatus {
    /// It has not been reached yet.
    Connecting,
    /// It answers.
    Up(EngineInfo),
    /// It does not answer.
    Down {
        /// Since when.
        since: Timestamp,
        /// Why, in words.
        message: String,
        /// Which engine it was, if it was ever reached.
        was: Option<Arc<str>>,
    },
    /// Its engine is the one at another address too.
    Alias(Host),
}

// === impl Engines ===

impl Engines {
    /// No links yet; `resync` is how often each engine is listed when nothing happens.
    ///
    /// # Errors
    /// When the remembered engines cannot be read.
    pub fn new(
        connector: Arc<dyn Connector>,
        listener: Arc<dyn Listener>,
        metrics: Metrics,
        cluster: ClusterId,
        state: State,
        clock: Clock,
        resync: Duration,
    ) -> Result<Self, StateError> {
        let remembered = state.engines()?.into_iter().collect();
        Ok(Self {
            shared: Arc::new(Shared {
                connector,
                listener,
                metrics,
                cluster,
                state,
                clock,
                resync,
                links: Mutex::default(),
                remembered: tokio::sync::Mutex::new(remembered),
            }),
        })
    }

    /// Keeps links to these addresses and to the remembered engines, and to no others.
    pub async fn keep(&self, wanted: &BTreeSet<Host>) {
        let mut hosts = wanted.clone();
        hosts.extend(self.shared.remembered.lock().await.iter().map(|engine| engine.host.clone()));
        let mut links = self.shared.lock();
        let gone: Vec<Host> = links
            .iter()
            .filter(|(host, link)| match &link.status {
                LinkStatus::Alias(of) => !hosts.contains(*host) || !hosts.contains(of),
                _ => !hosts.contains(*host),
            })
            .map(|(host, _)| host.clone())
            .collect();
        for host in gone {
            if let Some(task) = links.remove(&host).and_then(|link| link.task) {
                task.abort();
            }
        }
        for host in hosts {
            links.entry(host.clone()).or_insert_with(|| self.open(host));
        }
    }

    /// How the engine at an address is seen.
    pub fn sight(&self, host: &Host) -> EngineSight {
        let links = self.shared.lock();
        let (host, link) = match links.get(host) {
            Some(Link { status: LinkStatus::Alias(of), .. }) => (of, links.get(of)),
            link => (host, link),
        };
        match link {
            Some(Link { status: LinkStatus::Up(info), absence, .. }) => EngineSight::Up {
                engine: EngineRef { id: info.id.clone(), host: host.clone() },
                oci_runtimes: info.oci_runtimes.clone(),
                cgroup_driver: info.cgroup_driver.clone(),
                memlock_limit: info.memlock_limit,
                absence: *absence,
            },
            Some(Link { status: LinkStatus::Down { message, .. }, .. }) => {
                EngineSight::Down { message: message.clone() }
            }
            _ => EngineSight::Down { message: "not reached yet".to_owned() },
        }
    }

    /// An engine's account of itself, if it answers.
    pub fn account(&self, id: &str) -> Option<EngineInfo> {
        let links = self.shared.lock();
        links.values().find_map(|link| match &link.status {
            LinkStatus::Up(info) if &*info.id == id => Some(info.clone()),
            _ => None,
        })
    }

    /// The status of each link.
    pub fn statuses(&self) -> BTreeMap<Host, LinkStatus> {
        self.shared.lock().iter().map(|(host, link)| (host.clone(), link.status.clone())).collect()
    }

    /// The engines that answer.
    pub fn live(&self) -> Vec<LiveEngine> {
        let links = self.shared.lock();
        let live = links.iter().filter_map(|(host, link)| match (&link.status, &link.engine, &link.pulls) {
            (LinkStatus::Up(info), Some(engine), Some(pulls)) => Some(LiveEngine {
                reference: EngineRef { id: info.id.clone(), host: host.clone() },
                engine: engine.clone(),
                images: link.images.clone(),
                pulls: pulls.clone(),
                changes: link.changes.clone(),
                trials: link.trials.clone(),
            }),
            _ => None,
        });
        live.collect()
    }

    /// What an engine said of its images is not true any more.
    pub fn doubt_images(&self, id: &str) {
        for live in self.live().into_iter().filter(|live| *live.reference.id == *id) {
            live.images.changed();
        }
    }

    /// An engine, if it answers.
    pub fn answering(&self, id: &str) -> Option<LiveEngine> {
        self.live().into_iter().find(|live| *live.reference.id == *id)
    }

    /// The connection to an engine that answers.
    pub fn engine(&self, id: &str) -> Option<Arc<dyn Engine>> {
        self.answering(id).map(|live| live.engine)
    }

    /// What there is to tell of an instance's pull: that it is under way, or that it failed.
    pub fn pull_status(&self, instance: &Name) -> Option<PullStatus> {
        let links = self.shared.lock();
        links.values().filter_map(|link| link.pulls.as_ref()).find_map(|pulls| pulls.status(instance))
    }

    /// Remembers that an engine may hold containers of ours, before it does.
    ///
    /// # Errors
    /// When that cannot be stored.
    pub async fn remember(&self, engine: &EngineRef) -> Result<(), StateError> {
        let mut remembered = self.shared.remembered.lock().await;
        if remembered.contains(engine) {
            return Ok(());
        }
        let mut changed = remembered.clone();
        // An engine has one address here, its latest.
        changed.retain(|known| known.id != engine.id);
        changed.insert(engine.clone());
        self.shared.state.save_engines(changed.iter().cloned().collect()).await?;
        *remembered = changed;
        Ok(())
    }

    /// Ends all links.
    pub fn close(&self) {
        for link in std::mem::take(&mut *self.shared.lock()).into_values() {
            if let Some(task) = link.task {
                task.abort();
            }
        }
    }

    fn open(&self, host: Host) -> Link {
        match self.shared.connector.connect(host.as_deref()) {
            Ok(engine) => {
                let span = tracing::info_span!("engine", host = host.as_deref().unwrap_or("default"));
                let (images, changes, trials) = <(Arc<Images>, Arc<Changes>, Arc<Trials>)>::default();
                let listener = self.shared.listener.clone();
                let ended = move |instance: &Name, end: &PullEnd| listener.pulled(instance, end);
                let pulls = Pulls::new(engine.clone(), images.clone(), self.shared.clock, Box::new(ended));
                let pulls = Arc::new(pulls);
                let follow = Follow {
                    shared: self.shared.clone(),
                    host,
                    engine: engine.clone(),
                    images: images.clone(),
                    pulls: pulls.clone(),
                    changes: changes.clone(),
                    trials: trials.clone(),
                };
                let task = Some(tokio::spawn(follow.run().instrument(span)).abort_handle());
                Link {
                    engine: Some(engine),
                    images,
                    pulls: Some(pulls),
                    changes,
                    trials,
                    status: LinkStatus::Connecting,
                    absence: None,
                    task,
                }
            }
            Err(error) => {
                tracing::warn!(host, error = crate::errors::chain(&error), "engine address cannot be used");
                let status = LinkStatus::Down {
                    since: self.shared.clock.now(),
                    message: crate::errors::chain(&error),
                    was: None,
                };
                Link {
                    engine: None,
                    images: Arc::default(),
                    pulls: None,
                    changes: Arc::default(),
                    trials: Arc::default(),
                    status,
                    absence: None,
                    task: None,
                }
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Host, Link>> {
        // Each change is one insert, remove or assignment: a panic cannot leave one half done.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of a link.
struct Follow {
    shared: Arc<Shared>,
    host: Host,
    engine: Arc<dyn Engine>,
    images: Arc<Images>,
    pulls: Arc<Pulls>,
    changes: Arc<Changes>,
    trials: Arc<Trials>,
}

impl Follow {
    async fn run(self) {
        let mut options = WatchOptions::new(cluster_selector(&self.shared.cluster));
        options.resync = self.shared.resync;
        let mut signals = Box::pin(watch(self.engine.clone(), options));
        while let Some(signal) = signals.next().await {
            match signal {
                Signal::Up { info, containers } => {
                    self.images.changed();
                    self.pulls.forget_failures();
                    self.trials.meets(&info.id);
                    if !self.up(info) {
                        return;
                    }
                    self.clear_away(&containers).await;
                    for instance in self.changes.all(&containers) {
                        self.shared.listener.instance(&instance, WakeReason::EngineUp);
                    }
                    self.shared.listener.engine(&self.host, WakeReason::EngineUp);
                }
                Signal::Listed(containers) => {
                    self.shared.metrics.resynced();
                    self.clear_away(&containers).await;
                    for instance in self.changes.since_last(&containers) {
                        self.shared.listener.instance(&instance, WakeReason::Resync);
                    }
                }
                Signal::Event(event) => self.event(&event.kind),
                Signal::Down(error) => self.down(&error),
            }
        }
    }

    /// Removes what trials have left that were cut off.
    async fn clear_away(&self, containers: &[Listed]) {
        for container in self.trials.left(containers) {
            match self.engine.remove(&container.id).await {
                Ok(_) => tracing::info!(container = container.name, "removed what a trial has left"),
                Err(error) => {
                    let error = crate::errors::chain(&error);
                    tracing::warn!(container = container.name, error, "a container of a trial stays for now");
                }
            }
        }
    }

    /// Whether the link goes on: an alias does not.
    fn up(&self, info: EngineInfo) -> bool {
        let mut links = self.shared.lock();
        let same = links.iter().find_map(|(host, link)| match &link.status {
            LinkStatus::Up(other) if other.id == info.id && *host != self.host => Some(host.clone()),
            _ => None,
        });
        let Some(link) = links.get_mut(&self.host) else { return false };
        if let Some(same) = same {
            tracing::info!(engine = &*info.id, other = same, "the same engine at two addresses");
            link.status = LinkStatus::Alias(same);
            drop(links);
            self.shared.listener.engine(&self.host, WakeReason::EngineUp);
            return false;
        }
        tracing::info!(engine = &*info.id, version = info.version, api = info.api_version, "engine is up");
        if let LinkStatus::Down { since, was: Some(_), .. } = &link.status {
            link.absence = Some(Absence { from: *since, to: self.shared.clock.now() });
        }
        link.status = LinkStatus::Up(info);
        true
    }

    fn down(&self, error: &EngineError) {
        let message = crate::errors::chain(error);
        {
            let mut links = self.shared.lock();
            let Some(link) = links.get_mut(&self.host) else { return };
            let (since, was) = match &link.status {
                LinkStatus::Down { since, was, .. } => (*since, was.clone()),
                LinkStatus::Up(info) => {
                    self.shared.metrics.watch_lost();
                    (self.shared.clock.now(), Some(info.id.clone()))
                }
                LinkStatus::Connecting | LinkStatus::Alias(_) => (self.shared.clock.now(), None),
            };
            link.status = LinkStatus::Down { since, message: message.clone(), was };
        }
        tracing::warn!(error = message, "engine is down");
        self.shared.listener.engine(&self.host, WakeReason::EngineDown);
    }

    fn event(&self, event: &EventKind) {
        let (EventKind::Container { action, .. } | EventKind::Image { action, .. }) = event;
        self.shared.metrics.engine_event(action);
        match event {
            EventKind::Container { labels, action, .. } => {
                let instance = labels.get(label::INSTANCE).and_then(|name| name.parse::<Name>().ok());
                if let Some(instance) = instance.filter(|_| changes::concerns_us(action)) {
                    self.shared.listener.instance(&instance, WakeReason::Container);
                }
            }
            EventKind::Image { .. } => {
                self.images.changed();
                self.shared.listener.engine(&self.host, WakeReason::Image);
            }
        }
    }
}
