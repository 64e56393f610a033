//! What kind of engine is simulated.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::Operation;

/// What kind of engine is simulated. The default is a Docker Engine as it comes, on an unremarkable machine.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is true or false of engines by itself")]
pub struct Settings {
    /// Chance: IDs, variations of latency, faults of the plan.
    pub seed: u64,
    /// What time the engine has when it is made. It goes on with tokio's clock.
    pub started_at: Timestamp,
    /// The engine's ID; `None` draws one.
    pub engine_id: Option<String>,
    /// The OCI runtimes that it knows.
    pub oci_runtimes: Vec<String>,
    /// The networks that it has.
    pub networks: Vec<String>,
    /// Whether containers survive the end of the daemon.
    pub live_restore: bool,
    /// Whether it gives up a start whose caller goes away. Current ones do.
    pub gives_up_starts: bool,
    /// Whether it is rootless.
    pub rootless: bool,
    /// Whether sources of binds must exist on this machine, as a real engine demands of its own.
    pub check_binds: bool,
    /// How long calls take.
    pub latency: Latency,
}

/// How long the calls of an engine take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Answers from memory.
    pub look: Duration,
    /// A creation.
    pub create: Duration,
    /// A start, unless the script has its own.
    pub start: Duration,
    /// Delivery of a signal.
    pub signal: Duration,
    /// A removal of what has ended.
    pub remove: Duration,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            seed: 0,
            // Any date will do; this one is never in the future of a file's or a test's clock.
            started_at: Timestamp::constant(1_700_000_000, 0),
            engine_id: None,
            oci_runtimes: words(&["crun", "runc", "runsc"]),
            networks: words(&["bridge", "host", "none"]),
            live_restore: false,
            gives_up_starts: true,
            rootless: false,
            check_binds: true,
            latency: Latency::default(),
        }
    }
}

// === impl Latency ===

impl Latency {
    /// Everything happens at once.
    pub const NONE: Self = Self {
        look: Duration::ZERO,
        create: Duration::ZERO,
        start: Duration::ZERO,
        signal: Duration::ZERO,
        remove: Duration::ZERO,
    };

    pub(super) const fn of(&self, operation: Operation) -> Duration {
        match operation {
            Operation::Create => self.create,
            // The start itself knows the script, and a registry its pace.
            Operation::Start | Operation::Pull => Duration::ZERO,
            Operation::Stop | Operation::Kill => self.signal,
            Operation::Remove => self.remove,
            Operation::Connect
            | Operation::Info
            | Operation::InspectImage
            | Operation::List
            | Operation::Inspect
            | Operation::Read
            | Operation::Stats
            | Operation::Logs
            | Operation::Events => self.look,
        }
    }
}

/// Medians of Docker Engine 20.10 with runc on two cores.
impl Default for Latency {
    fn default() -> Self {
        Self {
            look: Duration::from_millis(1),
            create: Duration::from_millis(7),
            start: Duration::from_millis(180),
            signal: Duration::from_millis(35),
            remove: Duration::from_millis(5),
        }
    }
}
