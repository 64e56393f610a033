//! A world for one seed: an engine, plugins, directories, and the controller that comes and goes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plugward::attach::{self, Attach};
use plugward::clock::Clock;
use plugward::controller::{Controller, Parts, Tuning};
use plugward::engines::Connector;
use plugward::gateway::Relays;
use plugward::gateway::sockets::Sockets;
use plugward::metrics::Metrics;
use plugward::names::{ClusterId, label};
use plugward::source;
use plugward::state::State;
use plugward::systemd::{DescriptorStore, ServiceManager};
use plugward::view::View;
use plugward_api::manifest::Rules;
use plugward_engine::container::{LogRotation, Security};
use plugward_engine::simulated::{Script, Settings, SimulatedContainer, SimulatedEngine};
use plugward_engine::{ContainerId, ContainerSpec, ContainerState, Created, Engine, EngineError};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::circumstances::Circumstances;
use super::history::History;
use super::hosts::{Hosts, Places};
use super::manifests::{HOSTILE_IMAGE, IMAGE};
use super::plugin::SimulatedPlugins;
use super::schedule::INSTANCES;

/// How long calls may take to end when the controller is asked to, as in the program.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

/// The attach socket, in a world's directory.
const ATTACH: &str = "attach.sock";

/// A world.
pub struct World {
    /// The engine.
    pub engine: Arc<SimulatedEngine>,
    /// Its plugins.
    pub plugins: SimulatedPlugins,
    /// The containers of others, which nobody may touch.
    pub strangers: Vec<ContainerId>,
    /// The hosts that speak to them.
    pub hosts: Hosts,
    /// What a seed decides for good.
    pub circumstances: Circumstances,
    /// What happened so far.
    pub history: History,
    /// The time of day, for the engine and the controller alike.
    pub clock: Clock,
    seed: u64,
    /// How manifests are watched.
    pub scans: Scans,
    root: TempDir,
    controller: Option<Incarnation>,
}

/// How manifests are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scans {
    /// By looking every second of simulated time: what the system tells of changes comes in real time.
    Simulated,
    /// As the program does it.
    Installed,
}

/// One life of the controller.
struct Incarnation {
    view: View,
    task: JoinHandle<()>,
    stop: CancellationToken,
    attached: JoinHandle<()>,
    attach_stop: CancellationToken,
    keeping: AbortOnDropHandle<()>,
}

struct OneEngine(Arc<SimulatedEngine>);

impl Connector for OneEngine {
    fn connect(&self, _: Option<&str>) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(self.0.clone())
    }
}

impl World {
    /// A world without a controller. Its hosts begin at once.
    pub async fn new(settings: Settings, circumstances: Circumstances) -> Self {
        let seed = settings.seed;
        let clock = Clock::simulated(settings.started_at);
        let engine = Arc::new(SimulatedEngine::new(settings));
        let plugins = SimulatedPlugins::new(seed);
        for instance in INSTANCES.into_iter().chain(["hostile"]) {
            plugins.set_kind(instance, circumstances.kind());
        }
        let behaving = plugins.clone();
        engine.add_image(IMAGE, move |container| behaving.behave(container));
        let pulled = plugins.clone();
        engine.publish(IMAGE, move |container| pulled.behave(container));
        engine.set_registry(circumstances.registry);
        let misbehaving = plugins.clone();
        engine.add_image(HOSTILE_IMAGE, move |container| misbehaving.misbehave(container));
        engine.add_image("stranger:1", |_| Script::new().hang());
        // In memory where there is such a place: a thousand seeds wait for a disk longer than they compute.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let root = root.expect("a temporary directory");
        for directory in ["manifests", "sockets", "mounts", "servers"] {
            fs::create_dir(root.path().join(directory)).expect("a directory");
        }
        let place = |name| root.path().join(name);
        let places = Places { mounts: place("mounts"), attach: place(ATTACH), servers: place("servers") };
        let hosts = Hosts::new(&places, seed, &circumstances);
        let mut world = Self {
            engine,
            plugins,
            strangers: Vec::new(),
            hosts,
            circumstances,
            history: History::default(),
            clock,
            seed,
            scans: Scans::Simulated,
            root,
            controller: None,
        };
        world.add_strangers().await;
        world
    }

    /// Containers that look like ours but for the cluster, and one without labels.
    async fn add_strangers(&mut self) {
        let other = BTreeMap::from([
            (label::CLUSTER.to_owned(), "other".to_owned()),
            (label::INSTANCE.to_owned(), "alpha".to_owned()),
            (label::SLOT.to_owned(), "shared".to_owned()),
        ]);
        for (name, labels) in [("plugward-alpha-shared-aaaaa", other), ("bystander", BTreeMap::new())] {
            let spec = ContainerSpec {
                image: "stranger:1".to_owned(),
                entrypoint: Vec::new(),
                args: Vec::new(),
                env: Vec::new(),
                labels,
                oci_runtime: "runc".to_owned(),
                network: "none".to_owned(),
                resources: plugward_engine::container::Resources::default(),
                binds: Vec::new(),
                log: LogRotation { max_size_bytes: 1 << 20, max_files: 1 },
                groups: Vec::new(),
                capabilities: Vec::new(),
                security: Security::default(),
                tmpfs: Vec::new(),
                cgroup_parent: None,
            };
            let Ok(Created::Created { id, .. }) = self.engine.create(name, &spec).await else {
                panic!("a stranger's container");
            };
            self.engine.start(&id).await.expect("a stranger starts");
            self.strangers.push(id);
        }
    }

