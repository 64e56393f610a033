//! Tests of the whole program: on simulated engines, by seed, and on real ones.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on has failed"
)]

pub mod real;
pub mod simulation;
