//! The port without an engine: a twin for tests.
//!
//! A [`SimulatedEngine`] behaves as a Docker Engine does, as far as the port can see ([`crate::contract`] is passed
//! by both), on tokio's clock and from a seed: on a paused, single-threaded runtime the same test goes the same way
//! every time, and hours pass in milliseconds. Processes do what a [`Script`] says. What the rest of the world does
//! to an engine (kills, removals from outside, restarts of the daemon, lost events) is done through its methods;
//! what goes wrong with calls is asked for one by one ([`SimulatedEngine::inject`]) or by chance ([`FaultPlan`]).
//!
//! Calls keep the limits of the real adapter (`limits`), and an effect goes on when its caller is gone.

mod calls;
mod containers;
mod events;
mod fault;
mod files;
mod images;
mod output;
mod outside;
mod process;
mod registry;
mod script;
mod settings;
mod world;

use std::sync::Arc;

pub use fault::{Disturbance, Fault, FaultPlan};
pub use outside::SimulatedContainer;
pub use registry::{LAYERS, PIECES, Registry};
pub use script::{Act, Behaviour, Script, Signal, StartedContainer};
pub use settings::{Latency, Settings};

use world::Shared;

/// An engine that exists in memory. Clones are handles of the same engine.
#[derive(Clone)]
pub struct SimulatedEngine {
    shared: Arc<Shared>,
}

impl SimulatedEngine {
    /// An engine that is up and holds nothing. Its clock starts now: make it inside of the runtime that it is used in.
    pub fn new(settings: Settings) -> Self {
        Self { shared: Arc::new(Shared::new(settings)) }
    }

    /// The default engine with this seed.
    pub fn with_seed(seed: u64) -> Self {
        Self::new(Settings { seed, ..Settings::default() })
    }
}

#[cfg(test)]
mod tests;
