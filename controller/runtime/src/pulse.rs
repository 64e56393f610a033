//! Whether a loop still comes round.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

#[cfg(test)]
mod tests;

/// The pulse of a loop: the loop [beats](Self::beat), and others [feel](Self::felt) it. Clones are the same pulse.
///
/// A loop that is not asked does nothing for it, and a loop that is held up does not answer: nobody answers in its place.
#[derive(Debug, Clone)]
pub struct Pulse {
    asked: Arc<Notify>,
    beats: watch::Sender<u64>,
}

// === impl Pulse ===

impl Pulse {
    /// Waits until the loop has come round once from now on. That never happens when it is held up, or has ended.
    pub async fn felt(&self) {
        let mut beats = self.beats.subscribe();
        self.asked.notify_one();
        // We hold the sender, so there is no other end than a beat.
        let _ = beats.changed().await;
    }

    /// For the loop itself, as one of the things it waits for: waits until somebody asks, and answers.
    ///
    /// # Cancel safety
    ///
    /// A question that is not answered here is answered by the next call.
    pub async fn beat(&self) {
        self.asked.notified().await;
        self.beats.send_modify(|beats| *beats = beats.wrapping_add(1));
    }
}

impl Default for Pulse {
    /// Of a loop that was not asked yet.
    fn default() -> Self {
        Self { asked: Arc::default(), beats: watch::Sender::new(0) }
    }
}
