//! What lies between a host that starts a plugin, and the controller that has it in a container.

pub mod socket;
pub mod wire;

pub use wire::{FromController, FromLauncher, VERSION, WireError};
