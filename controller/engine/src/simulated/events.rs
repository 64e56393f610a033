//! The engine's events: a short memory and listeners that may be too slow.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::event::{Event, EventKind};

/// How many old events an engine remembers (moby, `daemon/events/events.go`).
const REMEMBERED: usize = 256;

/// How many events may wait for one listener before it loses some (the same file).
const WAITING: usize = 1024;

/// Who hears what.
#[derive(Debug, Default)]
pub(super) struct Events {
    ring: VecDeque<Event>,
    listeners: Vec<Listener>,
    lost: u64,
}

#[derive(Debug)]
struct Listener {
    labels: BTreeMap<String, String>,
    sender: mpsc::Sender<Event>,
}

impl Events {
    pub(super) fn remember(&mut self, event: Event) {
        if self.ring.len() == REMEMBERED {
            self.ring.pop_front();
        }
        self.ring.push_back(event);
    }

    /// Tells those who listen now.
    pub(super) fn tell(&mut self, event: &Event) {
        let lost = &mut self.lost;
        self.listeners.retain(|listener| {
            if !listener.wants(event) {
                return !listener.sender.is_closed();
            }
            match listener.sender.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    *lost += 1;
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }

    /// A new listener, who hears first what is remembered from `since` on.
    pub(super) fn listen(
        &mut self,
        labels: &BTreeMap<String, String>,
        since: Timestamp,
    ) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let listener = Listener { labels: labels.clone(), sender };
        for event in self.ring.iter().filter(|event| event.at >= since && listener.wants(event)) {
            // The channel is empty and larger than the ring.
            let _ = listener.sender.try_send(event.clone());
        }
        self.listeners.push(listener);
        receiver
    }

    /// The engine ends: streams end, and nothing is remembered.
    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.listeners.clear();
    }

    /// How many events slow listeners have lost.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }
}

impl Listener {
    fn wants(&self, event: &Event) -> bool {
        match &event.kind {
            EventKind::Container { labels, .. } => {
                self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            }
            EventKind::Image { .. } => true,
        }
    }
}
