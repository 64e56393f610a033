//! The last known state of one kind of object: one writer, many readers.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::watch::WatchEvent;

#[cfg(test)]
mod tests;

/// Makes an empty store, not ready yet.
pub fn store<K, V>() -> (Writer<K, V>, Store<K, V>) {
    let objects = Arc::new(Objects { map: RwLock::new(BTreeMap::new()), version: AtomicU64::new(0) });
    let (latch, ready) = watch::channel(false);
    (Writer { objects: Arc::clone(&objects), listing: None, latch }, Store { objects, ready })
}

/// The writing half: there is exactly one, held by the source that fills the store.
#[derive(Debug)]
pub struct Writer<K, V> {
    objects: Arc<Objects<K, V>>,
    /// What the listing under way has shown so far. Readers do not see it.
    listing: Option<BTreeMap<K, Arc<V>>>,
    latch: watch::Sender<bool>,
}

/// The reading half, cheap to clone. What it gives out is a value of its own: a reader that keeps one holds
/// nobody up.
#[derive(Debug)]
pub struct Store<K, V> {
    objects: Arc<Objects<K, V>>,
    ready: watch::Receiver<bool>,
}

/// The writer was dropped before the store had been filled once: it never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source stopped before it had listed its objects")]
pub struct WriterDropped;

#[derive(Debug)]
struct Objects<K, V> {
    map: RwLock<BTreeMap<K, Arc<V>>>,
    version: AtomicU64,
}

// === impl Writer ===

impl<K: Ord + Clone, V: PartialEq> Writer<K, V> {
    /// Takes in one step of the watch and returns the keys whose object is another one now: applied with a
    /// different value, deleted, or missing from a listing that is complete now. Each key once, in order.
    ///
    /// Readers see the change before this returns, so whoever is called for one of these keys finds it.
    ///
    /// An object of a listing that was never begun counts as a change of its own. The end of such a listing
    /// counts as nothing: it must not make everything vanish.
    #[must_use = "a change that triggers nothing is lost"]
    pub fn apply(&mut self, event: WatchEvent<K, V>) -> Vec<K> {
        match event {
            WatchEvent::Init => {
                self.listing = Some(BTreeMap::new());
                Vec::new()
            }
            WatchEvent::InitApply(key, value) => match &mut self.listing {
                Some(listing) => {
                    listing.insert(key, Arc::new(value));
                    Vec::new()
                }
                None => self.insert(key, Arc::new(value)),
            },
            WatchEvent::InitDone => match self.listing.take() {
                Some(listing) => self.replace(listing),
                None => Vec::new(),
            },
            WatchEvent::Apply(key, value) => {
                let value = Arc::new(value);
                if let Some(listing) = &mut self.listing {
                    listing.insert(key.clone(), Arc::clone(&value));
                }
                self.insert(key, value)
            }
            WatchEvent::Delete(key) => {
                if let Some(listing) = &mut self.listing {
                    listing.remove(&key);
                }
                let gone = self.objects.write().remove(&key);
                gone.map(|_| key).into_iter().collect()
            }
        }
    }

    fn insert(&self, key: K, value: Arc<V>) -> Vec<K> {
        if self.objects.read().get(&key) == Some(&value) {
            return Vec::new();
        }
        // The old value is freed after the lock.
        let _old = self.objects.write().insert(key.clone(), value);
        vec![key]
    }

    /// Makes the listing the state, in one step for readers, and then opens the latch.
    fn replace(&self, mut listing: BTreeMap<K, Arc<V>>) -> Vec<K> {
        // Nobody else writes, so what is compared here is what is replaced below.
        let changed = {
            let objects = self.objects.read();
            let gone = objects.keys().filter(|key| !listing.contains_key(key)).cloned();
            let mut changed: Vec<K> = gone.collect();
            for (key, new) in &mut listing {
                match objects.get(key) {
                    // Readers who compare by pointer see that nothing happened.
                    Some(old) if old == new => *new = Arc::clone(old),
                    _ => changed.push(key.clone()),
                }
            }
            changed.sort_unstable();
            changed
        };
        let _old = mem::replace(&mut *self.objects.write(), listing);
        self.latch.send_replace(true);
        changed
    }
}

// === impl Store ===

impl<K: Ord + Clone, V> Store<K, V> {
    /// Waits until the store has been filled once.
    ///
    /// # Errors
    ///
    /// When the writer is dropped before that.
    pub async fn ready(&self) -> Result<(), WriterDropped> {
        let mut ready = self.ready.clone();
        ready.wait_for(|ready| *ready).await.map(drop).map_err(|_| WriterDropped)
    }

    /// Whether the store has been filled once.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Grows with every change: while it is the same, so is all that is here. For those who ask for one object again and again.
    pub fn version(&self) -> u64 {
        self.objects.version.load(Ordering::Acquire)
    }

    /// The object of this key, as it was last known.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.objects.read().get(key).cloned()
    }

    /// All objects as they were known at one moment, in the order of their keys.
    pub fn snapshot(&self) -> Vec<(K, Arc<V>)> {
        self.objects.read().iter().map(|(key, value)| (key.clone(), Arc::clone(value))).collect()
    }

    /// All keys at one moment, in their order.
    pub fn keys(&self) -> Vec<K> {
        self.objects.read().keys().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.read().len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.read().is_empty()
    }
}

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        Self { objects: Arc::clone(&self.objects), ready: self.ready.clone() }
    }
}

// === impl Objects ===

/// A lock is poisoned when a key's `Ord` or a value's `PartialEq` panics: the map is whole even then.
impl<K, V> Objects<K, V> {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<K, Arc<V>>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change them, before anybody can read them again.
    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<K, Arc<V>>> {
        let map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        self.version.fetch_add(1, Ordering::Release);
        map
    }
}
