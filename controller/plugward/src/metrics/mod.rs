//! The controller's metrics, for Prometheus.
//!
//! Names end in their unit. Labels are closed sets or the names of records, and a record's series go with it.

use std::sync::Arc;
use std::time::Duration;

use plugward_api::{Name, RestartReason};
use plugward_engine::{ErrorKind, Operation};
use plugward_runtime::{Observer, Outcome, Priority};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use self::instances::InstanceSeries;
use crate::reason::Reason;

mod instances;

/// The controller's metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    families: Arc<Families>,
    instances: InstanceSeries,
}

#[derive(Debug)]
struct Families {
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    queue_adds: IntCounterVec,
    queue_retries: IntCounterVec,
    queue_seconds: HistogramVec,
    queue_depth: IntGaugeVec,
    manifest_files: IntGaugeVec,
    manifest_errors: IntGauge,
    engine_calls: IntCounterVec,
    engine_seconds: HistogramVec,
    engine_up: IntGaugeVec,
    build: IntGaugeVec,
}

/// Buckets for what takes from a tenth of a millisecond to a minute.
const BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0, 60.0];

const RECONCILE_RESULTS: [&str; 6] =
    ["success", "requeue_after", "error", "terminal_error", "panic", "aborted"];

// === impl Metrics ===

impl Metrics {
    /// Metrics with a registry of their own.
    ///
    /// # Errors
    /// When two have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(format!("plugward_{name}"), help), labels)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(format!("plugward_{name}"), help), labels)
        };
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(format!("plugward_{name}"), help).buckets(BUCKETS.to_vec());
            HistogramVec::new(opts, labels)
        };
        let families = Families {
            reconciles: counter("reconcile_total", "Reconciles of instances, by result.", &["result"])?,
            reconcile_seconds: histogram(
                "reconcile_duration_seconds",
                "How long reconciles took.",
                &["result"],
            )?,
            queue_adds: counter("workqueue_adds_total", "Requests that the work queue took.", &["priority"])?,
            queue_retries: counter("workqueue_retries_total", "Retries after failed reconciles.", &[])?,
            queue_seconds: histogram(
                "workqueue_queue_duration_seconds",
                "How long requests waited after they were due.",
                &[],
            )?,
            queue_depth: gauge(
                "workqueue_depth",
                "Instances in the work queue, by what they do.",
                &["state"],
            )?,
            manifest_files: gauge(
                "manifest_files",
                "Manifest files, by whether they can be used.",
                &["state"],
            )?,
            manifest_errors: IntGauge::new(
                "plugward_manifest_errors",
                "Errors in manifest files and directories that stand now.",
            )?,
            engine_calls: counter(
                "engine_calls_total",
                "Calls to engines, by result.",
                &["operation", "result"],
            )?,
            engine_seconds: histogram(
                "engine_call_duration_seconds",
                "How long calls to engines took.",
                &["operation"],
            )?,
            engine_up: gauge("engine_up", "Whether the engine of a runtime answers.", &["plugin_runtime"])?,
            build: gauge("build_info", "1, with the version of the program.", &["version"])?,
        };
        let metrics = Self {
            registry: Registry::new(),
            families: Arc::new(families),
            instances: InstanceSeries::default(),
        };
        metrics.register()?;
        metrics.zero();
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let f = &self.families;
        let counters = [&f.reconciles, &f.queue_adds, &f.queue_retries, &f.engine_calls];
        counters.into_iter().try_for_each(|family| self.registry.register(Box::new(family.clone())))?;
        let gauges = [&f.queue_depth, &f.manifest_files, &f.engine_up, &f.build];
        gauges.into_iter().try_for_each(|family| self.registry.register(Box::new(family.clone())))?;
        let histograms = [&f.reconcile_seconds, &f.queue_seconds, &f.engine_seconds];
        histograms.into_iter().try_for_each(|family| self.registry.register(Box::new(family.clone())))?;
        self.registry.register(Box::new(f.manifest_errors.clone()))
    }

    /// Makes the series of closed sets, so that they are there before the first event.
    fn zero(&self) {
        let f = &self.families;
        for result in RECONCILE_RESULTS {
            f.reconciles.with_label_values(&[result]);
            f.reconcile_seconds.with_label_values(&[result]);
        }
        for priority in [Priority::Fresh, Priority::Background] {
            f.queue_adds.with_label_values(&[priority_label(priority)]);
        }
        f.queue_retries.with_label_values::<&str>(&[]);
        f.queue_seconds.with_label_values::<&str>(&[]);
        for operation in Operation::ALL {
            f.engine_calls.with_label_values(&[operation.as_str(), "ok"]);
            f.engine_seconds.with_label_values(&[operation.as_str()]);
        }
        f.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }

    /// An instance was declared: its series exist from now on.
    pub fn instance_declared(&self, instance: &Name) {
        self.instances.declare(instance);
    }

    /// Counts a restart.
    pub fn restarted(&self, instance: &Name, reason: RestartReason) {
        self.instances.restarted(instance, reason);
    }

    /// How many mounts each slot of an instance serves.
    pub fn mounts_served(&self, instance: &Name, slots: Vec<(String, usize)>) {
        self.instances.mounts_served(instance, slots);
    }

    /// Pieces of a plugin's output are lost to a host of an instance that is too slow.
    pub fn output_lost(&self, instance: &Name, pieces: u64) {
        self.instances.output_lost(instance, pieces);
    }

    /// Removes the series of an instance that is gone.
    pub fn forget_instance(&self, instance: &Name) {
        self.instances.forget(instance);
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

    /// What the work queue holds.
    pub fn queue_depth(&self, depth: plugward_runtime::Depth) {
        for (state, count) in [("due", depth.due), ("delayed", depth.delayed), ("running", depth.running)] {
            let value = i64::try_from(count).unwrap_or(i64::MAX);
            self.families.queue_depth.with_label_values(&[state]).set(value);
        }
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// When a series cannot be written: a mistake in this file.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        self.instances.write(&mut text)?;
        Ok(text)
    }
}

impl Observer<Name, Reason> for Metrics {
    fn queued(&self, _: &Name, _: &Reason, priority: Priority) {
        self.families.queue_adds.with_label_values(&[priority_label(priority)]).inc();
    }

    fn started(&self, _: &Name, waited: Duration) {
        self.families.queue_seconds.with_label_values::<&str>(&[]).observe(waited.as_secs_f64());
    }

    fn finished(&self, _: &Name, outcome: Outcome, took: Duration) {
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

const fn priority_label(priority: Priority) -> &'static str {
    match priority {
        Priority::Fresh => "fresh",
        Priority::Background => "background",
    }
}
