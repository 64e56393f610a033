//! Who listens at an engine's socket.

use std::fs;

use crate::EngineUser;

/// The process that listens at a Unix socket: an engine's, unless a service manager listens for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    /// As whom it runs.
    pub(super) user: EngineUser,
    /// Its process, where this machine numbers it for us.
    pub(super) pid: Option<i32>,
}

// === impl Listener ===

impl Listener {
    /// The most bytes of memory that it, and what it starts, may lock. `None` where there is no limit, or it cannot be told.
    pub(super) fn memlock_limit(&self) -> Option<u64> {
        // Of a process in another PID namespace the number is 0.
        let pid = self.pid.filter(|pid| *pid > 0)?;
        memlock_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
    }
}

/// Reads it from the kernel's table of limits. The hard one counts: up to it a container may be given more than the engine has.
fn memlock_limit(table: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use rustix::process::{Resource, getegid, geteuid, getpid, getrlimit};

    use super::*;

    #[test]
    fn the_kernels_word_for_no_limit_is_none() {
        let table = |limits| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max processes             96000                96000                processes\n\
                 Max locked memory         {limits}            bytes\n"
            )
        };
        assert_eq!(memlock_limit(&table("8388608              16777216")), Some(16_777_216));
        assert_eq!(memlock_limit(&table("8388608              unlimited")), None);
        assert_eq!(memlock_limit("nothing of the kind"), None);
    }

    #[test]
    fn the_limit_is_that_of_the_process_that_listens() {
        let user = EngineUser { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        let listener = |pid| Listener { user, pid };
        let ours = listener(Some(getpid().as_raw_nonzero().get()));
        assert_eq!(ours.memlock_limit(), getrlimit(Resource::Memlock).maximum);
        assert_eq!(listener(None).memlock_limit(), None);
        assert_eq!(listener(Some(0)).memlock_limit(), None);
    }
}
