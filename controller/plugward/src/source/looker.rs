//! How others reach a source that runs.

use plugward_runtime::Pulse;
use tokio::sync::{mpsc, oneshot};

/// Whoever is told that a look is done.
pub(super) type Asker = oneshot::Sender<()>;

/// Reaches a source that runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Looker {
    pulse: Pulse,
    orders: mpsc::UnboundedSender<Asker>,
}

/// The source's end.
#[derive(Debug)]
pub(super) struct Orders {
    pulse: Pulse,
    orders: mpsc::UnboundedReceiver<Asker>,
}

pub(super) fn looker() -> (Looker, Orders) {
    let pulse = Pulse::default();
    let (asking, orders) = mpsc::unbounded_channel();
    (Looker { pulse: pulse.clone(), orders: asking }, Orders { pulse, orders })
}

// === impl Looker ===

impl Looker {
    /// The pulse of the source: a look that does not come back, as on a file system that hangs, stops it.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Has all manifest directories looked at now, and waits until nothing in them is changing and what was found is
    /// told. A removal needs a second look, as always, which follows by itself. Returns at once when the source has
    /// ended.
    pub async fn look(&self) {
        let (asker, done) = oneshot::channel();
        if self.orders.send(asker).is_ok() {
            let _ = done.await;
        }
    }
}

// === impl Orders ===

impl Orders {
    /// Waits for somebody who wants a look, and beats the pulse meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Nobody is forgotten when the future is dropped.
    pub(super) async fn next(&mut self) -> Asker {
        loop {
            tokio::select! {
                () = self.pulse.beat() => {}
                Some(asker) = self.orders.recv() => return asker,
            }
        }
    }

    /// Adds everybody else who wants one by now.
    pub(super) fn gather(&mut self, askers: &mut Vec<Asker>) {
        askers.extend(std::iter::from_fn(|| self.orders.try_recv().ok()));
    }
}
