//! Files of simulated containers: what is bound into them is on this machine, and there is nothing else.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::container::ContainerSpec;
use crate::file::{File, FileKind};

/// The most that capabilities of a file take.
const LONGEST_CAPABILITY: usize = 64;

/// What lies at a path in a container that was made so.
pub(super) fn read(spec: &ContainerSpec, path: &Path, limit: usize) -> Option<File> {
    let at = |bind: &crate::container::Bind| Some(bind.source.join(path.strip_prefix(&bind.target).ok()?));
    spec.binds.iter().find_map(at).and_then(|path| file(&path, limit).ok())
}

fn file(path: &Path, limit: usize) -> io::Result<File> {
    // Of the path of what is bound itself: it ends with a separator then, which would follow a link.
    let path: PathBuf = path.components().collect();
    let found = fs::symlink_metadata(&path)?;
    let mut content = Vec::new();
    let kind = match found.file_type() {
        kind if kind.is_file() => {
            fs::File::open(&path)?.take(limit as u64).read_to_end(&mut content)?;
            FileKind::Regular
        }
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Link(fs::read_link(&path)?),
        _ => FileKind::Other,
    };
    let mut capability = [0; LONGEST_CAPABILITY];
    let length = rustix::fs::lgetxattr(&path, OsStr::new("security.capability"), &mut capability[..]).ok();
    Ok(File {
        kind,
        mode: found.permissions().mode() & 0o7777,
        content,
        capability: length.map(|length| capability[..length].to_owned()),
    })
}
