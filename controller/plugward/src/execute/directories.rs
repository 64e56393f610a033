//! The directories that plugins share with us.

use std::collections::HashSet;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::failure::ReconcileError;
use crate::slot::Start;
use crate::state::State;

/// The directory that a plugin puts its sockets into: only for us, and for `group` if there is one.
pub(super) fn make_shared_directory(path: &Path, group: Option<u32>) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if let Some(group) = group {
        chown(path, None, Some(group))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2770))?;
    }
    Ok(())
}

pub(super) fn remove_directory(path: &Path) -> Result<(), ReconcileError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ReconcileError::Directory { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes directories that a crash left: those of no remembered start.
///
/// # Errors
/// When one cannot be removed.
pub fn sweep_directories(sockets: &Path, state: &State) -> Result<(), ReconcileError> {
    let used: HashSet<PathBuf> = state
        .instances()
        .iter()
        .flat_map(|instance| state.slots(instance).into_values())
        .flat_map(|slot| {
            let directory = |start: &Start| start.directory.clone();
            [slot.current.as_ref().map(directory), slot.outgoing.as_deref().map(directory)]
        })
        .flatten()
        .collect();
    let Ok(entries) = std::fs::read_dir(sockets) else { return Ok(()) };
    let found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    found.filter(|path| !used.contains(path)).try_for_each(|path| remove_directory(&path))
}
