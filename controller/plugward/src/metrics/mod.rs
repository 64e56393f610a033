//! The controller's metrics, for Prometheus.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `catalogue` | all families of series: names, meanings, labels |
//! | `family` | how lines of a family are written |
//! | `instances` | what is counted of instances |
//! | `containers` | what containers use, and may use |
//! | `standing` | how instances stand, from their statuses |
//! | `requests` | what is counted of hosts' requests |
//! | `attach` | what is counted of hosts that start their plugins themselves |
//! | `histogram` | times in buckets, for series of records |
//! | `whole` | what is counted of the whole |
//! | `process` | the program's own process |
//!
//! Names end in their unit. Labels are closed sets or the names of records, and a record's series go with it. What is counted of the
//! whole is in the library's families; what is of records is kept as plain numbers, and becomes text when it is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plugward_api::status::StartTimes;
use plugward_api::{Kind, Name, RestartReason, SessionKind};
use plugward_engine::event::ACTIONS;
use plugward_engine::{ErrorKind, Operation};
use plugward_runtime::{Depth, Observer, Outcome, Priority};
use prometheus::{Encoder, Registry, TextEncoder};

use self::attach::AttachSeries;
pub use self::attach::{AttachRefusal, SessionEnd};
pub use self::containers::Held;
use self::instances::InstanceSeries;
pub(crate) use self::requests::{Class, Requests};
pub use self::standing::Standing;
use self::whole::Families;
use crate::reason::Reason;

mod attach;
mod catalogue;
mod containers;
mod family;
mod histogram;
mod instances;
mod process;
mod requests;
mod standing;
mod whole;

/// The controller's metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    families: Arc<Families>,
    instances: InstanceSeries,
    attach: AttachSeries,
    /// Reconciles that run, and since when.
    running: Arc<Mutex<BTreeMap<Name, Instant>>>,
}

/// What is looked at when metrics are asked for.
#[derive(Debug, Default)]
pub struct Scrape {
    /// What the work queue holds.
    pub queue: Depth,
    /// How instances stand.
    pub instances: Vec<Standing>,
    /// The containers that plugins have.
    pub containers: Vec<Held>,
    /// The mounts that are served.
    pub mounts: Vec<MountTraffic>,
}

/// The requests of a mount, or of all sessions of an instance.
#[derive(Debug)]
pub struct MountTraffic {
    pub(crate) instance: Name,
    /// `None`: of the sessions. They come and go, and have no series of their own.
    pub(crate) mount: Option<Name>,
    /// Requests that wait for the plugin.
    pub(crate) waiting: usize,
    /// Requests that the plugin has.
    pub(crate) in_flight: usize,
    /// Requests that are over.
    pub(crate) requests: Arc<Requests>,
}

/// A part of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartPhase {
    /// The engine makes the container.
    Create,
    /// The engine starts it.
    Start,
    /// The plugin comes to answer.
    Handshake,
    /// The plugin is told again what a mount's hosts had told the one before it.
    Replay,
}

// === impl Metrics ===

