//! Conversations with plugins: from the handshake line to the end of the container.
//!
//! A reconcile must not wait for a plugin that takes a minute to start, so each container that runs has a task
//! of its own here. It reads the handshake line from the container's log (or takes the stored one), connects,
//! asks for health, and then drains the plugin's standard output and error and watches the connection. What it
//! finds is read by the next observation as a [`SessionSight`]; every change of it asks for a reconcile.
//!
//! A connection that ends is not yet a container that ends: the task connects again. Only what stays broken
//! for ten seconds is a failure, and the engine usually knows long before that the container is gone.
//! While it stands, the [gateway](crate::gateway) lets hosts to the plugin, and the [probe](crate::probe) asks whether it
//! still answers.

mod talk;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use plugward_api::Name;
use plugward_engine::{ContainerId, Engine};
use tokio::task::AbortHandle;
use tracing::Instrument;

use self::talk::Talk;
use crate::clock::Clock;
use crate::desired::Records;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::names::SlotName;
use crate::plan::{Place, SessionSight};
use crate::plugin::{Conversation, Plugins};
use crate::recipe::Recipe;
use crate::slot::StoredIdentity;
use crate::state::State;

/// Asks for a reconcile of an instance.
pub type Wake = Arc<dyn Fn(&Name) + Send + Sync>;

/// All conversations of the controller.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    plugins: Arc<dyn Plugins>,
    clock: Clock,
    wake: Wake,
    gateway: Gateway,
    state: State,
    records: Records,
    metrics: Metrics,
    table: Mutex<HashMap<Key, Entry>>,
}

/// A container on an engine, by the IDs of both.
type Key = (Arc<str>, ContainerId);

struct Entry {
    sight: SessionSight,
    conversation: Option<Arc<dyn Conversation>>,
    task: AbortHandle,
}

/// What a conversation is begun with.
pub struct Opening {
    /// Whose plugin it is.
    pub instance: Name,
    /// Its slot.
    pub slot: SlotName,
    /// The container.
    pub place: Place,
    /// Its engine.
    pub engine: Arc<dyn Engine>,
    /// The ID of its image.
    pub image: String,
    /// The number of its start.
    pub start: u64,
    /// What it is made from.
    pub recipe: Arc<Recipe>,
    /// The directory that it shares with us, on our side.
    pub directory: PathBuf,
    /// The group of that directory, where it matters.
    pub group: Option<u32>,
    /// With what we prove to the plugin who we are.
    pub identity: StoredIdentity,
    /// The plugin's handshake line, if it was read.
    pub handshake: Option<Arc<str>>,
    /// When it was first able to serve, if it was.
    pub ready_at: Option<Timestamp>,
}

// === impl Sessions ===

impl Sessions {
    /// None yet. `wake` is called at every change.
    pub fn new(
        plugins: Arc<dyn Plugins>,
        gateway: Gateway,
        state: State,
        records: Records,
        metrics: Metrics,
        clock: Clock,
        wake: Wake,
    ) -> Self {
        let table = Mutex::default();
        Self { shared: Arc::new(Shared { plugins, clock, wake, gateway, state, records, metrics, table }) }
    }

    /// Begins a conversation, unless there is one with that container.
    pub fn begin(&self, opening: Opening) {
        let key = key(&opening.place);
        let mut table = self.shared.lock();
        if table.contains_key(&key) {
            return;
        }
        // Of no parent: a conversation outlives the reconcile that begins it.
        let span = tracing::info_span!(
            parent: None, "session", instance = %opening.instance, container = %opening.place.name
        );
        let talk = Talk::new(self.shared.clone(), opening);
        let task = tokio::spawn(talk.run().instrument(span)).abort_handle();
        table.insert(key, Entry { sight: SessionSight::Connecting, conversation: None, task });
    }

    /// How the conversation with a container stands.
    pub fn sight(&self, engine: &Arc<str>, container: &ContainerId) -> SessionSight {
        let key = (engine.clone(), container.clone());
        self.shared.lock().get(&key).map_or(SessionSight::None, |entry| entry.sight.clone())
    }

    /// The standing conversation with a container.
    pub fn conversation(&self, place: &Place) -> Option<Arc<dyn Conversation>> {
        self.shared.lock().get(&key(place)).and_then(|entry| entry.conversation.clone())
    }

    /// Ends the conversation with a container that is gone.
    pub fn end(&self, place: &Place) {
        if let Some(entry) = self.shared.lock().remove(&key(place)) {
            entry.task.abort();
        }
        self.shared.gateway.down(place);
    }

    /// Ends all conversations. The plugins run on.
    pub fn end_all(&self) {
        for (_, entry) in self.shared.lock().drain() {
            entry.task.abort();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        // Each change is one insert, remove or assignment: a panic cannot leave one half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(place: &Place) -> Key {
    (place.engine.id.clone(), place.id.clone())
}
