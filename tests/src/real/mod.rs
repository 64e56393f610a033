//! The program as a process, on real engines, with real containers.
//!
//! A test is a scenario that is played on each engine ([`on_each_engine`]) in a [`World`] of its own: directories, a cluster id,
//! and the program, started and ended by the test. What a test asserts it reads where users do: from the control socket, the
//! metrics port, the command line and the engine. It never sleeps for a time; it waits until something is so, with a long limit.
//!
//! Engines are named by `PLUGWARD_TEST_ENGINES`, `name=unix:///path` separated by spaces; they hold the images of
//! `hack/image all`. Without it each test says that it was skipped; with `PLUGWARD_REQUIRE_ALL=1` it fails instead.

mod engine;
mod http;
mod manifest;
mod metrics;
mod program;
mod scenario;
mod spare;
mod world;

pub use engine::TestEngine;
pub use manifest::{COUNTER, GO_COUNTER, HOSTILE, Manifest, counter, go_counter, hostile, runtime};
pub use metrics::Metrics;
pub use program::{Ended, Program, Said};
pub use scenario::{on_each_engine, on_one_engine};
pub use spare::{SpareEngine, on_each_spare_engine};
pub use world::{LIMIT, World, restarts, slot};
