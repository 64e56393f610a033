//! The series of instances.
//!
//! Ten thousand instances have a hundred thousand series, nearly all of them zero. They are kept as a few numbers for each
//! instance, and become text when they are asked for; with an instance its series are gone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugward_api::{Name, RestartReason};

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
    /// The mounts that each slot serves.
    mounts: Vec<(String, usize)>,
}

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

    /// Sets how many mounts each slot serves.
    pub(super) fn mounts_served(&self, instance: &Name, mounts: Vec<(String, usize)>) {
        self.lock().entry(instance.clone()).or_default().mounts = mounts;
    }

    /// Counts lost output.
    pub(super) fn output_lost(&self, instance: &Name, pieces: u64) {
        self.lock().entry(instance.clone()).or_default().output_lost += pieces;
    }

    /// Removes the series of an instance.
    pub(super) fn forget(&self, instance: &Name) {
        self.lock().remove(instance);
    }

    /// Writes them in Prometheus' text format. Names of records, slots and reasons hold nothing that it wants escaped.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> io::Result<()> {
        let table = self.lock();
        let family = "plugward_plugin_restarts_total";
        writeln!(to, "# HELP {family} Containers replaced because they ended or were judged dead.")?;
        writeln!(to, "# TYPE {family} counter")?;
        for (instance, series) in &*table {
            for (count, reason) in series.restarts.iter().zip(RestartReason::ALL) {
                writeln!(to, "{family}{{plugin_instance=\"{instance}\",reason=\"{reason}\"}} {count}")?;
            }
        }
        let family = "plugward_plugin_output_lost_total";
        writeln!(to, "# HELP {family} Pieces of plugins' output that hosts lost which read it too slowly.")?;
        writeln!(to, "# TYPE {family} counter")?;
        for (instance, series) in &*table {
            writeln!(to, "{family}{{plugin_instance=\"{instance}\"}} {}", series.output_lost)?;
        }
        let family = "plugward_plugin_multiplexed_mounts";
        writeln!(to, "# HELP {family} Declared mounts that the slot's ready container serves.")?;
        writeln!(to, "# TYPE {family} gauge")?;
        for (instance, series) in &*table {
            for (slot, mounts) in &series.mounts {
                writeln!(to, "{family}{{plugin_instance=\"{instance}\",slot=\"{slot}\"}} {mounts}")?;
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
    fn a_slot_that_is_gone_is_not_told_of() {
        let series = InstanceSeries::default();
        let line = |slot: &str| {
            format!("plugward_plugin_multiplexed_mounts{{plugin_instance=\"orders\",slot=\"{slot}\"}} 1")
        };
        series.mounts_served(&name("orders"), vec![("mount-a".into(), 1), ("mount-b".into(), 1)]);
        assert!(lines(&series).contains(&line("mount-a")));
        series.mounts_served(&name("orders"), vec![("mount-b".into(), 1)]);
        assert!(!lines(&series).contains(&line("mount-a")));
        assert!(lines(&series).contains(&line("mount-b")));
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
