//! The counters of instances.
//!
//! What is counted of them. Ten thousand instances have a hundred thousand series, nearly all of them zero. They are kept as a few numbers for
//! each instance, and become text when they are asked for; with an instance its series are gone.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugward_api::{Name, RestartReason};

use super::catalogue::{OUTPUT_LOST, PROBES, REPLAYS, RESTARTS};
use super::family::{Family, number};

/// The series of instances. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct InstanceSeries {
    table: Arc<Mutex<BTreeMap<Name, Series>>>,
}

/// The series of one.
#[derive(Debug, Default)]
struct Series {
    /// In the order of [`RestartReason::ALL`].
    restarts: [u64; RestartReason::ALL.len()],
    /// Pieces of its plugins' output that slow hosts lost.
    output_lost: u64,
    /// Priming calls that were made again and done, and those that failed.
    replays: [u64; 2],
    /// Probes that were answered, and those that failed.
    probes: [u64; 2],
}

/// How often something succeeded, and how often it failed.
type Results = fn(&Series) -> &[u64; 2];

/// What can succeed and fail.
const RESULTS: [(&Family, Results); 2] =
    [(&REPLAYS, |series| &series.replays), (&PROBES, |series| &series.probes)];

// === impl InstanceSeries ===

impl InstanceSeries {
    /// Makes the series of an instance, zero as yet, unless they are there.
    pub(super) fn declare(&self, instance: &Name) {
        self.lock().entry(instance.clone()).or_default();
    }

    /// Counts a restart.
    pub(super) fn restarted(&self, instance: &Name, reason: RestartReason) {
        let mut table = self.lock();
        let series = table.entry(instance.clone()).or_default();
        for (count, counted) in series.restarts.iter_mut().zip(RestartReason::ALL) {
            *count += u64::from(counted == reason);
        }
    }

    /// Counts a priming call that was made again.
    pub(super) fn replayed(&self, instance: &Name, done: bool) {
        let mut table = self.lock();
        let [ok, failed] = &mut table.entry(instance.clone()).or_default().replays;
        *(if done { ok } else { failed }) += 1;
    }

    /// Counts a probe.
    pub(super) fn probed(&self, instance: &Name, answered: bool) {
        let mut table = self.lock();
        let [ok, failed] = &mut table.entry(instance.clone()).or_default().probes;
        *(if answered { ok } else { failed }) += 1;
    }

    /// Counts lost output.
    pub(super) fn output_lost(&self, instance: &Name, pieces: u64) {
        self.lock().entry(instance.clone()).or_default().output_lost += pieces;
    }

    /// Removes the series of an instance.
    pub(super) fn forget(&self, instance: &Name) {
        self.lock().remove(instance);
    }

    /// Writes them in Prometheus' text format.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> io::Result<()> {
        let table = self.lock();
        RESTARTS.head(to)?;
        for (instance, series) in &*table {
            for (count, reason) in series.restarts.iter().zip(RestartReason::ALL) {
                RESTARTS.line(to, &[instance.as_str(), reason.as_str()], number(*count))?;
            }
        }
        OUTPUT_LOST.head(to)?;
        for (instance, series) in &*table {
            OUTPUT_LOST.line(to, &[instance.as_str()], number(series.output_lost))?;
        }
        for (family, counts) in RESULTS {
            family.head(to)?;
            for (instance, series) in &*table {
                for (count, result) in counts(series).iter().zip(["ok", "failed"]) {
                    family.line(to, &[instance.as_str(), result], number(*count))?;
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Series>> {
        // Each change is one insert, remove or assignment: a panic cannot leave one half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(series: &InstanceSeries) -> Vec<String> {
        let mut text = Vec::new();
        series.write(&mut text).unwrap();
        String::from_utf8(text).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn every_reason_is_there_before_the_first_restart() {
        let series = InstanceSeries::default();
        series.declare(&name("orders"));
        series.restarted(&name("orders"), RestartReason::Killed);
        let lines = lines(&series);
        let counted = |reason: RestartReason, count| {
            let line = format!(
                "plugward_plugin_restarts_total{{plugin_instance=\"orders\",reason=\"{reason}\"}} {count}"
            );
            lines.contains(&line)
        };
        for reason in RestartReason::ALL {
            assert!(counted(reason, u64::from(reason == RestartReason::Killed)), "{reason}: {lines:?}");
        }
    }

    #[test]
    fn what_fails_is_counted_beside_what_succeeds() {
        let series = InstanceSeries::default();
        series.probed(&name("orders"), true);
        series.probed(&name("orders"), true);
        series.probed(&name("orders"), false);
        series.replayed(&name("orders"), false);
        let lines = lines(&series);
        for line in [
            "plugward_plugin_probes_total{plugin_instance=\"orders\",result=\"ok\"} 2",
            "plugward_plugin_probes_total{plugin_instance=\"orders\",result=\"failed\"} 1",
            "plugward_replays_total{plugin_instance=\"orders\",result=\"ok\"} 0",
            "plugward_replays_total{plugin_instance=\"orders\",result=\"failed\"} 1",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line}: {lines:?}");
        }
    }

    #[test]
    fn series_go_with_their_instance() {
        let series = InstanceSeries::default();
        series.declare(&name("orders"));
        series.declare(&name("billing"));
        series.forget(&name("orders"));
        let lines = lines(&series);
        assert!(!lines.iter().any(|line| line.contains("orders")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("billing")), "{lines:?}");
    }
}
