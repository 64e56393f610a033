//! What a container uses of its machine.

use std::time::Duration;

/// What a container that runs has used so far, and uses now, as far as its engine can tell: a rootless engine that may not use
/// control groups can tell nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its processes since it was started.
    pub cpu: Option<Duration>,
    /// Bytes of memory that it could not do without: what is only cached of files is not among them.
    pub memory: Option<u64>,
    /// Its processes and threads, as the machine counts them.
    pub pids: Option<u64>,
}
