//! The promises, on real engines with real containers. See `plugward_tests::real` for how these tests are played.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod applying;
mod attach;
mod attach_deaths;
mod attach_hostile;
mod attach_hosts;
mod attach_load;
mod attach_rules;
mod backends;
mod broker;
mod cli;
mod container;
mod deaths;
mod gvisor;
mod hangs;
mod hostile;
mod hostile_brokers;
mod hostile_hosts;
mod images;
mod leaks;
mod life;
mod load;
mod logs;
mod manifests;
mod matrix;
mod memory_locks;
mod mounts;
mod multiplexing;
mod observed;
mod options;
mod priming;
mod pulls;
mod rootless;
mod runtimes;
mod service;
mod sight;
mod sleeping;
mod socket_directory;
mod strangers;
mod survival;
mod trouble;
mod updates;
mod users;
mod watching;
