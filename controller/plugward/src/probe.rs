//! Whether a plugin still answers: a process that hangs gives no other sign.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use plugward_api::instance::Probe;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::plugin::Conversation;

/// A plugin that does not answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresponsive {
    /// Since when.
    pub since: Timestamp,
    /// What came of the last question.
    pub message: String,
}

/// Asks a plugin for its health until it fails too often in a row. `settings` are asked for each time, so that an edit takes
/// effect with the next question. `key` spreads the first questions of many plugins over the period.
pub async fn probe(
    conversation: &dyn Conversation,
    settings: impl Fn() -> Probe,
    key: &str,
    clock: Clock,
) -> Unresponsive {
    let Err(unresponsive) = ask_on(conversation, settings, key, clock).await;
    unresponsive
}

async fn ask_on(
    conversation: &dyn Conversation,
    settings: impl Fn() -> Probe,
    key: &str,
    clock: Clock,
) -> Result<Infallible, Unresponsive> {
    sleep(settings().period.get().mul_f64(fraction(key))).await;
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
        sleep(period.get()).await;
    }
}

/// A number from 0 to 1 that is always the same for a key.
fn fraction(key: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let [high, ..] = hasher.finish().to_be_bytes();
    f64::from(high) / f64::from(u8::MAX)
}
