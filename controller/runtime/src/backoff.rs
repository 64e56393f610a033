//! How long to wait before trying again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

#[cfg(test)]
mod tests;

/// An exponential backoff with jitter: a pure function of the number of failures and a random number.
///
/// The wait after the first failure is at most `initial`, doubles with every further one, and is never longer
/// than `max`. Of that the later half is random, so that what failed together does not come back together, not
/// even when all of them wait as long as they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    /// After so many attempts the wait no longer grows.
    steps: usize,
}

/// A backoff that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    /// The first wait is shorter than timers can tell.
    #[error("the initial backoff {0:?} is shorter than {min:?}", min = Backoff::SHORTEST)]
    TooShort(Duration),
    /// The longest wait is shorter than the first.
    #[error("the longest backoff {max:?} is shorter than the initial one {initial:?}")]
    MaxBelowInitial {
        /// The first wait.
        initial: Duration,
        /// The longest wait.
        max: Duration,
    },
}

// === impl Backoff ===

impl Backoff {
    /// The shortest initial wait: tokio's timers count in milliseconds.
    pub const SHORTEST: Duration = Duration::from_millis(1);

    /// A backoff from `initial` to `max`.
    ///
    /// # Errors
    ///
    /// When `initial` is below [`Self::SHORTEST`], or `max` below `initial`.
    pub fn new(initial: Duration, max: Duration) -> Result<Self, InvalidBackoff> {
        if initial < Self::SHORTEST {
            return Err(InvalidBackoff::TooShort(initial));
        }
        if max < initial {
            return Err(InvalidBackoff::MaxBelowInitial { initial, max });
        }
        let steps = growth(initial, max).build().take_while(|delay| *delay < max).count();
        Ok(Self { initial, max, steps })
    }

    /// How long to wait after `attempt` earlier failures: at least half of [`ceiling`](Self::ceiling), at most
    /// all of it. The same two numbers give the same wait.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        // backon adds up to once the delay on top of the delay and of its maximum, so both are halved.
        let builder = growth(self.initial / 2, self.max / 2).with_jitter().with_jitter_seed(random);
        self.nth(builder, attempt).min(self.ceiling(attempt))
    }

    /// The longest wait after `attempt` earlier failures: `initial` doubled so often, at most `max`.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        self.nth(growth(self.initial, self.max), attempt)
    }

    fn nth(&self, builder: ExponentialBuilder, attempt: u32) -> Duration {
        let attempt = usize::try_from(attempt).map_or(self.steps, |attempt| attempt.min(self.steps));
        // A series without a number of times has no end.
        builder.build().nth(attempt).unwrap_or(self.max)
    }
}

/// The series of waits without jitter.
fn growth(min: Duration, max: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new().with_factor(2.0).with_min_delay(min).with_max_delay(max).without_max_times()
}
