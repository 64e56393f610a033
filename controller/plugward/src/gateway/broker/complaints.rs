//! What the other side may do wrong without end, and is told of less and less often.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts what somebody does wrong, by what it is. A log is not to be filled by who misuses a broker.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Complaints(Mutex<BTreeMap<&'static str, u64>>);

// === impl Complaints ===

impl Complaints {
    /// Once more. How often that was, if it is to be told: the first time, the second, the fourth, and so on.
    pub(in crate::gateway) fn another(&self, what: &'static str) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(what).or_default();
        *count += 1;
        count.is_power_of_two().then_some(*count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_again_and_again_is_told_less_and_less_often() {
        let complaints = Complaints::default();
        let told: Vec<u64> = (0..100_000).filter_map(|_| complaints.another("knocks")).collect();
        assert_eq!(told, (0..=16).map(|power| 1 << power).collect::<Vec<u64>>());
        assert_eq!(complaints.another("answers"), Some(1), "and what is new is told at once");
    }
}
