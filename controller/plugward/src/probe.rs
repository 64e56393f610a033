//! Whether a plugin still answers: a process that hangs gives no other sign.
//!
//! Ten thousand plugins are asked a thousand times a second. To wake up for each would cost more than to ask it, so questions are asked
//! at common moments, of many plugins at each.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;
use plugward_api::instance::Probe;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::plugin::Conversation;

/// The time between two moments at which plugins are asked, where their period is not too short for that.
const GRID: Duration = Duration::from_millis(250);

/// A period is missed by no more than half of this part of it.
const FINENESS: u32 = 16;

/// A plugin that does not answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresponsive {
    /// Since when.
    pub since: Timestamp,
    /// What came of the last question.
    pub message: String,
}

/// Asks a plugin for its health until it fails too often in a row. `settings` are asked for each time, so that an edit takes
/// effect with the next question. `told` hears of each whether it was answered. `key` spreads the first questions of many plugins over the period.
pub async fn probe(
    conversation: &dyn Conversation,
    settings: impl FnMut() -> Probe,
    told: impl Fn(bool),
    key: &str,
    clock: Clock,
) -> Unresponsive {
    let Err(unresponsive) = ask_on(conversation, settings, told, key, clock).await;
    unresponsive
}

async fn ask_on(
    conversation: &dyn Conversation,
    mut settings: impl FnMut() -> Probe,
    told: impl Fn(bool),
    key: &str,
    clock: Clock,
) -> Result<Infallible, Unresponsive> {
    let period = settings().period.get();
    sleep(aligned(period.mul_f64(fraction(key)), period, clock.now())).await;
    let mut failures = 0;
    let mut since = None;
    loop {
        let Probe { period, timeout: limit, failure_threshold } = settings();
        let asked = clock.now();
        let message = match timeout(limit.get(), conversation.health()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.message),
            Err(_) => Some(format!("no answer within {limit}")),
        };
        told(message.is_none());
        match message {
            None => (failures, since) = (0, None),
            Some(message) => {
                failures += 1;
                let since = *since.get_or_insert(asked);
                tracing::debug!(failures, message, "probe failed");
                if failures >= failure_threshold.get() {
                    let message = format!("{failures} probes failed in a row: {message}");
                    return Err(Unresponsive { since, message });
                }
            }
        }
        sleep(aligned(period.get(), period.get(), clock.now())).await;
    }
}

/// The time from `now` to the common moment of all plugins with that period that is nearest to `wait` from now.
fn aligned(wait: Duration, period: Duration, now: Timestamp) -> Duration {
    let grid = GRID.min(period / FINENESS).as_nanos();
    let now = now.as_nanosecond().unsigned_abs();
    let until = now + wait.as_nanos();
    let nearest = (until + grid / 2).checked_div(grid).map_or(until, |moments| moments * grid);
    u64::try_from(nearest.saturating_sub(now)).map_or(wait, Duration::from_nanos)
}

/// A number from 0 to 1 that is always the same for a key.
fn fraction(key: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let [.., higher, lower] = hasher.finish().to_be_bytes();
    f64::from(u16::from_be_bytes([higher, lower])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).unwrap()
    }

    const fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn plugins_are_asked_at_common_moments() {
        let period = Duration::from_secs(10);
        for (wait, now, expected) in
            [(10_000, 3, 9_997), (10_000, 130, 10_120), (4_321, 0, 4_250), (0, 100, 0)]
        {
            assert_eq!(
                aligned(milliseconds(wait), period, at(now)),
                milliseconds(expected),
                "{wait} at {now}"
            );
        }
    }

    #[test]
    fn a_period_is_kept_from_question_to_question() {
        for period in [1_000, 1_500, 10_000, 60_000].map(milliseconds) {
            // Each answer takes a moment, and that does not add up.
            let first = at(7).saturating_add(aligned(period, period, at(7))).unwrap();
            let answered = first.saturating_add(milliseconds(2)).unwrap();
            let second = aligned(period, period, answered) + milliseconds(2);
            assert!(second.abs_diff(period) <= period / FINENESS, "{second:?} for {period:?}");
        }
    }

    #[test]
    fn a_short_period_is_not_stretched_to_the_grid() {
        let period = milliseconds(16);
        assert_eq!(aligned(period, period, at(0)), period);
        assert_eq!(aligned(Duration::ZERO, Duration::ZERO, at(5)), Duration::ZERO);
    }

    #[test]
    fn the_first_questions_are_spread_over_the_period() {
        let keys = (0..1000).map(|key| fraction(&key.to_string()));
        let late = keys.filter(|fraction| *fraction > 0.5).count();
        assert!((400..600).contains(&late), "{late}");
    }
}
