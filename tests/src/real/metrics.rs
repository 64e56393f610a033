//! What the metrics port says.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics(BTreeMap<String, String>);

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.to_owned()))
        });
        Self(series.collect())
    }

    /// The value of a series, written as the port writes it: `name{label="value"}` with labels in alphabetical order.
    pub fn get(&self, series: &str) -> Option<f64> {
        self.0.get(series)?.parse().ok()
    }

    /// How often an instance was restarted for a reason.
    pub fn restarts(&self, instance: &str, reason: &str) -> Option<f64> {
        self.get(&format!(
            "plugward_plugin_restarts_total{{plugin_instance=\"{instance}\",reason=\"{reason}\"}}"
        ))
    }

    /// How many mounts the container of an instance's only slot serves.
    pub fn mounts(&self, instance: &str) -> Option<f64> {
        self.mounts_of(instance, "shared")
    }

    /// How many mounts the container of a slot serves.
    pub fn mounts_of(&self, instance: &str, slot: &str) -> Option<f64> {
        self.get(&format!(
            "plugward_plugin_multiplexed_mounts{{plugin_instance=\"{instance}\",slot=\"{slot}\"}}"
        ))
    }

    /// The series that name an instance.
    pub fn of_instance(&self, instance: &str) -> Vec<&str> {
        let label = format!("plugin_instance=\"{instance}\"");
        self.0.keys().map(String::as_str).filter(|series| series.contains(&label)).collect()
    }

    /// The sum of a counter's series.
    ///
    /// # Panics
    /// When one is no whole number.
    pub fn total(&self, counter: &str) -> u64 {
        let of_counter = |series: &str| series.split('{').next() == Some(counter);
        let series = self.0.iter().filter(|(series, _)| of_counter(series));
        series.map(|(_, value)| value.parse::<u64>().expect("a counter of whole things")).sum()
    }
}
