//! The manager's watchdog, which ends a process that says nothing for too long (`sd_watchdog_enabled(3)`).
//!
//! It is fed by the loops, and not by a timer: one that is held up makes us silent, and the manager starts us anew.

use std::convert::Infallible;
use std::ffi::OsString;
use std::pin::pin;
use std::time::Duration;

use plugward_runtime::Pulse;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{ServiceManager, tell};

#[cfg(test)]
mod tests;

/// A watchdog that waits for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    /// How long we may be silent.
    limit: Duration,
}

/// `$WATCHDOG_USEC` says nothing that can be understood.
#[derive(Debug, thiserror::Error)]
#[error("$WATCHDOG_USEC is {value:?}, and not a number of microseconds above 0")]
pub struct WatchdogError {
    /// What it is.
    value: OsString,
}

// === impl Watchdog ===

impl Watchdog {
    /// The watchdog that the environment tells of, if it is meant for this process.
    ///
    /// # Errors
    /// When it is, and does not say how often it wants to hear of us.
    pub fn from_environment() -> Result<Option<Self>, WatchdogError> {
        let (limit, pid) = (std::env::var_os("WATCHDOG_USEC"), std::env::var_os("WATCHDOG_PID"));
        Self::told(limit, pid, std::process::id())
    }

    fn told(
        limit: Option<OsString>,
        pid: Option<OsString>,
        ours: u32,
    ) -> Result<Option<Self>, WatchdogError> {
        // Without a process it is meant for whoever inherits it.
        if pid.is_some_and(|pid| pid.to_str().and_then(|pid| pid.parse().ok()) != Some(ours)) {
            return Ok(None);
        }
        let Some(value) = limit else { return Ok(None) };
        match value.to_str().and_then(|limit| limit.parse().ok()) {
            Some(limit) if limit > 0 => Ok(Some(Self { limit: Duration::from_micros(limit) })),
            _ => Err(WatchdogError { value }),
        }
    }

    /// Says that we live, twice as often as it must be said, as long as all of these loops come round.
    pub async fn feed(self, manager: &ServiceManager, loops: &[(&'static str, Pulse)]) -> Infallible {
        let every = self.limit / 2;
        let mut turns = interval(every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            come_round(loops, every).await;
            tell(manager.alive());
        }
    }
}

/// Asks for more time to start, as long as all of these loops come round: where thousands of plugins are to be started, the
/// time that is given to all services does not suffice.
pub async fn ask_for_time(manager: &ServiceManager, loops: &[(&'static str, Pulse)]) -> Infallible {
    const EVERY: Duration = Duration::from_secs(30);
    let mut turns = interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        come_round(loops, EVERY).await;
        tell(manager.starting(EVERY * 4));
    }
}

/// Waits until all of these loops have come round. One that has not within this time is told of.
async fn come_round(loops: &[(&'static str, Pulse)], limit: Duration) {
    for (name, pulse) in loops {
        let mut felt = pin!(pulse.felt());
        if timeout(limit, felt.as_mut()).await.is_err() {
            tracing::error!(
                of = name,
                "a loop is held up: the service manager is told nothing until it goes on"
            );
            felt.await;
        }
    }
}
