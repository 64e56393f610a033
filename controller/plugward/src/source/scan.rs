//! From the file system to sightings: what every manifest directory holds at the moment.
//!
//! A scan reads names and stamps of all files, and the contents of those only whose stamp changed. It never
//! blocks on a FIFO or a device, never follows more than the system's own symlinks, and has no opinion: what a
//! sighting means is the [ledger](super::ledger)'s business.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plugward_api::manifest::Format;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxFlags, fstat, openat, statat, statx};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Document;
use super::path::{ManifestPath, is_manifest};
use super::problem::{DirectoryProblem, Problem};

#[cfg(test)]
mod tests;

/// A file that was changed less than this before it was read is read again by the next scan: file systems keep
/// times as coarse as 2 s (FAT), and a second change within the same tick would not change the stamp.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// Turns a manifest's bytes into records, or into everything that is wrong with them.
pub(crate) type Parser = Arc<dyn Fn(&[u8], Format) -> Result<Vec<Document>, Vec<Problem>> + Send + Sync>;

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

/// How one file is read.
struct Reader {
    limits: Limits,
    parser: Parser,
}

/// The bounds of reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A larger file is not read.
    pub(crate) bytes: u64,
    /// A file changed less than this ago is still being written, as far as we can tell.
    pub(crate) settle: Duration,
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

/// Tells a directory from another one that is found under the same path later: an empty mount point from the
/// directory that is usually mounted there.
///
/// The time of birth is in it because file systems reuse inode numbers; then the device is not, because many
/// devices are numbered anew at every mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Identity {
    /// On file systems that keep times of birth.
    Born { inode: u64, seconds: i64, nanoseconds: u32 },
    /// On others.
    OnDevice { inode: u64, device: u64 },
}

/// What was last read of a manifest.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Nothing when it was not read, but remembered by an earlier run.
    stamp: Option<Stamp>,
    /// Whether the file may have changed since without a new stamp.
    racy: bool,
    digest: [u8; 32],
}

