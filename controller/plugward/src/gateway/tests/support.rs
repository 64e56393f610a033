//! A world around the gateway: sockets in a directory, a memory, plugins, hosts.

mod broker;
mod door;
mod host;
mod plugin;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

pub(super) use self::broker::{BROKER, naming_server};
pub(super) use self::door::all_said;
pub(super) use self::host::{Host, Http, Octets, Watching, path};
pub(super) use self::plugin::{CLOSE, INITIALIZE, TestPlugin};
use super::super::sockets::Sockets;
use super::super::*;
use crate::metrics::Scrape;
use crate::names::MountName;
use crate::slot::EngineRef;
use crate::systemd::DescriptorStore;

/// A gateway with what surrounds it.
pub(super) struct World {
    pub(super) gateway: Gateway,
    pub(super) memory: Arc<TestMemory>,
    pub(super) terms: Terms,
    /// How often a reconcile was asked for.
    pub(super) wakes: watch::Receiver<usize>,
    metrics: Metrics,
    directory: Arc<TempDir>,
}

/// What the state directory would remember.
#[derive(Default)]
pub(super) struct TestMemory {
    primed: Mutex<BTreeMap<(Name, MountName), u64>>,
    /// Containers whose broker was opened, and whether it was used.
    brokers: Mutex<BTreeMap<String, bool>>,
}

/// A container with a plugin in it.
#[derive(Clone)]
pub(super) struct Container {
    pub(super) place: Place,
    pub(super) plugin: TestPlugin,
    pub(super) backend: Backend,
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn mount(text: &str) -> MountName {
    name(text).into()
}

pub(super) fn db() -> Name {
    name("db")
}

impl World {
    /// One that serves these mounts from one slot.
    pub(super) fn new(mounts: &[&str]) -> Self {
        Self::with(mounts, |_| {})
    }

    /// The same, with these changes to its terms.
    pub(super) fn with(mounts: &[&str], change: impl FnOnce(&mut Terms)) -> Self {
        let priming = plugward_api::instance::Priming {
            method: INITIALIZE.parse().unwrap(),
            until: Some(CLOSE.parse().unwrap()),
        };
        let mut terms = Terms {
            mounts: mounts.iter().map(|mount| (name(mount).into(), SlotName::Shared)).collect(),
            attach: false,
            priming: PrimingRules::of(plugward_api::PluginType::Custom, &[priming]),
            hold: Hold { timeout: Duration::from_secs(60), max_requests: 64, max_bytes: 1 << 20 },
            drain_timeout: Duration::from_secs(60),
        };
        change(&mut terms);
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::start(directory, Arc::default(), terms)
    }

    fn start(directory: Arc<TempDir>, memory: Arc<TestMemory>, terms: Terms) -> Self {
        let (woken, wakes) = watch::channel(0);
        let wake: Wake = Arc::new(move |_: &Name| woken.send_modify(|count| *count += 1));
        let sockets = Sockets::new(directory.path().to_owned(), None, DescriptorStore::default());
        let metrics = Metrics::new().unwrap();
        let gateway =
            Gateway::new(sockets, Relays::here(), Clock::System, wake, memory.clone(), metrics.clone());
        let world = Self { gateway, memory, terms, wakes, metrics, directory };
        world.serve();
        world
    }

