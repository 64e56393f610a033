//! Times in buckets, for series of records: the library's families keep a name for each label of each.

use std::array::from_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::family::{Family, Label, number};

/// How many times there were of which length.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    /// Upper bounds of the buckets, in seconds, the smallest first.
    bounds: &'static [f64; N],
    buckets: [AtomicU64; N],
    /// All that is longer.
    longer: AtomicU64,
    nanoseconds: AtomicU64,
}

// === impl Histogram ===

impl<const N: usize> Histogram<N> {
    /// One with these bounds, in seconds, the smallest first.
    pub(super) fn new(bounds: &'static [f64; N]) -> Self {
        let zero = || AtomicU64::new(0);
        Self { bounds, buckets: from_fn(|_| zero()), longer: zero(), nanoseconds: zero() }
    }

    pub(super) fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.buckets.get(bucket).unwrap_or(&self.longer).fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// Writes its series, with these values of the family's labels.
    pub(super) fn write(&self, family: &Family, labels: &[Label<'_>], to: &mut Vec<u8>) -> io::Result<()> {
        let mut count = 0;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        for (bucket, bound) in self.buckets.iter().chain([&self.longer]).zip(bounds) {
            count += load(bucket);
            family.part(to, "_bucket", labels, Some(bound), number(count))?;
        }
        family.part(to, "_sum", labels, None, seconds(load(&self.nanoseconds)))?;
        family.part(to, "_count", labels, None, number(count))
    }
}

pub(super) fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}
