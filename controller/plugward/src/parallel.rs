//! The same work on many things, on all processors: what a controller reads and parses of ten thousand instances before it begins.

use std::panic::resume_unwind;
use std::thread::{available_parallelism, scope};

/// The most threads.
const THREADS: usize = 8;

/// Fewer things than this are not worth a thread.
const SHARE: usize = 64;

/// Does `work` on each item. Gives what came of them, in their order. Blocks.
///
/// # Panics
/// When `work` does.
pub fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = available_parallelism().map_or(1, usize::from).min(THREADS);
    let share = items.len().div_ceil(threads).max(SHARE);
    if items.len() <= share {
        return items.into_iter().map(work).collect();
    }
    let work = &work;
    let mut items = items.into_iter();
    scope(|scope| {
        let mut threads = Vec::new();
        while items.len() > 0 {
            let share: Vec<T> = items.by_ref().take(share).collect();
            threads.push(scope.spawn(move || share.into_iter().map(work).collect::<Vec<R>>()));
        }
        let results =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        results.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, SHARE, SHARE + 1, 10_000] {
            let doubled = map((0..count).collect(), |number| 2 * number);
            assert_eq!(doubled, (0..count).map(|number| 2 * number).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "the last one")]
    fn a_panic_is_the_callers() {
        map((0..10_000).collect(), |number| assert!(number < 9_999, "the last one"));
    }
}
