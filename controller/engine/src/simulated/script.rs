//! What the process of a simulated container does.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};

use crate::container::{ContainerId, ContainerSpec};

/// The life of one process, told in advance: how it starts, then one act after the other. A process whose acts are
/// over exits with 0.
///
/// ```
/// use std::time::Duration;
/// use plugward_engine::simulated::Script;
///
/// let crashes_after_a_while =
///     Script::new().stdout("ready\n").wait(Duration::from_secs(30)).stderr("out of luck\n").exit(3);
/// let serves_until_it_is_killed = Script::new().stdout("ready\n").ignore_term().hang();
/// # drop((crashes_after_a_while, serves_until_it_is_killed));
/// ```
#[derive(Debug, Default)]
pub struct Script {
    pub(super) latency: Option<Duration>,
    pub(super) failure: Option<String>,
    pub(super) acts: Vec<Act>,
}

/// One thing that a process does.
pub enum Act {
    /// Nothing, for a while.
    Wait(Duration),
    /// Writes to standard output. As on an engine, a line can be read once it ends.
    Stdout(Vec<u8>),
    /// Writes to standard error.
    Stderr(Vec<u8>),
    /// From here on SIGTERM ends it: after this time, with this code. Before, SIGTERM ends it at once with 143.
    EndOnTerm(Duration, i64),
    /// From here on SIGTERM does nothing.
    IgnoreTerm,
    /// Something of the test's own, such as a server on a socket in a bound directory. It is dropped where it stands
    /// when the process ends, and not polled while the container is paused.
    Run(BoxFuture<'static, ()>),
    /// Is killed by the kernel for its memory limit.
    OomKilled,
    /// Ends.
    Exit(i64),
}

/// Decides what the process of a container does, at each start of it.
pub type Behaviour = Arc<dyn Fn(&StartedContainer) -> Script + Send + Sync>;

/// A container at the moment that it is started, as a [`Behaviour`] sees it.
#[derive(Debug, Clone)]
pub struct StartedContainer {
    /// Its ID.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// How it was made.
    pub spec: Arc<ContainerSpec>,
    /// The ID of its image.
    pub image_id: String,
    /// Which start of this container it is, from 1.
    pub start: u32,
}

/// A signal to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: what it does is the script's matter.
    Term,
    /// SIGKILL.
    Kill,
    /// SIGSEGV, for a process that crashes by itself.
    Segv,
}

// === impl Script ===

impl Script {
    /// A process that starts and exits with 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the engine takes to start it, instead of its usual time.
    #[must_use]
    pub fn starting_in(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }

    /// It cannot be started: the OCI runtime says this.
    #[must_use]
    pub fn failing_to_start(mut self, message: impl Into<String>) -> Self {
        self.failure = Some(message.into());
        self
    }

    /// Adds an act.
    #[must_use]
    pub fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    /// [`Act::Wait`].
    #[must_use]
    pub fn wait(self, time: Duration) -> Self {
        self.then(Act::Wait(time))
    }

    /// [`Act::Stdout`].
    #[must_use]
    pub fn stdout(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Act::Stdout(bytes.into()))
    }

    /// [`Act::Stderr`].
    #[must_use]
    pub fn stderr(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Act::Stderr(bytes.into()))
    }

    /// [`Act::IgnoreTerm`].
    #[must_use]
    pub fn ignore_term(self) -> Self {
        self.then(Act::IgnoreTerm)
    }

    /// [`Act::EndOnTerm`].
    #[must_use]
    pub fn end_on_term(self, after: Duration, code: i64) -> Self {
        self.then(Act::EndOnTerm(after, code))
    }

    /// [`Act::Run`].
    #[must_use]
    pub fn run(self, future: impl Future<Output = ()> + Send + 'static) -> Self {
        self.then(Act::Run(future.boxed()))
    }

    /// Does nothing any more until it is ended by a signal.
    #[must_use]
    pub fn hang(self) -> Self {
        self.run(std::future::pending())
    }

    /// [`Act::OomKilled`].
    #[must_use]
    pub fn oom_killed(self) -> Self {
        self.then(Act::OomKilled)
    }

    /// [`Act::Exit`].
    #[must_use]
    pub fn exit(self, code: i64) -> Self {
        self.then(Act::Exit(code))
    }
}

// === impl Act ===

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(time) => f.debug_tuple("Wait").field(time).finish(),
            Self::Stdout(bytes) => f.debug_tuple("Stdout").field(&bytes.len()).finish(),
            Self::Stderr(bytes) => f.debug_tuple("Stderr").field(&bytes.len()).finish(),
            Self::EndOnTerm(after, code) => f.debug_tuple("EndOnTerm").field(after).field(code).finish(),
            Self::IgnoreTerm => f.write_str("IgnoreTerm"),
            Self::Run(_) => f.write_str("Run"),
            Self::OomKilled => f.write_str("OomKilled"),
            Self::Exit(code) => f.debug_tuple("Exit").field(code).finish(),
        }
    }
}

// === impl StartedContainer ===

impl StartedContainer {
    /// The value of an environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.spec.env.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.spec.labels.get(key).map(String::as_str)
    }

    /// The directory of the engine's machine that is bound at a path of the container.
    pub fn bound_at(&self, target: impl AsRef<Path>) -> Option<&Path> {
        self.spec.binds.iter().find(|bind| bind.target == target.as_ref()).map(|bind| bind.source.as_path())
    }
}

// === impl Signal ===

impl Signal {
    /// Its number on Linux.
    pub const fn number(self) -> i64 {
        match self {
            Self::Term => 15,
            Self::Kill => 9,
            Self::Segv => 11,
        }
    }
}
