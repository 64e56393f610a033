//! The time of day, as tests may set it.

use jiff::Timestamp;
use tokio::time::Instant;

/// Gives the time of day.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A time of day that passes as tokio's time does: the simulation's, on paused time.
    Simulated {
        /// The time of day at `origin`.
        start: Timestamp,
        /// tokio's time at `start`.
        origin: Instant,
    },
}

impl Clock {
    /// A clock that shows `start` now and moves with tokio's time.
    pub fn simulated(start: Timestamp) -> Self {
        Self::Simulated { start, origin: Instant::now() }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Simulated { start, origin } => {
                let passed = Instant::now().duration_since(*origin);
                start.saturating_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// How long until `when`; zero when it has passed.
    pub fn until(&self, when: Timestamp) -> std::time::Duration {
        when.duration_since(self.now()).try_into().unwrap_or_default()
    }
}
