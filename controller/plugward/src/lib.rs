//! The program `plugward`.

pub mod atomic;
pub mod clock;
pub mod container;
pub mod controller;
pub mod desired;
pub mod engines;
pub mod errors;
pub mod execute;
pub mod lock;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod output;
pub mod plan;
pub mod plugin;
pub mod reason;
pub mod recipe;
pub mod reconcile;
pub mod roll;
pub mod runtimes;
pub mod session;
pub mod slot;
pub mod source;
pub mod state;
pub mod status;