    /// Tells the gateway its terms.
    pub(super) fn serve(&self) {
        let errors = self.gateway.serve(&db(), &self.terms);
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// Another controller takes over, with what this one remembered.
    pub(super) async fn restart(self) -> Self {
        self.gateway.shut_down(Duration::ZERO).await;
        Self::start(self.directory, self.memory, self.terms)
    }

    pub(super) fn socket(&self, mount: &str) -> PathBuf {
        self.directory_of(&db()).join(format!("{mount}.sock"))
    }

    /// Where the sockets of an instance's mounts are.
    pub(super) fn directory_of(&self, instance: &Name) -> PathBuf {
        self.directory.path().join(instance.as_str())
    }

    /// A host of a mount.
    pub(super) fn host(&self, mount: &str) -> Host {
        Host::new(self.socket(mount))
    }

    /// A container is up, with a plugin that multiplexes.
    pub(super) fn up(&self, start: u64) -> Container {
        self.up_with(start, TestPlugin::multiplexing(&format!("p{start}")))
    }

    pub(super) fn up_with(&self, start: u64, plugin: TestPlugin) -> Container {
        self.up_in(SlotName::Shared, start, plugin)
    }

    pub(super) fn up_in(&self, slot: SlotName, start: u64, plugin: TestPlugin) -> Container {
        let place = Place {
            engine: EngineRef { id: "engine".into(), host: None },
            id: ContainerId::new(format!("container-{slot}-{start}")),
            name: format!("plugward-db-{slot}-{start}"),
        };
        let backend = Backend {
            instance: db(),
            slot,
            start,
            place: place.clone(),
            conversation: Arc::new(plugin.clone()),
            multiplexes: plugin.multiplexes,
            protocol_version: 1,
            died: Arc::new(|| Box::pin(async { "exited 137".to_owned() })),
            broke: Arc::new({
                let broken = plugin.broken.clone();
                move |what| {
                    broken.send_replace(Some(what));
                }
            }),
            broker_spent: plugin.broker.is_spent(),
        };
        self.gateway.up(backend.clone());
        Container { place, plugin, backend }
    }

    /// A container's plugin dies, and the controller sees it.
    pub(super) fn kill(&self, container: &Container) {
        container.plugin.kill();
        self.gateway.down(&container.place);
    }

    /// Waits until a container's sight is such.
    pub(super) async fn until(
        &self,
        container: &Container,
        is: impl Fn(&ServiceSight) -> bool,
    ) -> ServiceSight {
        let mut wakes = self.wakes.clone();
        loop {
            wakes.mark_unchanged();
            let sight = self.gateway.sight(&container.place);
            if is(&sight) {
                return sight;
            }
            limited(wakes.changed()).await.unwrap();
        }
    }

    pub(super) async fn until_serving(&self, container: &Container) {
        self.until(container, |sight| *sight == ServiceSight::Serving).await;
    }

    pub(super) fn demand(&self) -> Demand {
        self.gateway.demand(&db(), &SlotName::Shared).unwrap()
    }

    /// Waits until so many calls wait.
    pub(super) async fn until_waiting(&self, count: usize) {
        eventually(|| self.demand().waiting == count).await;
    }

    /// The value of a series, as Prometheus would read it.
    pub(super) fn series(&self, series: &str) -> Option<f64> {
        let scrape = Scrape { mounts: self.gateway.traffic(), ..Scrape::default() };
        let text = String::from_utf8(self.metrics.render(&scrape).unwrap()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Says what calls may expect.
    pub(super) fn prospect(&self, prospect: Prospect) {
        self.gateway.prospect(&db(), &SlotName::Shared, prospect);
    }
}

impl TestMemory {
    /// Whether the broker of a container was used. `None` if it was not even opened.
    pub(super) fn broker(&self, container: &Container) -> Option<bool> {
        self.brokers.lock().unwrap().get(container.place.id.as_str()).copied()
    }
}

impl Memory for TestMemory {
    fn broker_opened(&self, place: &Place) {
        self.brokers.lock().unwrap().entry(place.id.as_str().to_owned()).or_default();
    }

    fn broker_used(&self, place: &Place) {
        self.brokers.lock().unwrap().insert(place.id.as_str().to_owned(), true);
    }

    fn primed(&self, instance: &Name, mount: &MountName, start: u64) {
        self.primed.lock().unwrap().insert((instance.clone(), mount.clone()), start);
    }

    fn unprimed(&self, instance: &Name, mount: &MountName) {
        self.primed.lock().unwrap().remove(&(instance.clone(), mount.clone()));
    }

    fn last_primed(&self, instance: &Name, mount: &MountName) -> Option<u64> {
        self.primed.lock().unwrap().get(&(instance.clone(), mount.clone())).copied()
    }
}

/// What takes a minute here has failed.
pub(super) async fn limited<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("this does not end")
}

/// Waits for a state that nobody tells of.
pub(super) async fn eventually(is: impl Fn() -> bool) {
    limited(async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
