//! What a controller holds of the system.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use super::World;

/// What a controller holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its descriptors.
    pub files: usize,
    /// Sockets in its run directory: its own, mounts', plugins', and those of brokers on either side.
    pub sockets: usize,
    /// Of these, the ones at which hosts are offered what their plugins have.
    pub offered: usize,
    /// Its largest resident memory up to now, in bytes.
    pub peak_memory: u64,
}

/// By how much a controller's largest memory may grow, in bytes, while what comes goes again: 40 KiB for each of two hundred.
const MEMORY: u64 = 8 << 20;

impl Held {
    /// Whether the memory is what it was at a moment before, though much has come and gone since.
    pub fn has_memory_of(&self, before: &Self) -> bool {
        self.peak_memory <= before.peak_memory + MEMORY
    }
}

impl World {
    /// What the controller holds now.
    pub fn held(&self) -> Held {
        let (pid, peak_memory) = self.with_program(|program| (program.pid(), program.peak_memory()));
        Held {
            files: open_files(pid),
            sockets: files(&self.sockets()),
            offered: entries(&self.sockets().join("mounts/.broker")),
            peak_memory,
        }
    }
}

/// How many descriptors a process has.
pub fn open_files(pid: impl Display) -> usize {
    entries(Path::new(&format!("/proc/{pid}/fd")))
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

/// All that is no directory, in a directory and below. What goes meanwhile is not there.
fn files(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        _ => 1,
    };
    entries.flatten().map(of).sum()
}