/// Changes when a file's bytes do (but see [`COARSEST_CLOCK`]): taken of the file itself, behind all symlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
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
        let seen = Seen { stamp: None, racy: true, digest: Sha256::digest(text).into() };
        if let Some(directory) = self.directories.iter_mut().find(|directory| path.is_in(&directory.path)) {
            directory.seen.push((path.clone(), seen));
        }
    }

    /// Looks at everything once. `being_written` tells of which names a writer is known to be at work; such files
    /// are not read.
    pub(crate) fn scan(&mut self, being_written: &dyn Fn(&str) -> bool) -> Scan {
        let Self { directories, reader } = self;
        let directories = directories
            .iter_mut()
            .map(|directory| {
                let listing = match directory.read(reader, being_written) {
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
        being_written: &dyn Fn(&str) -> bool,
    ) -> Result<(Identity, BTreeMap<ManifestPath, Sight>), DirectoryProblem> {
        let directory = self.path.to_str().ok_or(DirectoryProblem::PathNotUtf8)?;
        // Everything below goes through this descriptor: what is read is what was identified, whatever is mounted
        // or renamed over the path meanwhile.
        let opened = openat(
            rustix::fs::CWD,
            directory,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| match error {
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
            let glance = if being_written(name) {
                Glance::BeingWritten
            } else {
                reader.glance(opened.as_fd(), name, path.format(), seen.as_ref())
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

// === impl Reader ===

/// What looking at one name gave.
enum Glance {
    /// It was listed, and is no longer there.
    Vanished,
    /// The stamp is the old one.
    Unchanged,
    /// It changed a moment ago.
    Unsettled,
    /// A writer has it open.
    BeingWritten,
    /// The system would not let us read it.
    CannotRead(Problem),
    /// It was read.
    Read(Seen, Sight),
}

/// Why no bytes were read.
enum Unread {
    /// The name or its target went away while we looked.
    Moving,
    /// The system's or our own refusal.
    Refused(Problem),
}

impl Reader {
    fn glance(&self, directory: BorrowedFd<'_>, name: &str, format: Format, seen: Option<&Seen>) -> Glance {
        let stat = match statat(directory, name, AtFlags::empty()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                return match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => Glance::Vanished,
                    _ => Glance::CannotRead(Problem::DanglingSymlink),
                };
            }
            Err(Errno::LOOP) => return Glance::CannotRead(Problem::SymlinkLoop),
            Err(error) => return Glance::CannotRead(Problem::unreadable("examine", error)),
        };
        if let Err(problem) = self.admit(&stat) {
            return Glance::CannotRead(problem);
        }
        let stamp = Stamp::of(&stat);
        if seen.is_some_and(|seen| seen.stamp == Some(stamp) && !seen.racy) {
            return Glance::Unchanged;
        }
        let now = SystemTime::now();
        let age = stamp.age(now);
        if age.is_some_and(|age| age < self.limits.settle) {
            return Glance::Unsettled;
        }
        let bytes = match self.read(directory, name, stamp) {
            Ok(bytes) => bytes,
            Err(Unread::Moving) => return Glance::Unsettled,
            Err(Unread::Refused(problem)) => return Glance::CannotRead(problem),
        };
        let read = Seen {
            stamp: Some(stamp),
            // A time in the future says nothing about what is to come.
            racy: age.is_none_or(|age| age < COARSEST_CLOCK),
            digest: Sha256::digest(&bytes).into(),
        };
        let sight = match seen {
            Some(seen) if seen.digest != read.digest => self.parse(&bytes, format),
            Some(Seen { stamp: Some(_), .. }) => Sight::Unchanged,
            Some(Seen { stamp: None, .. }) => Sight::AsRemembered,
            None => self.parse(&bytes, format),
        };
        Glance::Read(read, sight)
    }

    /// Refuses what must not be opened or is not worth it.
    fn admit(&self, stat: &Stat) -> Result<(), Problem> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                return if size > self.limits.bytes {
                    Err(Problem::TooLarge { size, limit: self.limits.bytes })
                } else {
                    Ok(())
                };
            }
            FileType::Directory => "a directory",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            FileType::CharacterDevice | FileType::BlockDevice => "a device",
            _ => "something else",
        };
        Err(Problem::NotAFile { kind })
    }

    /// Reads the file that had this stamp a moment ago, if it still has it before and after.
    fn read(&self, directory: BorrowedFd<'_>, name: &str, stamp: Stamp) -> Result<Vec<u8>, Unread> {
        // A FIFO that takes the file's place before it is opened must not block us: NONBLOCK. Nor may a terminal
        // become ours: NOCTTY.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(directory, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT | Errno::NXIO => Unread::Moving,
            error => Unread::Refused(Problem::unreadable("open", error)),
        })?;
        let unreadable = |error: io::Error| {
            Unread::Refused(Problem::Unreadable { operation: "read", error: error.to_string() })
        };
        let same = |opened: &File| match fstat(opened) {
            Ok(stat) if Stamp::of(&stat) == stamp => Ok(()),
            Ok(_) => Err(Unread::Moving),
            Err(error) => Err(Unread::Refused(Problem::unreadable("examine", error))),
        };
        let mut opened = File::from(opened);
        same(&opened)?;
        let mut bytes = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0));
        // The stamp keeps a growing file from being used; the limit keeps it from filling our memory.
        (&mut opened)
            .take(self.limits.bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        same(&opened)?;
        Ok(bytes)
    }

    fn parse(&self, bytes: &[u8], format: Format) -> Sight {
        // A parser that panics has met bytes that nobody foresaw. They concern this file alone.
        let parsed = panic::catch_unwind(AssertUnwindSafe(|| (self.parser)(bytes, format)));
        match (parsed, std::str::from_utf8(bytes)) {
            (Ok(Ok(documents)), Ok(text)) if !documents.is_empty() => {
                Sight::Usable { text: text.into(), documents }
            }
            (Ok(Err(problems)), _) if !problems.is_empty() => Sight::Unusable(problems),
            _ => Sight::Unusable(vec![Problem::ParserFailed]),
        }
    }
}

// === impl Identity ===

impl Identity {
    fn of(directory: &OwnedFd) -> rustix::io::Result<Self> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match statx(directory, "", AtFlags::EMPTY_PATH, wanted) {
            Ok(found) if found.stx_mask & StatxFlags::BTIME.bits() != 0 => Ok(Self::Born {
                inode: found.stx_ino,
                seconds: found.stx_btime.tv_sec,
                nanoseconds: found.stx_btime.tv_nsec,
            }),
            // A kernel or a sandbox without statx still has fstat.
            Ok(_) | Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                let found = fstat(directory)?;
                Ok(Self::OnDevice { inode: found.st_ino, device: found.st_dev })
            }
            Err(error) => Err(error),
        }
    }

    /// Of the directory that is at `path` now.
    pub(crate) fn at(path: &Path) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::of(&openat(rustix::fs::CWD, path, flags, Mode::empty())?)
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    /// How long before `now` the file changed; nothing when that is in the future.
    fn age(&self, now: SystemTime) -> Option<Duration> {
        let (seconds, nanoseconds) = self.modified.max(self.changed);
        let latest = SystemTime::UNIX_EPOCH
            .checked_add(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?))?;
        now.duration_since(latest).ok()
    }
}
