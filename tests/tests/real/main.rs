//! The promises, on real engines with real containers. See `plugward_tests::real` for how these tests are played.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod cli;
mod deaths;
mod hostile;
mod images;
mod life;
mod manifests;
mod runtimes;
mod strangers;
mod survival;
mod trouble;
