//! The state directory: what the controller must know again after it was ended at any instruction.
//!
//! ```text
//! STATE/            0700
//!   lock            held by the controller that uses the directory
//!   cluster.json    cluster id, and the key of spec hashes
//!   engines.json    engines that may hold containers of ours
//!   images.json     what plugins said of themselves, by image
//!   priming.json    on which start's container hosts last primed a mount (never with what)
//!   renewals.json   how often somebody asked for new containers of an instance
//!   brokers.json    containers whose plugins' brokers were opened, and whether they were used
//!   manifests/      the last good bytes of each manifest (crate::source)
//!   slots/INSTANCE/SLOT.json   what is remembered of a slot, with private keys
//!   logs/INSTANCE/SLOT.json    the last lines of the slot's last container that is gone
//!   status/KIND/NAME.json      the last status of a record
//! ```
//!
//! Each file has a version and is written as a whole ([`crate::atomic`]), with mode 0600. A slot's or status's
//! file that cannot be read is set aside with a warning: it costs that slot a restart, never the controller.
//! There is nothing here to back up: manifests say what is wanted, and the rest can be made again.

mod files;
mod identity;
mod logs;
mod notes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use litemap::LiteMap;
use plugward_api::{InstanceStatus, Kind, Name, RuntimeStatus};
use plugward_engine::ContainerId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::notes::{Notes, Outlive};
use crate::gateway::Memory;
use crate::names::{MountName, SlotName};
use crate::parallel;
use crate::plan::Place;
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
    /// Whether the plugin of an image multiplexes.
    images: Notes<BTreeMap<String, bool>>,
    /// The number of the start on which a mount was last primed.
    priming: Notes<BTreeMap<Name, BTreeMap<MountName, u64>>>,
    /// How often somebody asked for new containers of an instance.
    renewals: Notes<BTreeMap<Name, u64>>,
    /// Containers whose plugin's broker was opened, by their IDs, and how far that went.
    brokers: Notes<BTreeMap<String, BrokerUse>>,
    /// The highest number of a start of each instance that was stored.
    counts: Arc<Mutex<BTreeMap<Name, u64>>>,
}

/// What was done with the broker of a container's plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BrokerUse {
    /// It was opened, and nothing was said over it.
    Opened,
    /// Something was.
    Used,
}

/// How many images are remembered; of more, some are asked again.
const IMAGES: usize = 1024;

/// The number of no start.
const NO_START: u64 = u64::MAX;

