//! The state directory: what the controller must know again after it was ended at any instruction.
//!
//! ```text
//! STATE/            0700
//!   lock            held by the controller that uses the directory
//!   cluster.json    cluster id, and the key of spec hashes
//!   engines.json    engines that may hold containers of ours
//!   manifests/      the last good bytes of each manifest (crate::source)
//!   slots/INSTANCE/SLOT.json   what is remembered of a slot, with private keys
//!   status/KIND/NAME.json      the last status of a record
//! ```
//!
//! Each file has a version and is written as a whole ([`crate::atomic`]), with mode 0600. A slot's or status's
//! file that cannot be read is set aside with a warning: it costs that slot a restart, never the controller.
//! There is nothing here to back up: manifests say what is wanted, and the rest can be made again.

mod files;
mod identity;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use plugward_api::{InstanceStatus, Kind, Name, RuntimeStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::names::SlotName;
use crate::slot::{EngineRef, Slot};

pub use files::StateError;
pub use identity::Cluster;

/// The state directory. Clones share it.
///
/// Slots are kept in memory as they are on disk: [`State::save_slot`] changes both or neither.
#[derive(Debug, Clone)]
pub struct State {
    root: Arc<Path>,
    slots: Arc<Mutex<SlotTable>>,
}

type SlotTable = BTreeMap<Name, BTreeMap<SlotName, Arc<Slot>>>;

/// The statuses that an earlier controller left, by record.
#[derive(Debug, Default)]
pub struct Statuses {
    /// Of instances.
    pub instances: BTreeMap<Name, InstanceStatus>,
    /// Of runtimes.
    pub runtimes: BTreeMap<Name, RuntimeStatus>,
}

// === impl State ===

impl State {
    /// Opens the directory, and makes it if it is not there. The caller holds its lock.
    ///
    /// # Errors
    /// When the directory cannot be made or read, or belongs to another user.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        files::make_private(root)?;
        let slots_root = root.join("slots");
        files::make_private(&slots_root)?;
        for kind in [Kind::PluginInstance, Kind::PluginRuntime] {
            files::make_private(&status_directory(root, kind))?;
        }
        files::sweep(root)?;
        let mut slots = SlotTable::new();
        for (instance, directory) in files::named_entries::<Name>(&slots_root, "")? {
            files::sweep(&directory)?;
            let found: BTreeMap<SlotName, Arc<Slot>> = files::read_all(&directory)?;
            if !found.is_empty() {
                slots.insert(instance, found);
            }
        }
        Ok(Self { root: root.into(), slots: Arc::new(Mutex::new(slots)) })
    }

    /// The cluster id and hash key: those kept here, or new ones. `wanted` overrides the id.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds another id than the one wanted.
    pub fn cluster(&self, wanted: Option<&crate::names::ClusterId>) -> Result<Cluster, StateError> {
        identity::load_or_create(&self.root.join("cluster.json"), wanted)
    }

    /// Where the source keeps the last good manifests.
    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// The instances of which slots are remembered.
    pub fn instances(&self) -> Vec<Name> {
        self.lock().keys().cloned().collect()
    }

    /// What is remembered of an instance.
    pub fn slots(&self, instance: &Name) -> BTreeMap<SlotName, Arc<Slot>> {
        self.lock().get(instance).cloned().unwrap_or_default()
    }

    /// What is remembered of a slot; of an unknown one, nothing.
    pub fn slot(&self, instance: &Name, slot: &SlotName) -> Arc<Slot> {
        self.lock().get(instance).and_then(|slots| slots.get(slot)).cloned().unwrap_or_default()
    }

    /// Stores what is to be remembered of a slot. It survives a crash once this returns.
    ///
    /// # Errors
    /// When the file cannot be written; then the old one stands.
    pub async fn save_slot(&self, instance: &Name, name: &SlotName, slot: Slot) -> Result<(), StateError> {
        let directory = self.slot_directory(instance);
        let path = directory.join(format!("{name}.json"));
        let slot = files::off_thread(move || {
            files::make_private(&directory)?;
            files::write(&path, &slot)?;
            Ok(slot)
        })
        .await?;
        self.lock().entry(instance.clone()).or_default().insert(name.clone(), Arc::new(slot));
        Ok(())
    }

    /// Forgets a slot.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub async fn forget_slot(&self, instance: &Name, name: &SlotName) -> Result<(), StateError> {
        let directory = self.slot_directory(instance);
        let path = directory.join(format!("{name}.json"));
        files::off_thread(move || {
            files::remove(&path)?;
            files::remove(&files::aside(&path))?;
            files::remove_empty_directory(&directory)
        })
        .await?;
        let mut table = self.lock();
        if let Some(slots) = table.get_mut(instance) {
            slots.remove(name);
            if slots.is_empty() {
                table.remove(instance);
            }
        }
        Ok(())
    }

    /// The engines that may hold containers of ours.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn engines(&self) -> Result<Vec<EngineRef>, StateError> {
        Ok(files::read(&self.root.join("engines.json"))?.unwrap_or_default())
    }

    /// Stores which engines may hold containers of ours.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn save_engines(&self, engines: Vec<EngineRef>) -> Result<(), StateError> {
        let path = self.root.join("engines.json");
        files::off_thread(move || files::write(&path, &engines)).await
    }

    /// The statuses that an earlier controller left.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn statuses(&self) -> Result<Statuses, StateError> {
        Ok(Statuses {
            instances: self.read_statuses(Kind::PluginInstance)?,
            runtimes: self.read_statuses(Kind::PluginRuntime)?,
        })
    }

    /// Stores statuses, together: one flush of the disk for all.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_statuses<T: Serialize>(&self, kind: Kind, statuses: &[(Name, T)]) -> Result<(), StateError> {
        files::write_all(&status_directory(&self.root, kind), statuses)
    }

    /// Forgets the status of a record that is gone.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget_status(&self, kind: Kind, name: &Name) -> Result<(), StateError> {
        files::remove(&status_directory(&self.root, kind).join(format!("{name}.json")))
    }

    fn read_statuses<T: DeserializeOwned>(&self, kind: Kind) -> Result<BTreeMap<Name, T>, StateError> {
        let directory = status_directory(&self.root, kind);
        files::sweep(&directory)?;
        files::read_all(&directory)
    }

    fn slot_directory(&self, instance: &Name) -> PathBuf {
        self.root.join("slots").join(instance.as_str())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SlotTable> {
        // A panic elsewhere cannot leave the table half changed: each change is one insert or remove.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status_directory(root: &Path, kind: Kind) -> PathBuf {
    root.join("status").join(match kind {
        Kind::PluginInstance => "instances",
        Kind::PluginRuntime => "runtimes",
    })
}

#[cfg(test)]
mod tests;
