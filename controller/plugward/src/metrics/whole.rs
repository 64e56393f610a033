//! What is counted of the whole: series that are not of records, in the library's families.

use plugward_engine::Operation;
use plugward_engine::event::ACTIONS;
use plugward_runtime::Priority;
use prometheus::core::Collector;
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::StartPhase;
use super::catalogue::{
    BUILD, ENGINE_CALLS, ENGINE_EVENTS, ENGINE_SECONDS, ENGINE_UP, LONGEST, MANIFEST_ERRORS, MANIFEST_FILES,
    MANIFEST_RECORDS, QUEUE_ADDS, QUEUE_DEPTH, QUEUE_RETRIES, QUEUE_SECONDS, RECONCILE_SECONDS, RECONCILES,
    RESYNCS, STARTS, UNFINISHED, WATCHES,
};
use super::family::Family;

#[derive(Debug)]
pub(super) struct Families {
    pub(super) reconciles: IntCounterVec,
    pub(super) reconcile_seconds: HistogramVec,
    pub(super) queue_adds: IntCounterVec,
    pub(super) queue_retries: IntCounterVec,
    pub(super) queue_seconds: HistogramVec,
    pub(super) queue_depth: IntGaugeVec,
    pub(super) unfinished: Gauge,
    pub(super) longest: Gauge,
    pub(super) manifest_files: IntGaugeVec,
    pub(super) manifest_records: IntGaugeVec,
    pub(super) manifest_errors: IntGauge,
    pub(super) engine_calls: IntCounterVec,
    pub(super) engine_seconds: HistogramVec,
    pub(super) engine_events: IntCounterVec,
    pub(super) engine_up: IntGaugeVec,
    pub(super) resyncs: IntCounterVec,
    pub(super) starts: HistogramVec,
    pub(super) watches: IntCounterVec,
    pub(super) build: IntGaugeVec,
}

/// Buckets for what takes from a tenth of a millisecond to a minute.
const BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0, 60.0];

/// Buckets for starts, which take from some milliseconds to a minute.
const START_BUCKETS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const RECONCILE_RESULTS: [&str; 6] =
    ["success", "requeue_after", "error", "terminal_error", "panic", "aborted"];

// === impl Families ===

impl Families {
    /// # Errors
    /// When one is not as the library wants it: a mistake in the catalogue.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            reconciles: counter(&RECONCILES)?,
            reconcile_seconds: histogram(&RECONCILE_SECONDS, &BUCKETS)?,
            queue_adds: counter(&QUEUE_ADDS)?,
            queue_retries: counter(&QUEUE_RETRIES)?,
            queue_seconds: histogram(&QUEUE_SECONDS, &BUCKETS)?,
            queue_depth: gauge(&QUEUE_DEPTH)?,
            unfinished: Gauge::with_opts(opts(&UNFINISHED))?,
            longest: Gauge::with_opts(opts(&LONGEST))?,
            manifest_files: gauge(&MANIFEST_FILES)?,
            manifest_records: gauge(&MANIFEST_RECORDS)?,
            manifest_errors: IntGauge::with_opts(opts(&MANIFEST_ERRORS))?,
            engine_calls: counter(&ENGINE_CALLS)?,
            engine_seconds: histogram(&ENGINE_SECONDS, &BUCKETS)?,
            engine_events: counter(&ENGINE_EVENTS)?,
            engine_up: gauge(&ENGINE_UP)?,
            resyncs: counter(&RESYNCS)?,
            starts: histogram(&STARTS, &START_BUCKETS)?,
            watches: counter(&WATCHES)?,
            build: gauge(&BUILD)?,
        })
    }

    /// Has them told with a registry's.
    ///
    /// # Errors
    /// When two have one name: a mistake in the catalogue.
    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let collectors: [Box<dyn Collector>; 19] = [
            Box::new(self.reconciles.clone()),
            Box::new(self.reconcile_seconds.clone()),
            Box::new(self.queue_adds.clone()),
            Box::new(self.queue_retries.clone()),
            Box::new(self.queue_seconds.clone()),
            Box::new(self.queue_depth.clone()),
            Box::new(self.unfinished.clone()),
            Box::new(self.longest.clone()),
            Box::new(self.manifest_files.clone()),
            Box::new(self.manifest_records.clone()),
            Box::new(self.manifest_errors.clone()),
            Box::new(self.engine_calls.clone()),
            Box::new(self.engine_seconds.clone()),
            Box::new(self.engine_events.clone()),
            Box::new(self.engine_up.clone()),
            Box::new(self.resyncs.clone()),
            Box::new(self.starts.clone()),
            Box::new(self.watches.clone()),
            Box::new(self.build.clone()),
        ];
        collectors.into_iter().try_for_each(|collector| registry.register(collector))
    }

    /// Makes the series of closed sets, so that they are there before the first event.
    pub(super) fn zero(&self) {
        for result in RECONCILE_RESULTS {
            self.reconciles.with_label_values(&[result]);
            self.reconcile_seconds.with_label_values(&[result]);
        }
        for priority in [Priority::Fresh, Priority::Background] {
            self.queue_adds.with_label_values(&[label(priority)]);
        }
        self.queue_retries.with_label_values::<&str>(&[]);
        self.queue_seconds.with_label_values::<&str>(&[]);
        for operation in Operation::ALL {
            self.engine_calls.with_label_values(&[operation.as_str(), "ok"]);
            self.engine_seconds.with_label_values(&[operation.as_str()]);
        }
        for action in ACTIONS {
            self.engine_events.with_label_values(&[action]);
        }
        for phase in StartPhase::ALL {
            self.starts.with_label_values(&[phase.as_str()]);
        }
        self.resyncs.with_label_values::<&str>(&[]);
        self.watches.with_label_values::<&str>(&[]);
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }
}

fn opts(family: &Family) -> Opts {
    Opts::new(family.name, family.help)
}

fn counter(family: &Family) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(opts(family), family.labels)
}

fn gauge(family: &Family) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(opts(family), family.labels)
}

fn histogram(family: &Family, buckets: &[f64]) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(family.name, family.help).buckets(buckets.to_vec());
    HistogramVec::new(opts, family.labels)
}

/// A priority as a label.
pub(super) const fn label(priority: Priority) -> &'static str {
    match priority {
        Priority::Fresh => "fresh",
        Priority::Background => "background",
    }
}
