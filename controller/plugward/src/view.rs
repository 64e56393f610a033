//! What may be looked at of a controller that runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plugward_api::manifest::Rules;
use plugward_api::{Kind, Name, PluginSession};
use plugward_runtime::{Pulse, Queue};
use tokio::sync::watch;

use crate::attach::{self, Roster};
use crate::desired::Records;
use crate::engines::Engines;
use crate::gateway::Gateway;
use crate::metrics::{Held, Metrics, Scrape};
use crate::names::ClusterId;
use crate::reason::Reason;
use crate::source::{Looker, Reports};
use crate::state::State;
use crate::status::Book;
use crate::usage::Usages;

/// The parts of a controller that others may look at. Clones are cheap.
#[derive(Clone)]
pub struct View {
    /// Whose containers the controller's are.
    pub cluster: ClusterId,
    /// What is declared.
    pub records: Records,
    /// How the manifests stand.
    pub reports: Reports,
    /// What reads them.
    pub looker: Looker,
    /// Statuses.
    pub book: Book,
    /// Engines.
    pub engines: Engines,
    /// What is remembered.
    pub state: State,
    /// What waits to be done.
    pub queue: Queue<Name, Reason>,
    /// What hosts speak to.
    pub gateway: Gateway,
    /// Hosts that attached to plugins.
    pub roster: Roster,
    /// What containers use.
    pub usages: Usages,
    /// What is counted.
    pub metrics: Metrics,
    /// What manifests are held to.
    pub rules: Rules,
    /// Where manifests are put by those who may: the first directory that was named.
    pub manifests: Arc<Path>,
    /// Whether everything was looked at once.
    pub(crate) synced: watch::Sender<bool>,
    /// Whether all plugins are to be stopped.
    pub(crate) draining: Arc<AtomicBool>,
}

// === impl View ===

impl View {
    /// Whether everything that was there at the start has been looked at once.
    pub fn synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until that is so.
    pub async fn first_sync(&self) {
        // We hold the sender, so there is no other end than this one.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// The loops without which nothing is done any more, each with its name and its pulse.
    pub fn pulses(&self) -> [(&'static str, Pulse); 2] {
        [("manifests", self.looker.pulse()), ("reconcile", self.queue.pulse())]
    }

    /// What is declared, in a line.
    pub fn standing(&self) -> String {
        let runtimes = self.records.keys().iter().filter(|key| key.kind == Kind::PluginRuntime).count();
        let instances = self.records.len().saturating_sub(runtimes);
        let bad = match self.reports.read().bad_files().count() {
            0 => String::new(),
            bad => format!(", {} cannot be used: see `plugward status`", some(bad, "manifest")),
        };
        format!("{} and {} in force{bad}", some(runtimes, "runtime"), some(instances, "instance"))
    }

    /// The hosts that attached to plugins, the first that came first.
    pub fn sessions(&self) -> Vec<PluginSession> {
        let mut sessions = attach::objects(self);
        sessions.sort_by(|one, other| {
            let since = |session: &PluginSession| session.metadata.creation_timestamp;
            since(one).cmp(&since(other)).then_with(|| one.metadata.name.cmp(&other.metadata.name))
        });
        sessions
    }

    /// Whether some engine answers, or none is needed.
    pub fn engines_answer(&self) -> bool {
        self.engines.statuses().is_empty() || !self.engines.live().is_empty()
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When a series cannot be written: a mistake in the metrics' own code.
    pub fn render_metrics(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.metrics.render(&Scrape {
            queue: self.queue.depth(),
            instances: self.book.standings(),
            containers: self.containers(),
            mounts: self.gateway.traffic(),
        })
    }

    fn containers(&self) -> Vec<Held> {
        let found = self.usages.look();
        let containers = self.state.all_slots().into_iter().filter_map(|(instance, slot, stored)| {
            let usage = found.get(&stored.held()?.container).copied();
            Some(Held { instance, slot, stored, usage })
        });
        containers.collect()
    }

    /// Stops all plugins as if their records were gone, and waits until nothing of them is left.
    pub async fn drain(&self) {
        const POLL: Duration = Duration::from_millis(50);
        self.draining.store(true, Ordering::Release);
        self.roster.end_all();
        loop {
            let left = self.state.instances();
            if left.is_empty() {
                return;
            }
            for instance in left {
                self.queue.add(instance, Reason::Record);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn some(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
