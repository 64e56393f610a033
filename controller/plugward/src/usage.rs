//! What plugins' containers use of their machines, asked of engines while somebody looks.
//!
//! An engine measures a container whenever it is asked, which costs it some milliseconds: of ten thousand that is much. So none is
//! asked about while nobody reads metrics, and not more often than once in a period. What is shown is of the look before: the
//! first shows nothing yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use plugward_engine::Usage;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::engines::Engines;
use crate::state::State;

/// Containers that are asked about at once.
const AT_ONCE: usize = 4;

/// What was found is not shown any more when nobody has looked for so many periods: it would be of another time.
const PERIODS_KEPT: u32 = 4;

/// What is known of containers' usage. Clones share it.
#[derive(Debug, Clone)]
pub struct Usages {
    /// `None` when it is not to be known.
    period: Option<Duration>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    found: Mutex<Arc<Found>>,
    looked: Notify,
}

/// What each container used, by its name: no two of a controller have one.
pub type Found = HashMap<String, Usage>;

// === impl Usages ===

impl Usages {
    /// Nothing is known yet. Engines are asked not more often than once in a `period`; never, if there is none.
    pub fn new(period: Option<Duration>) -> Self {
        Self { period, shared: Arc::default() }
    }

    /// What was found last. Somebody looks at it, so it will be found anew.
    pub fn look(&self) -> Arc<Found> {
        self.shared.looked.notify_one();
        self.shared.lock().clone()
    }

    /// Asks engines whenever somebody looks, for ever.
    pub async fn keep(self, state: State, engines: Engines) {
        let Some(period) = self.period else { return std::future::pending().await };
        let Shared { looked, .. } = &*self.shared;
        loop {
            if timeout(period * PERIODS_KEPT, looked.notified()).await.is_err() {
                *self.shared.lock() = Arc::default();
                looked.notified().await;
            }
            let next = Instant::now() + period;
            *self.shared.lock() = Arc::new(find(&state, &engines).await);
            sleep_until(next).await;
        }
    }
}

/// Asks about all containers. Those whose engine does not say are left out.
async fn find(state: &State, engines: &Engines) -> Found {
    let found = stream::iter(state.all_slots()).map(async |(_, _, slot)| {
        let start = slot.held()?;
        let engine = engines.engine(&start.engine.id)?;
        let usage = engine.stats(&start.container).await;
        if let Err(error) = &usage {
            tracing::debug!(container = start.container, %error, "what a container uses is not known");
        }
        Some((start.container.clone(), usage.ok()??))
    });
    found.buffer_unordered(AT_ONCE).filter_map(async |found| found).collect().await
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Arc<Found>> {
        // Each change is one assignment.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