    /// The cluster whose controller this is.
    pub fn cluster() -> ClusterId {
        "sim".parse().expect("a cluster id")
    }

    /// Where manifests are.
    pub fn manifests(&self) -> PathBuf {
        self.root.path().join("manifests")
    }

    /// Where state is.
    pub fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// Where the directories shared with plugins are.
    pub fn sockets(&self) -> PathBuf {
        self.root.path().join("sockets")
    }

    /// Where the sockets of mounts are.
    pub fn mounts(&self) -> PathBuf {
        self.root.path().join("mounts")
    }

    /// The directory that holds it all.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Starts a controller, unless one runs.
    pub fn boot(&mut self) {
        if self.controller.is_some() {
            return;
        }
        self.history.controller_begins(self.plugins.ledger().moment());
        let state = State::open(&self.state()).expect("a state directory");
        let cluster = state.cluster(Some(&Self::cluster())).expect("a cluster");
        let mut source = source::Settings::new([self.manifests()], Rules::default());
        if self.scans == Scans::Simulated {
            source.events = false;
            source.quiet = Duration::ZERO;
            source.rescan = Duration::from_secs(1);
            source.confirm = Duration::from_millis(200);
        }
        let key = cluster.hash_key.clone();
        let controller = Controller::new(Parts {
            state,
            cluster,
            source,
            connector: Arc::new(OneEngine(self.engine.clone())),
            plugins: Arc::new(self.plugins.clone()),
            clock: self.clock,
            metrics: Metrics::new().expect("metrics"),
            relays: Relays::here(),
            mounts: Sockets::new(
                self.mounts(),
                None,
                DescriptorStore::new(ServiceManager::default(), Vec::new()),
            ),
            sockets: self.sockets(),
            group: None,
            tuning: Tuning { seed: Some(self.seed), ..Tuning::default() },
        })
        .expect("a controller");
        let view = controller.view();
        let stop = CancellationToken::new();
        let run = controller.run(stop.clone());
        let task = tokio::spawn(async move { drop(run.await) });
        let socket = attach::server::bind(&self.root.path().join(ATTACH)).expect("an attach socket");
        let attach = Attach::new(view.clone(), self.clock, &key);
        let attach_stop = CancellationToken::new();
        let attached = tokio::spawn(attach::server::serve(attach.clone(), socket, attach_stop.clone()));
        let keeping = AbortOnDropHandle::new(tokio::spawn(attach.keep()));
        self.controller = Some(Incarnation { view, task, stop, attached, attach_stop, keeping });
    }

    /// Ends the controller in the middle of whatever it does.
    pub async fn crash(&mut self) {
        if let Some(controller) = self.controller.take() {
            self.history.controller_changes(self.plugins.ledger().moment());
            drop(controller.keeping);
            for task in [controller.task, controller.attached] {
                task.abort();
                let _ = task.await;
            }
            drop(controller.view);
            self.plugins.hang_up();
            // Paused time does not pass while a file is being written: what was begun is done after this.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks the controller to end, and waits for it.
    pub async fn stop(&mut self) {
        if let Some(controller) = self.controller.take() {
            let asked = Instant::now();
            self.history.controller_changes(self.plugins.ledger().moment());
            controller.attach_stop.cancel();
            controller.view.gateway.shut_down(FINISH_LIMIT).await;
            self.history.controller_changes(self.plugins.ledger().moment());
            controller.stop.cancel();
            controller.task.await.expect("the controller ends in peace");
            controller.attached.abort();
            let _ = controller.attached.await;
            self.history.controller_stopped(asked);
            self.plugins.hang_up();
        }
    }

    /// The controller that runs.
    pub fn view(&self) -> Option<&View> {
        self.controller.as_ref().map(|controller| &controller.view)
    }

    /// Whether the controller's task has ended though nobody asked for it.
    pub fn controller_died(&self) -> bool {
        self.controller.as_ref().is_some_and(|controller| controller.task.is_finished())
    }

    /// The containers of the cluster.
    pub fn ours(&self) -> Vec<SimulatedContainer> {
        self.engine.with_labels(&plugward::names::cluster_selector(&Self::cluster()))
    }

    /// How often an instance's container was made, by what the controller remembers.
    pub fn starts(&self, instance: &str) -> u64 {
        let Some(view) = self.view() else { return 0 };
        let name = instance.parse().expect("a name");
        view.state.slots(&name).values().map(|slot| slot.starts).sum()
    }

    /// The containers of the cluster that run.
    pub fn all_running(&self) -> Vec<SimulatedContainer> {
        let mut found = self.ours();
        found.retain(|container| matches!(container.state, ContainerState::Running { .. }));
        found
    }

    /// Those of an instance.
    pub fn running(&self, instance: &str) -> Vec<SimulatedContainer> {
        let mut found = self.all_running();
        found.retain(|container| {
            container.spec.labels.get(label::INSTANCE).map(String::as_str) == Some(instance)
        });
        found
    }
}
