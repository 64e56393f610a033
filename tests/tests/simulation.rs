//! Seeds of the simulation. `PLUGWARD_SEEDS` says how many (default 1,000), `PLUGWARD_FIRST_SEED` from which on (default 0),
//! `PLUGWARD_SEED` runs one alone. `PLUGWARD_CALLBACKS` lets plugins call their hosts back: about one of 1,000 seeds
//! breaks a promise then (939: a plugin answers a call with "broker closed" while only plugins are in trouble).

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plugward_tests::simulation::circumstances::Circumstances;
use plugward_tests::simulation::plugin::Callbacks;
use plugward_tests::simulation::run::{self, Failure};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn run_seed(seed: u64) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        // One at a time, in order: the same seed does nearly the same. Hash maps and `select!` have chance of their own: a failure may
        // take several runs to come again.
        .max_blocking_threads(1)
        .build()
        .expect("a runtime");
    let mut circumstances = Circumstances::of(seed);
    if std::env::var_os("PLUGWARD_CALLBACKS").is_none() {
        circumstances.callbacks = Callbacks::None;
    }
    let done = runtime.block_on(run::run(seed, circumstances));
    runtime.shutdown_timeout(Duration::from_secs(10));
    done
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = number("PLUGWARD_SEED") {
        tracing_subscriber::fmt()
            .with_env_filter(std::env::var("PLUGWARD_LOG").unwrap_or_else(|_| "plugward=debug".into()))
            .without_time()
            .init();
        if let Err(failure) = run_seed(seed) {
            let Failure { seed, broken, at, schedule, circumstances } = failure;
            panic!("seed {seed} after {at:?}: {}\n{circumstances:?}\n{schedule}", broken.0);
        }
        return;
    }
    let seeds = number("PLUGWARD_SEEDS").unwrap_or(1000);
    let first = number("PLUGWARD_FIRST_SEED").unwrap_or(0);
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    if let Err(failure) = run_seed(seed) {
                        failures.lock().expect("nobody panics with it").push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    let mut text = String::new();
    for failure in &failures {
        let Failure { seed, broken, at, schedule, circumstances } = failure;
        let _ =
            write!(text, "PLUGWARD_SEED={seed} after {at:?}: {}\n  {circumstances:?}\n{schedule}", broken.0);
    }
    assert!(failures.is_empty(), "{} of {seeds} seeds broke a promise:\n{text}", failures.len());
}
