//! The whole controller on simulated engines, by seed.
//!
//! Everything of the controller is real but three things: engines are [`SimulatedEngine`]s, plugins are
//! [`plugin::SimulatedPlugins`] that live and die with simulated containers, and time is tokio's paused time.
//! Manifests and state lie on a real file system.
//!
//! A seed decides a [`schedule`] of what people and accidents do, and the faults of every call. The
//! [`invariants`] are the promises of the program: some hold at every moment, the rest once peace returns.
//!
//! [`SimulatedEngine`]: plugward_engine::simulated::SimulatedEngine

pub mod invariants;
pub mod manifests;
pub mod plugin;
pub mod run;
pub mod schedule;
pub mod world;
