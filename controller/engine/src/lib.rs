//! plugward's port to a Docker Engine.

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
pub mod image;
pub mod info;
pub mod limits;
pub mod log;
pub mod observed;
pub mod port;
pub mod simulated;
pub mod watch;

pub use container::{Container, ContainerId, ContainerSpec, ContainerState, Exit, Listed, Phase};
pub use docker::{Address, DockerEngine};
pub use error::{EngineError, ErrorKind, Operation};
pub use event::{Event, EventKind};
pub use image::Image;
pub use info::EngineInfo;
pub use log::{LogChannel, LogChunk, LogQuery};
pub use observed::{Observed, Observer};
pub use port::{Created, Engine, Removed, Started, Stopped};