impl Metrics {
    /// Metrics with a registry of their own.
    ///
    /// # Errors
    /// When two have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let families = Families::new()?;
        let metrics = Self {
            registry: Registry::new(),
            families: Arc::new(families),
            instances: InstanceSeries::default(),
            attach: AttachSeries::default(),
            running: Arc::default(),
        };
        metrics.families.register(&metrics.registry)?;
        metrics.families.zero();
        Ok(metrics)
    }

    /// An instance was declared: its series exist from now on.
    pub fn instance_declared(&self, instance: &Name) {
        self.instances.declare(instance);
    }

    /// Counts a restart.
    pub fn restarted(&self, instance: &Name, reason: RestartReason) {
        self.instances.restarted(instance, reason);
    }

    /// A priming call was made again.
    pub(crate) fn replayed(&self, instance: &Name, done: bool) {
        self.instances.replayed(instance, done);
    }

    /// A part of a start is done.
    pub(crate) fn start_took(&self, phase: StartPhase, took: Duration) {
        self.families.starts.with_label_values(&[phase.as_str()]).observe(took.as_secs_f64());
    }

    /// A start is done, up to the plugin's answer.
    pub fn start_done(&self, times: &StartTimes) {
        let StartTimes { create, start, handshake } = times;
        for (phase, seconds) in
            [(StartPhase::Create, create), (StartPhase::Start, start), (StartPhase::Handshake, handshake)]
        {
            if let Some(seconds) = seconds {
                self.families.starts.with_label_values(&[phase.as_str()]).observe(*seconds);
            }
        }
    }

    /// A plugin was asked whether it still answers, and did or did not.
    pub fn probed(&self, instance: &Name, answered: bool) {
        self.instances.probed(instance, answered);
    }

    /// An engine told of something that happened: one of [`ACTIONS`].
    pub fn engine_event(&self, action: &str) {
        // Others would be another label each.
        if ACTIONS.contains(&action) {
            self.families.engine_events.with_label_values(&[action]).inc();
        }
    }

    /// All containers of an engine were listed once more.
    pub fn resynced(&self) {
        self.families.resyncs.with_label_values::<&str>(&[]).inc();
    }

    /// An engine is lost that had answered.
    pub fn watch_lost(&self) {
        self.families.watches.with_label_values::<&str>(&[]).inc();
    }

    /// Pieces of a plugin's output are lost to a host of an instance that is too slow.
    pub fn output_lost(&self, instance: &Name, pieces: u64) {
        self.instances.output_lost(instance, pieces);
    }

    /// An instance was declared that hosts may attach to: the series of its sessions exist from now on. Without this, none of
    /// its sessions is counted.
    pub fn attach_declared(&self, instance: &Name) {
        self.attach.declare(instance);
    }

    /// A launcher was refused.
    pub fn attach_refused(&self, refusal: AttachRefusal) {
        self.attach.refused(refusal);
    }

    /// A session began: `took` is the time from the launcher's connection until it was given its handshake line.
    pub fn attached(&self, instance: &Name, kind: SessionKind, took: Duration) {
        self.attach.attached(instance, kind, took);
    }

    /// A session of the controller before this one goes on.
    pub fn session_resumed(&self, instance: &Name, kind: SessionKind) {
        self.attach.resumed(instance, kind);
    }

    /// A session ended that had begun or been resumed, or, with [`SessionEnd::Lost`], one that could not be resumed.
    pub fn session_ended(&self, instance: &Name, kind: SessionKind, end: SessionEnd) {
        self.attach.ended(instance, kind, end);
    }

    /// Removes the series of an instance that is gone.
    pub fn forget_instance(&self, instance: &Name) {
        self.instances.forget(instance);
        self.attach.forget(instance);
    }

    /// Whether the engine of a runtime answers.
    pub fn engine_up(&self, runtime: &Name, up: bool) {
        self.families.engine_up.with_label_values(&[runtime.as_str()]).set(i64::from(up));
    }

    /// Removes the series of a runtime that is gone.
    pub fn forget_runtime(&self, runtime: &Name) {
        // That it has none is what is wanted.
        let _ = self.families.engine_up.remove_label_values(&[runtime.as_str()]);
    }

    /// How many records of a kind there are in manifests.
    pub fn records(&self, kind: Kind, count: usize) {
        let value = i64::try_from(count).unwrap_or(i64::MAX);
        self.families.manifest_records.with_label_values(&[kind.as_str()]).set(value);
    }

    /// How manifests stand: files that can be used, files that cannot, errors.
    pub fn manifests(&self, good: usize, bad: usize, errors: usize) {
        let set = |state: &str, count: usize| {
            let value = i64::try_from(count).unwrap_or(i64::MAX);
            self.families.manifest_files.with_label_values(&[state]).set(value);
        };
        set("valid", good);
        set("invalid", bad);
        self.families.manifest_errors.set(i64::try_from(errors).unwrap_or(i64::MAX));
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// When a series cannot be written: a mistake in this file.
    pub fn render(&self, scrape: &Scrape) -> Result<Vec<u8>, prometheus::Error> {
        self.queue(scrape.queue);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        self.instances.write(&mut text)?;
        standing::write(&scrape.instances, &mut text)?;
        containers::write(&scrape.containers, &mut text)?;
        requests::write(&scrape.mounts, &mut text)?;
        self.attach.write(&mut text)?;
        process::write(&mut text)?;
        Ok(text)
    }

    /// How the work queue stands.
    fn queue(&self, depth: Depth) {
        for (state, count) in [("due", depth.due), ("delayed", depth.delayed), ("running", depth.running)] {
            let value = i64::try_from(count).unwrap_or(i64::MAX);
            self.families.queue_depth.with_label_values(&[state]).set(value);
        }
        let running: Vec<f64> = self.running().values().map(|since| since.elapsed().as_secs_f64()).collect();
        self.families.unfinished.set(running.iter().sum());
        self.families.longest.set(running.iter().copied().fold(0.0, f64::max));
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Name, Instant>> {
        // Each change is one insert or remove.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl StartPhase ===

impl StartPhase {
    const ALL: [Self; 4] = [Self::Create, Self::Start, Self::Handshake, Self::Replay];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Handshake => "handshake",
            Self::Replay => "replay",
        }
    }
}

impl Observer<Name, Reason> for Metrics {
    fn queued(&self, _: &Name, _: &Reason, priority: Priority) {
        self.families.queue_adds.with_label_values(&[whole::label(priority)]).inc();
    }

    fn started(&self, instance: &Name, waited: Duration) {
        self.running().insert(instance.clone(), Instant::now());
        self.families.queue_seconds.with_label_values::<&str>(&[]).observe(waited.as_secs_f64());
    }

    fn finished(&self, instance: &Name, outcome: Outcome, took: Duration) {
        self.running().remove(instance);
        let result = outcome.as_str();
        self.families.reconciles.with_label_values(&[result]).inc();
        self.families.reconcile_seconds.with_label_values(&[result]).observe(took.as_secs_f64());
    }

    fn retried(&self, _: &Name, _: u32, _: Duration) {
        self.families.queue_retries.with_label_values::<&str>(&[]).inc();
    }
}

impl plugward_engine::Observer for Metrics {
    fn called(&self, operation: Operation, result: Result<(), ErrorKind>, took: Duration) {
        let result = result.map_or_else(ErrorKind::as_str, |()| "ok");
        self.families.engine_calls.with_label_values(&[operation.as_str(), result]).inc();
        self.families.engine_seconds.with_label_values(&[operation.as_str()]).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::catalogue::SECTIONS;
    use super::*;

    #[test]
    fn what_is_told_is_what_the_catalogue_says() {
        let metrics = Metrics::new().unwrap();
        metrics.engine_up(&"runc".parse().unwrap(), true);
        metrics.manifests(1, 0, 0);
        metrics.records(Kind::PluginInstance, 1);
        let queue = Depth { due: 1, delayed: 0, running: 0 };
        let text = metrics.render(&Scrape { queue, ..Scrape::default() }).unwrap();
        let text = String::from_utf8(text).unwrap();
        let told: BTreeSet<[&str; 2]> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split_once(' ').map(|(name, kind)| [name, kind]))
            .collect();
        let families = SECTIONS.iter().flat_map(|(_, families)| families.iter());
        let catalogue: BTreeSet<[&str; 2]> =
            families.map(|family| [family.name, family.kind.as_str()]).collect();
        assert_eq!(told, catalogue);
    }

    #[test]
    fn a_reconcile_that_runs_is_told_until_it_ends() {
        let metrics = Metrics::new().unwrap();
        let longest = |metrics: &Metrics| {
            metrics.queue(Depth { due: 0, delayed: 0, running: 1 });
            metrics.families.longest.get()
        };
        let name: Name = "orders".parse().unwrap();
        metrics.started(&name, Duration::ZERO);
        assert!(longest(&metrics) > 0.0);
        metrics.finished(&name, Outcome::Done, Duration::ZERO);
        assert!(longest(&metrics) == 0.0);
    }
}
