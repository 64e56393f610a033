//! The whole controller on simulated engines, by seed.
//!
//! Everything of the controller is real but three things: engines are [`SimulatedEngine`]s, plugins are
//! [`plugin::SimulatedPlugins`] that live and die with simulated containers, and time is tokio's paused time.
//! Manifests and state lie on a real file system, and [`hosts`] speak gRPC over the real sockets of mounts.
//!
//! A seed decides the [`circumstances`], a [`schedule`] of what people and accidents do, and the faults of every call. The
//! [`invariants`] are the promises of the program: some hold at every moment, some once peace returns, some of every
//! call that a host ever made.
//!
//! [`SimulatedEngine`]: plugward_engine::simulated::SimulatedEngine

pub mod circumstances;
mod deeds;
mod drill;
pub mod history;
pub mod hosts;
pub mod invariants;
pub mod manifests;
pub mod plugin;
pub mod run;
pub mod schedule;
pub mod world;
