//! A family of series: its name, what it means, and how its lines are written.

use std::io::{self, Write};

/// Series of one name.
#[derive(Debug)]
pub(crate) struct Family {
    /// Its name. It ends in its unit, and `_total` if it counts.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What it says, in a sentence.
    pub(crate) help: &'static str,
    /// The names of its labels, in the order of their values.
    pub(crate) labels: &'static [&'static str],
}

/// What can be done with a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows, until the controller or the record goes.
    Counter,
    Gauge,
    Histogram,
    /// Without quantiles: a count and a sum.
    Summary,
}

/// A value of a label. Records, slots and closed sets have no characters that would have to be escaped.
pub(crate) type Label<'a> = &'a str;

// === impl Family ===

impl Family {
    /// The lines before its series.
    pub(super) fn head(&self, to: &mut Vec<u8>) -> io::Result<()> {
        writeln!(to, "# HELP {} {}", self.name, self.help)?;
        writeln!(to, "# TYPE {} {}", self.name, self.kind.as_str())
    }

    /// A series with these values of its labels.
    pub(super) fn line(&self, to: &mut Vec<u8>, labels: &[Label<'_>], value: f64) -> io::Result<()> {
        self.part(to, "", labels, None, value)
    }

    /// A series of a histogram or a summary, which has one more name and, where it is a bucket, one more label.
    pub(super) fn part(
        &self,
        to: &mut Vec<u8>,
        suffix: &str,
        labels: &[Label<'_>],
        bucket: Option<f64>,
        value: f64,
    ) -> io::Result<()> {
        debug_assert_eq!(labels.len(), self.labels.len(), "{}", self.name);
        write!(to, "{}{suffix}", self.name)?;
        let mut before = '{';
        for (name, value) in self.labels.iter().zip(labels) {
            write!(to, "{before}{name}=\"{value}\"")?;
            before = ',';
        }
        if let Some(bound) = bucket {
            write!(to, "{before}le=\"")?;
            if bound.is_finite() {
                write!(to, "{bound}\"")?;
            } else {
                to.extend_from_slice(b"+Inf\"");
            }
            before = ',';
        }
        if before == ',' {
            to.push(b'}');
        }
        writeln!(to, " {value}")
    }
}

// === impl Kind ===

impl Kind {
    /// Its name in Prometheus' text format.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// As Prometheus has numbers.
#[expect(clippy::cast_precision_loss, reason = "whoever counts beyond 2^53 may miss one")]
pub(super) const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_prometheus_reads_them() {
        let family = Family { name: "x_seconds", kind: Kind::Histogram, help: "Help.", labels: &["a", "b"] };
        let mut text = Vec::new();
        family.head(&mut text).unwrap();
        family.part(&mut text, "_bucket", &["1", "2"], Some(0.0005), 3.0).unwrap();
        family.part(&mut text, "_bucket", &["1", "2"], Some(f64::INFINITY), 4.0).unwrap();
        family.part(&mut text, "_sum", &["1", "2"], None, 0.25).unwrap();
        let bare = Family { name: "y", kind: Kind::Gauge, help: "Help.", labels: &[] };
        bare.line(&mut text, &[], 7.0).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "# HELP x_seconds Help.\n# TYPE x_seconds histogram\n\
             x_seconds_bucket{a=\"1\",b=\"2\",le=\"0.0005\"} 3\nx_seconds_bucket{a=\"1\",b=\"2\",le=\"+Inf\"} 4\n\
             x_seconds_sum{a=\"1\",b=\"2\"} 0.25\ny 7\n"
        );
    }
}
