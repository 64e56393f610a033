//! Which directory is at a path.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fstat, openat, statx};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

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

// === impl Identity ===

impl Identity {
    pub(super) fn of(directory: &OwnedFd) -> rustix::io::Result<Self> {
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
