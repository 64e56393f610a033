//! Making, removing and finding these directories.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use plugward_engine::EngineUser;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, openat};
use rustix::io::Errno;

use super::{Sharing, acl};
use crate::failure::ReconcileError;
use crate::recipe::ContainerRecipe;
use crate::slot::Start;
use crate::state::State;

/// For its owner alone.
const PRIVATE: Mode = Mode::from_raw_mode(0o700);

/// For its owner and its group, which what is made in it inherits. All others may only pass, and on this machine cannot come to it:
/// gVisor connects to a socket in it with the user and the group of the plugin's process alone, and not with its other groups.
const SHARED: Mode = Mode::from_raw_mode(0o2771);

/// Why there is no directory.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// It cannot be made, opened or given away.
    #[error("cannot make the plugin's directory {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something of that name is there, and is not ours to share.
    #[error("{} belongs to the user {found}, and is not ours to share with a plugin", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        found: u32,
    },
    /// `rootless` needs what its file system does not have.
    #[error(
        "`rootless: true` needs POSIX ACLs, and the file system of {} has none: let engine.socketDirectory name a directory on one that has \
         (tmpfs, ext4, xfs, btrfs)",
        path.display()
    )]
    NoLists {
        /// The directory.
        path: PathBuf,
    },
}

/// A file in a shared directory by which somebody who sees it shows that. For everybody to read.
#[derive(Debug)]
pub struct Sign {
    /// The directory.
    pub directory: PathBuf,
    /// What the file holds.
    pub text: String,
}

/// Makes a private directory for `owner`, who is ourselves if it is nobody, where one of a recipe's containers would have it.
fn private(
    sharing: &Sharing,
    recipe: &ContainerRecipe,
    path: &Path,
    owner: Option<EngineUser>,
) -> Result<OwnedFd, MakeError> {
    let parent = path.parent().unwrap_or(path);
    let name = path.file_name().unwrap_or_default();
    let failed = |source: io::Error| MakeError::Directory { path: path.to_owned(), source };
    let parent = match &recipe.socket_directory {
        None => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
            open(CWD, parent.as_os_str(), OFlags::empty()).map_err(failed)?
        }
        Some(base) => {
            let opened = open(CWD, base.as_os_str(), OFlags::empty()).map_err(failed)?;
            let found = fstat(&opened).map_err(|errno| failed(errno.into()))?.st_uid;
            // It was looked at before, by its name.
            if found != owner.map_or(sharing.user, |owner| owner.uid) && (owner.is_some() || found != 0) {
                return Err(MakeError::Foreign { path: base.clone(), found });
            }
            inside(sharing, &opened, OsStr::new(&sharing.own_name()), parent, owner)?
        }
    };
    inside(sharing, &parent, name, path, owner)
}

/// Makes a directory with a sign in it.
pub(super) fn show_sign(
    sharing: &Sharing,
    recipe: &ContainerRecipe,
    path: PathBuf,
    owner: Option<EngineUser>,
) -> Result<Sign, MakeError> {
    const TO_READ: Mode = Mode::from_raw_mode(0o644);
    let directory = private(sharing, recipe, &path, owner)?;
    let text = format!("{:032x}", rand::random::<u128>());
    let written = || {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&directory, Sign::NAME, flags, TO_READ)?;
        // Whatever the mask is: a rootless engine reads it as another user.
        fchmod(&file, TO_READ)?;
        std::fs::File::from(file).write_all(text.as_bytes())
    };
    match written() {
        Ok(()) => Ok(Sign { directory: path, text }),
        Err(source) => Err(MakeError::Directory { path, source }),
    }
}

// === impl Sign ===

impl Sign {
    /// The name of the file.
    pub const NAME: &str = "sign";

    /// Removes it and its directory.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn take_down(self) -> Result<(), ReconcileError> {
        remove_directory(&self.directory)
    }
}

