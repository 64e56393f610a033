//! The table of one direction of one connection (RFC 7541, 2.3.2 and 4).

use std::collections::VecDeque;

use super::FIELD_OVERHEAD;

/// Fields by age. Its size, counted with 32 octets for each, is never above its maximum.
pub(super) struct DynamicTable {
    /// Names and values, oldest first, after octets of evicted entries. Never more than twice the maximum, so that moving the
    /// live ones to the front costs no more than it cost to bring them.
    octets: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
}

struct Entry {
    /// Where the name begins in `octets`. The value follows it.
    start: usize,
    name_len: usize,
    value_len: usize,
}

impl DynamicTable {
    /// An empty table. It takes no memory before the first entry.
    pub(super) const fn new(max_size: usize) -> Self {
        Self { octets: Vec::new(), entries: VecDeque::new(), size: 0, max_size }
    }

    /// The name and the value of an entry, 0 being the newest.
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(self.entries.len().checked_sub(age + 1)?)?;
        let octets = &self.octets[entry.start..][..entry.name_len + entry.value_len];
        Some(octets.split_at(entry.name_len))
    }

    /// Adds an entry, and evicts the oldest for which there is no room. One that is larger than the table empties it.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let len = name.len() + value.len();
        let size = len + FIELD_OVERHEAD;
        self.evict_to(self.max_size.saturating_sub(size));
        if size > self.max_size {
            return;
        }
        if self.octets.len() + len > self.max_size.saturating_mul(2) {
            self.reclaim();
        }
        self.entries.push_back(Entry {
            start: self.octets.len(),
            name_len: name.len(),
            value_len: value.len(),
        });
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        self.size += size;
    }

    /// Sets the maximum, and evicts the oldest entries that are too many. Memory is kept.
    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict_to(max_size);
    }

    /// Gives back the memory that a table of this maximum does not need.
    pub(super) fn shrink(&mut self) {
        self.reclaim();
        self.octets.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    pub(super) const fn max_size(&self) -> usize {
        self.max_size
    }

    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The octets of memory it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.octets.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.name_len + entry.value_len + FIELD_OVERHEAD;
        }
    }

    /// Drops the octets of evicted entries.
    fn reclaim(&mut self) {
        let evicted = self.entries.front().map_or(self.octets.len(), |oldest| oldest.start);
        self.octets.drain(..evicted);
        for entry in &mut self.entries {
            entry.start -= evicted;
        }
    }
}
