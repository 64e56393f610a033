//! The program as a process, on real engines, with real containers.
//!
//! A test is a scenario that is played on each engine ([`on_each_engine`]) in a [`World`] of its own: directories, a cluster id,
//! and the program, started and ended by the test. What a test asserts it reads where users do: from the control socket, the
//! metrics port, the command line and the engine. It never sleeps for a time; it waits until something is so, with a long limit.
//!
//! Engines are named by `PLUGWARD_TEST_ENGINES`, `name=unix:///path` separated by spaces; they hold the images of
//! `hack/image all`. The one named `rootless` is left to tests that want it ([`on_the_rootless_engine`]). Without the variable each
//! test says that it was skipped; with `PLUGWARD_REQUIRE_ALL=1` it fails instead.

mod bare;
mod engine;
mod gate;
mod golang;
mod hosts;
mod http;
mod manifest;
mod matrix;
mod metrics;
mod outside;
mod ports;
mod program;
mod prometheus;
mod redis;
mod registry;
mod rootless;
mod scenario;
mod spare;
mod systemd;
mod terminal;
mod world;

pub use bare::{BarePlugin, reattach};
pub use engine::{RUNSC_NONE, TestEngine, skipped};
pub use gate::Flow;
pub use golang::go_program;
pub use hosts::{
    BackendHost, CallbackHost, Cycle, DatabaseHost, FailedCalls, Failure, GenericHost, HostClient,
    HostOptions, HostProcess, Instance, KilledPlugin, Load, NewUser, Opened, Output, Pace, Response,
    RunningLoad, Sdk, Start, StartedPlugin, Tally, Watch, copy_for_all, gone, kill, starts,
};
pub use manifest::{
    CALLBACK, COUCHBASE, COUNTER, DATABASE, GO_COUNTER, GO_COUNTER_MLOCK, GO_COUNTER_NONROOT, HOSTILE, JWT,
    KV, Manifest, REDIS, callback, couchbase, counter, database, go_counter, go_counter_of, hostile, jwt, kv,
    redis, runtime,
};
pub use matrix::{ContainerUser, MatrixOutcome, MatrixRow, write_matrix};
pub use metrics::Metrics;
pub use outside::Outside;
pub use program::{Ended, Following, Program, Said};
pub use prometheus::{Prometheus, Sample, promtool_check_metrics};
pub use redis::{RedisServer, StoppedRedis};
pub use registry::{PASSWORD, Published, Registry, USER, write_helper};
pub use rootless::UserDirectory;
pub use scenario::{busy, on_each_engine, on_every_engine, on_one_engine, on_the_rootless_engine};
pub use spare::{SpareEngine, on_each_spare_engine};
pub use systemd::Systemd;
pub use terminal::Terminal;
pub use world::{Held, LIMIT, Left, World, launcher, open_files, restarts, slot};