/// Makes the directory of a start for `owner`, who is ourselves if it is nobody.
pub(super) fn make(sharing: &Sharing, start: &Start, owner: Option<EngineUser>) -> Result<(), MakeError> {
    let path = &start.directory;
    let failed = |source: io::Error| MakeError::Directory { path: path.clone(), source };
    let directory = private(sharing, &start.recipe.container, path, owner)?;
    if let Some(group) = start.group {
        fchown(&directory, None, Some(Gid::from_raw(group))).map_err(|errno| failed(errno.into()))?;
        fchmod(&directory, SHARED).map_err(|errno| failed(errno.into()))?;
    }
    if start.recipe.container.rootless {
        acl::give_to(&directory, sharing.user).map_err(|source| {
            if Errno::from_io_error(&source) == Some(Errno::OPNOTSUPP) {
                MakeError::NoLists { path: path.clone() }
            } else {
                failed(source)
            }
        })?;
    }
    Ok(())
}

/// Makes and opens a private directory in another one, for `owner`. `path` is where it is.
fn inside(
    sharing: &Sharing,
    parent: &OwnedFd,
    name: &OsStr,
    path: &Path,
    owner: Option<EngineUser>,
) -> Result<OwnedFd, MakeError> {
    let failed = |errno: Errno| MakeError::Directory { path: path.to_owned(), source: errno.into() };
    match mkdirat(parent, name, PRIVATE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let directory = open(parent, name, OFlags::NOFOLLOW)
        .map_err(|source| MakeError::Directory { path: path.to_owned(), source })?;
    let found = fstat(&directory).map_err(failed)?.st_uid;
    match owner {
        Some(owner) if found == owner.uid => {}
        Some(owner) if found == sharing.user => {
            fchown(&directory, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                .map_err(failed)?;
        }
        None if found == sharing.user => {}
        _ => return Err(MakeError::Foreign { path: path.to_owned(), found }),
    }
    Ok(directory)
}

fn open(parent: impl std::os::fd::AsFd, name: &OsStr, links: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | links;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Removes the directory of a start and all that is in it, if it is there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_directory(path: &Path) -> Result<(), ReconcileError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ReconcileError::Directory { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes directories that a crash left: those of no remembered start. Where to look besides our own directory is known from the
/// runtimes' `socket_directories`.
///
/// No start may be made meanwhile.
///
/// # Errors
/// When one cannot be removed.
pub fn sweep<'a>(
    sharing: &Sharing,
    socket_directories: impl IntoIterator<Item = &'a Path>,
    state: &State,
) -> Result<(), ReconcileError> {
    let instances = state.instances();
    let slots = instances.iter().flat_map(|instance| state.slots(instance).into_values());
    let starts: Vec<PathBuf> = slots
        .flat_map(|slot| {
            let directory = |start: &Start| start.directory.clone();
            [slot.current.as_ref().map(directory), slot.outgoing.as_deref().map(directory)]
        })
        .flatten()
        .collect();
    // By their names, which no two have, and not by where they are: the user of a socket directory may turn it into a link to another.
    let used: HashSet<&OsStr> = starts.iter().filter_map(|path| path.file_name()).collect();
    let own = open(CWD, sharing.directory.as_os_str(), OFlags::empty()).ok();
    let others = socket_directories.into_iter().filter_map(|path| {
        let directory = open(CWD, path.as_os_str(), OFlags::empty()).ok()?;
        open(&directory, OsStr::new(&sharing.own_name()), OFlags::NOFOLLOW).ok()
    });
    own.into_iter().chain(others).try_for_each(|directory| sweep_one(&directory, &used))
}

fn sweep_one(directory: &OwnedFd, used: &HashSet<&OsStr>) -> Result<(), ReconcileError> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let Ok(entries) = std::fs::read_dir(&path) else { return Ok(()) };
    let found = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    found.filter(|name| !used.contains(&**name)).try_for_each(|name| remove_directory(&path.join(name)))
}
