//! plugward's port to a Docker Engine.
//!
//! # What is here
//!
//! - [`port`]: the trait [`Engine`], one method for every effect that plugward may have on an engine, with its
//!   outcomes as values ([`Created`], [`Started`], …) and its failures as one [`EngineError`] with a closed set of causes.
//! - [`docker`]: the port on a real engine, found by the docker command's own rules ([`Address`]).
//! - [`watch`]: an engine's containers as a stream of signals, over every loss and return of the engine.
//! - [`observed`]: any engine, with its calls counted by somebody else.
//! - [`simulated`]: the twin for tests, and [`contract`]: the one suite that real engines and the twin pass.
//!
//! # Guarantees
//!
//! - A call is one attempt, and ends within its [`limits`]. Retries are the caller's.
//! - What is asked for twice is done once: the second answer says so, as a value.
//! - No type of bollard, no HTTP status and no sentence of an engine has to be understood outside of [`docker`].
//! - Environment values and registries' credentials are in no `Debug`, no error and no log record of this crate ([`docker::LOG_CAP`] is about
//!   another's).
//!
//! # What it may touch
//!
//! The engine it was given, and nothing else. Addresses are looked up in the environment and in Docker's configuration
//! through [`docker::Surroundings`]; credentials for registries in Docker's configuration, and with the helpers that it
//! names ([`docker::CredentialStore`]).

pub mod container;
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test suite: what is not as expected fails its case"
)]
pub mod contract;
pub mod docker;
mod error;
pub mod event;
pub mod file;
pub mod image;
pub mod info;
pub mod limits;
pub mod log;
pub mod observed;
pub mod port;
pub mod pull;
pub mod simulated;
pub mod usage;
pub mod watch;

pub use container::{
    Container, ContainerId, ContainerSpec, ContainerState, Exit, Listed, Phase, Seccomp, Security,
};
pub use docker::{Address, DockerEngine};
pub use error::{EngineError, ErrorKind, Operation};
pub use event::{Event, EventKind};
pub use file::{File, FileKind};
pub use image::Image;
pub use info::{EngineInfo, EngineUser};
pub use log::{LogChannel, LogChunk, LogQuery};
pub use observed::{Observed, Observer};
pub use port::{Created, Engine, Removed, Started, Stopped};
pub use pull::Progress;
pub use usage::Usage;
