//! From the file system to sightings: what every manifest directory holds at the moment.
//!
//! A scan reads names and stamps of all files, and the contents of those only whose stamp changed. It never
//! blocks on a FIFO or a device, never follows more than the system's own symlinks, and has no opinion: what a
//! sighting means is the [ledger](super::ledger)'s business.

use std::collections::BTreeMap;
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use self::file::{Glance, Reader, Seen};
use super::Document;
use super::path::{ManifestPath, is_manifest};
use super::problem::{DirectoryProblem, Problem};

pub(crate) use self::file::{Limits, Parser};
pub(crate) use self::identity::Identity;

mod file;
mod identity;
#[cfg(test)]
mod tests;

/// Reads the configured directories, and remembers what it read so as not to read it twice.
pub(crate) struct Scanner {
    directories: Vec<Directory>,
    reader: Reader,
}

/// One directory and what was last read of its manifests, in the order of their names. A scan is one pass over both
/// orders: there may be ten thousand.
struct Directory {
    path: PathBuf,
    seen: Vec<(ManifestPath, Seen)>,
}

/// What the configured directories hold.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Every configured directory, by its path.
    pub(crate) directories: BTreeMap<PathBuf, Listing>,
}

/// What came of looking into a directory.
#[derive(Debug)]
pub(crate) enum Listing {
    /// It was read to its end.
    Read {
        /// Which directory was found at the path.
        identity: Identity,
        /// Its manifests.
        files: BTreeMap<ManifestPath, Sight>,
    },
    /// It was not, or not completely: nothing is known about its files.
    Unreadable(DirectoryProblem),
}

/// What came of looking at a manifest.
#[derive(Debug)]
pub(crate) enum Sight {
    /// It is as the scanner said last.
    Unchanged,
    /// It is as it was [remembered](Scanner::remember).
    AsRemembered,
    /// It changed a moment ago: it may be half written.
    Unsettled,
    /// A writer is known to have it open.
    BeingWritten,
    /// It holds records.
    Usable {
        /// Its text.
        text: Arc<str>,
        /// At least one.
        documents: Vec<Document>,
    },
    /// It holds nothing that can be used.
    Unusable(Vec<Problem>),
}

/// What is known of the one who writes a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// Nothing: the file's times have to tell.
    Unknown,
    /// The file was written to, and not closed since: it is not to be read.
    AtWork,
    /// The file was closed, or renamed to its place, and not written to since: it is whole, however young.
    Done,
}

// === impl Scanner ===

impl Scanner {
    pub(crate) fn new(directories: Vec<PathBuf>, limits: Limits, parser: Parser) -> Self {
        let directories = directories.into_iter().map(|path| Directory { path, seen: Vec::new() }).collect();
        Self { directories, reader: Reader { limits, parser } }
    }

    /// Lets the scanner know what a manifest held when the last run ended: when it still does, it need not be parsed.
    /// To be called before the first scan, in the order of the paths.
    pub(crate) fn remember(&mut self, path: &ManifestPath, text: &str) {
        if let Some(directory) = self.directories.iter_mut().find(|directory| path.is_in(&directory.path)) {
            directory.seen.push((path.clone(), Seen::remembered(text)));
        }
    }

    /// Looks at everything once. `writer` tells what is known of the writer of a name.
    pub(crate) fn scan(&mut self, writer: &dyn Fn(&str) -> Writer) -> Scan {
        let Self { directories, reader } = self;
        let directories = directories
            .iter_mut()
            .map(|directory| {
                let listing = match directory.read(reader, writer) {
                    Ok((identity, files)) => Listing::Read { identity, files },
                    Err(problem) => Listing::Unreadable(problem),
                };
                (directory.path.clone(), listing)
            })
            .collect();
        Scan { directories }
    }
}

// === impl Directory ===

impl Directory {
    fn read(
        &mut self,
        reader: &Reader,
        writer: &dyn Fn(&str) -> Writer,
    ) -> Result<(Identity, BTreeMap<ManifestPath, Sight>), DirectoryProblem> {
        let directory = self.path.to_str().ok_or(DirectoryProblem::PathNotUtf8)?;
        // Everything below goes through this descriptor: what is read is what was identified, whatever is mounted
        // or renamed over the path meanwhile.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, directory, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => DirectoryProblem::Missing,
            Errno::NOTDIR => DirectoryProblem::NotADirectory,
            error => DirectoryProblem::unreadable("open", error),
        })?;
        let identity =
            Identity::of(&opened).map_err(|error| DirectoryProblem::unreadable("examine", error))?;
        let names = names(&opened).map_err(|error| DirectoryProblem::unreadable("list", error))?;

        let mut files = Vec::with_capacity(names.len());
        let mut before = mem::take(&mut self.seen).into_iter().peekable();
        for name in names {
            let Ok(name) = std::str::from_utf8(&name) else {
                let path = ManifestPath::within(directory, &String::from_utf8_lossy(&name));
                files.push((path, Sight::Unusable(vec![Problem::PathNotUtf8])));
                continue;
            };
            while before.next_if(|(path, _)| path.name() < name).is_some() {}
            let (path, seen) = match before.next_if(|(path, _)| path.name() == name) {
                Some((path, seen)) => (path, Some(seen)),
                None => (ManifestPath::within(directory, name), None),
            };
            let glance = match writer(name) {
                Writer::AtWork => Glance::BeingWritten,
                known => reader.glance(opened.as_fd(), name, path.format(), seen.as_ref(), known),
            };
            let (seen, sight) = match glance {
                Glance::Vanished => continue,
                Glance::Unchanged => (seen, Sight::Unchanged),
                Glance::Unsettled => (seen, Sight::Unsettled),
                Glance::BeingWritten => (seen, Sight::BeingWritten),
                // To be tried again: what forbids reading need not change the file's stamp when it goes.
                Glance::CannotRead(problem) => (None, Sight::Unusable(vec![problem])),
                Glance::Read(seen, sight) => (Some(seen), sight),
            };
            self.seen.extend(seen.map(|seen| (path.clone(), seen)));
            files.push((path, sight));
        }
        Ok((identity, files.into_iter().collect()))
    }
}

/// The manifests' names in a directory, in order.
fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if is_manifest(name) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