/// Most instances have one slot: hence the flat maps.
type SlotTable = BTreeMap<Name, LiteMap<SlotName, Arc<Slot>>>;

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
        files::make_private(&root.join("logs"))?;
        for kind in [Kind::PluginInstance, Kind::PluginRuntime] {
            files::make_private(&status_directory(root, kind))?;
        }
        files::sweep(root)?;
        let directories = files::named_entries::<Name>(&slots_root, "")?;
        let found = parallel::map(directories, |(instance, directory)| {
            files::sweep(&directory)?;
            Ok::<_, StateError>((instance, files::read_all(&directory)?))
        });
        let mut slots = SlotTable::new();
        for found in found {
            let (instance, found): (Name, BTreeMap<SlotName, Arc<Slot>>) = found?;
            if !found.is_empty() {
                slots.insert(instance, found.into_iter().collect());
            }
        }
        let latest = |slots: &LiteMap<_, Arc<Slot>>| slots.values().map(|slot| slot.starts).max();
        let counts =
            slots.iter().filter_map(|(instance, slots)| Some((instance.clone(), latest(slots)?))).collect();
        Ok(Self {
            root: root.into(),
            slots: Arc::new(Mutex::new(slots)),
            images: Notes::open(root.join("images.json"), Outlive::Process)?,
            priming: Notes::open(root.join("priming.json"), Outlive::Process)?,
            renewals: Notes::open(root.join("renewals.json"), Outlive::PowerCut)?,
            brokers: Notes::open(root.join("brokers.json"), Outlive::Process)?,
            counts: Arc::new(Mutex::new(counts)),
        })
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
        let table = self.lock();
        let slots = table.get(instance).into_iter().flat_map(LiteMap::iter);
        slots.map(|(name, slot)| (name.clone(), slot.clone())).collect()
    }

    /// What is remembered of all slots of all instances.
    pub fn all_slots(&self) -> Vec<(Name, SlotName, Arc<Slot>)> {
        let table = self.lock();
        let slots = table.iter().flat_map(|(instance, slots)| {
            slots.iter().map(|(name, slot)| (instance.clone(), name.clone(), slot.clone()))
        });
        slots.collect()
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
        if let Some(start) = slot.current.as_ref().filter(|start| !start.created)
            && self.slot(instance, name).current.as_ref().is_none_or(|known| known.at != start.at)
        {
            self.number_is_taken(instance, start.number);
        }
        let directory = self.slot_directory(instance);
        let path = directory.join(format!("{name}.json"));
        let slot = files::off_thread(move || {
            files::make_private(&directory)?;
            files::write(&path, &slot)?;
            Ok(slot)
        })
        .await?;
        self.count(instance, slot.starts);
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
        let forget_log = self.forgetting_log(instance, name);
        files::off_thread(move || {
            // Before the slot: a slot that is there still finds its log to forget.
            forget_log()?;
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

    /// Whether the plugin of an image, by its ID, multiplexes; `None` if it was never asked.
    pub fn multiplexes(&self, image: &str) -> Option<bool> {
        self.images.with(|images| images.get(image).copied())
    }

    /// Remembers what the plugin of an image said of itself.
    pub fn learn_multiplexes(&self, image: &str, multiplexes: bool) {
        self.images.change(|images| {
            if images.len() >= IMAGES && !images.contains_key(image) {
                images.pop_first();
            }
            images.insert(image.to_owned(), multiplexes) != Some(multiplexes)
        });
    }

    /// Remembers on which start a mount was primed; `None` if there is nothing more to know.
    fn note_primed(&self, instance: &Name, mount: &MountName, start: Option<u64>) {
        self.priming.change(|priming| {
            if let Some(start) = start {
                return priming.entry(instance.clone()).or_default().insert(mount.clone(), start)
                    != Some(start);
            }
            let Some(mounts) = priming.get_mut(instance) else { return false };
            let changed = mounts.remove(mount).is_some();
            if mounts.is_empty() {
                priming.remove(instance);
            }
            changed
        });
    }

    /// What was done with the broker of a container's plugin. `None` if nothing was.
    pub fn broker(&self, container: &ContainerId) -> Option<BrokerUse> {
        self.brokers.with(|brokers| brokers.get(container.as_str()).copied())
    }

    fn note_broker(&self, container: &ContainerId, what: BrokerUse) {
        self.brokers.change(|brokers| {
            let grows = brokers.get(container.as_str()).is_none_or(|before| *before < what);
            if grows {
                brokers.insert(container.as_str().to_owned(), what);
            }
            grows
        });
    }

    /// Forgets a container that is gone.
    pub fn forget_broker(&self, container: &ContainerId) {
        self.brokers.change(|brokers| brokers.remove(container.as_str()).is_some());
    }

    /// How often somebody asked for new containers of an instance.
    pub fn renewal(&self, instance: &Name) -> u64 {
        self.renewals.with(|renewals| renewals.get(instance).copied().unwrap_or_default())
    }

    /// Somebody asks for new containers of an instance: those of starts that are stored by now are to be replaced. It survives
    /// a crash once this returns, if it can be stored.
    pub fn renew(&self, instance: &Name) {
        // Starts may know of more, where the file was damaged.
        let slots = self.slots(instance);
        let starts = slots.values().flat_map(|slot| slot.current.iter().chain(slot.outgoing.as_deref()));
        let known = starts.map(|start| start.renewal).max().unwrap_or_default();
        self.renewals.change(|renewals| {
            let renewal = renewals.entry(instance.clone()).or_default();
            *renewal = known.max(*renewal) + 1;
            true
        });
    }

    /// Forgets what was asked for of an instance.
    pub fn forget_renewal(&self, instance: &Name) {
        self.renewals.change(|renewals| renewals.remove(instance).is_some());
    }

    /// The highest number that a start of an instance has had, as far as this controller knows: slots that are forgotten count.
    pub fn latest_start(&self, instance: &Name) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(instance).copied().unwrap_or_default()
    }

    fn count(&self, instance: &Name, starts: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(instance.clone()).or_default();
        *count = starts.max(*count);
    }

    /// A new start has this number, and was told nothing. An earlier one had it too, where a slot was forgotten: its memory was damaged,
    /// or its mounts moved away and came back.
    fn number_is_taken(&self, instance: &Name, number: u64) {
        self.priming.change(|priming| {
            let mounts = priming.get_mut(instance).into_iter().flat_map(BTreeMap::values_mut);
            let mistaken = mounts.filter(|start| **start == number);
            mistaken.map(|start| *start = NO_START).count() > 0
        });
    }

    /// Forgets what was primed of an instance.
    pub fn forget_priming(&self, instance: &Name) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
        self.priming.change(|priming| priming.remove(instance).is_some());
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

    fn read_statuses<T: DeserializeOwned + Send>(&self, kind: Kind) -> Result<BTreeMap<Name, T>, StateError> {
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

impl Memory for State {
    fn broker_opened(&self, place: &Place) {
        self.note_broker(&place.id, BrokerUse::Opened);
    }

    fn broker_used(&self, place: &Place) {
        self.note_broker(&place.id, BrokerUse::Used);
    }

    fn primed(&self, instance: &Name, mount: &MountName, start: u64) {
        self.note_primed(instance, mount, Some(start));
    }

    fn unprimed(&self, instance: &Name, mount: &MountName) {
        self.note_primed(instance, mount, None);
    }

    fn last_primed(&self, instance: &Name, mount: &MountName) -> Option<u64> {
        let noted = self.priming.with(|priming| priming.get(instance)?.get(mount).copied())?;
        let slots = self.slots(instance);
        let mut starts = slots.values().flat_map(|slot| slot.current.iter().chain(slot.outgoing.as_deref()));
        // One that is not remembered is gone, and its number may be given again.
        Some(if starts.any(|start| start.number == noted) { noted } else { NO_START })
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
