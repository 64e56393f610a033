//! How one manifest is read: only when it changed, never half written, and without ever waiting for what is no file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::BorrowedFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plugward_api::manifest::Format;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::{Sight, Writer};
use crate::source::Document;
use crate::source::problem::Problem;

/// A file that was changed less than this before it was read is read again by the next scan: file systems keep
/// times as coarse as 2 s (FAT), and a second change within the same tick would not change the stamp.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// Turns a manifest's bytes into records, or into everything that is wrong with them.
pub(crate) type Parser = Arc<dyn Fn(&[u8], Format) -> Result<Vec<Document>, Vec<Problem>> + Send + Sync>;

/// How one file is read.
pub(super) struct Reader {
    pub(super) limits: Limits,
    pub(super) parser: Parser,
}

/// The bounds of reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A larger file is not read.
    pub(crate) bytes: u64,
    /// A file changed less than this ago is still being written, as far as we can tell, unless its writer is known to be done.
    pub(crate) settle: Duration,
}

/// What looking at one name gave.
pub(super) enum Glance {
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
pub(super) enum Unread {
    /// The name or its target went away while we looked.
    Moving,
    /// The system's or our own refusal.
    Refused(Problem),
}

/// What was last read of a manifest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Nothing when it was not read, but remembered by an earlier run.
    pub(super) stamp: Option<Stamp>,
    /// Whether the file may have changed since without a new stamp.
    pub(super) racy: bool,
    pub(super) digest: [u8; 32],
}

/// Changes when a file's bytes do (but see [`COARSEST_CLOCK`]): taken of the file itself, behind all symlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

// === impl Reader ===

impl Reader {
    pub(super) fn glance(
        &self,
        directory: BorrowedFd<'_>,
        name: &str,
        format: Format,
        seen: Option<&Seen>,
        writer: Writer,
    ) -> Glance {
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
        if writer != Writer::Done && age.is_some_and(|age| age < self.limits.settle) {
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
    pub(super) fn read(
        &self,
        directory: BorrowedFd<'_>,
        name: &str,
        stamp: Stamp,
    ) -> Result<Vec<u8>, Unread> {
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

// === impl Seen ===

impl Seen {
    /// Of a file that an earlier run read.
    pub(super) fn remembered(text: &str) -> Self {
        Self { stamp: None, racy: true, digest: Sha256::digest(text).into() }
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
