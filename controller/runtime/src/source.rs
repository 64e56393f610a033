//! Sources: they follow something and tell a store, for ever.

use std::convert::Infallible;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use crate::backoff::Backoff;
use crate::chain::chain;
use crate::watch::WatchEvent;

#[cfg(test)]
mod tests;

/// How a source is followed.
#[derive(Debug, Clone)]
pub struct Follow {
    /// What the source is called in logs.
    pub name: String,
    /// How long to wait before connecting again.
    pub backoff: Backoff,
    /// A connection that is up for this time after its listing was complete makes the backoff start anew.
    pub reset_after: Duration,
    /// What the jitter is drawn from; `None` for another one each time.
    pub seed: Option<u64>,
}

/// Why a source is to be connected again.
#[derive(Debug, PartialEq, Eq)]
pub enum Interruption<E> {
    /// It failed, or could not be connected.
    Failed(E),
    /// It ended without an error.
    Ended,
    /// It panicked.
    Panicked,
}

impl Follow {
    /// Follows a source for ever: opens it, passes its events on, and when it fails, ends or panics waits and
    /// opens it again.
    ///
    /// Follow each source in a task of its own: then one that fails holds up no other. A stream that was opened
    /// starts with [`WatchEvent::Init`]; connecting is part of the stream, and its failure the first item.
    ///
    /// `apply` gets the events: it stores first and triggers second, by asking for the keys that
    /// [`Writer::apply`](crate::Writer::apply) returns.
    ///
    /// `interrupted` hears of each interruption and of the wait that follows; it is logged already.
    pub async fn run<K, V, E, S>(
        self,
        mut open: impl FnMut() -> S,
        mut apply: impl FnMut(WatchEvent<K, V>),
        mut interrupted: impl FnMut(&Interruption<E>, Duration),
    ) -> Infallible
    where
        E: Error + 'static,
        S: Stream<Item = Result<WatchEvent<K, V>, E>>,
    {
        let mut jitter = SmallRng::seed_from_u64(self.seed.unwrap_or_else(rand::random));
        let mut attempt = 0;
        loop {
            let mut listed = None;
            let connection = async {
                let mut events = pin!(open());
                while let Some(event) = events.next().await.transpose()? {
                    if matches!(event, WatchEvent::InitDone) {
                        listed = Some(Instant::now());
                    }
                    apply(event);
                }
                Ok(())
            };
            // Nothing of a connection that panicked is used again: the next one begins with a listing.
            let interruption = match AssertUnwindSafe(connection).catch_unwind().await {
                Ok(Ok(())) => Interruption::Ended,
                Ok(Err(error)) => Interruption::Failed(error),
                Err(_) => Interruption::Panicked,
            };
            if listed.is_some_and(|at| at.elapsed() >= self.reset_after) {
                attempt = 0;
            }
            let delay = self.backoff.delay(attempt, jitter.random());
            attempt = attempt.saturating_add(1);
            let source = self.name.as_str();
            match &interruption {
                Interruption::Failed(error) => {
                    warn!(source, error = %chain(error), retry_in = ?delay, "source failed");
                }
                Interruption::Ended => warn!(source, retry_in = ?delay, "source ended"),
                Interruption::Panicked => error!(source, retry_in = ?delay, "source panicked"),
            }
            interrupted(&interruption, delay);
            sleep(delay).await;
        }
    }
}
