//! The launcher on this machine, and the checksum by which hosts know it.

use std::env;
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Its file.
const NAME: &str = "plugward-attach";

/// The launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launcher {
    /// Where it is, absolute.
    pub(super) path: PathBuf,
    /// SHA-256 of it, in hexadecimal digits.
    pub(super) sha256: String,
    /// Whether every user may read it and run it.
    pub(super) for_everybody: bool,
}

/// Why there is no launcher to tell of.
#[derive(Debug, thiserror::Error)]
pub(super) enum LauncherError {
    /// It is nowhere.
    #[error(
        "there is no {NAME} in {} or in PATH: install it, or say with --launcher where it is",
        beside.display()
    )]
    Nowhere {
        /// Where this program is.
        beside: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the launcher {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

// === impl Launcher ===

impl Launcher {
    /// The one that is named, else the one beside this program, else the first in PATH.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, LauncherError> {
        if let Some(path) = named {
            return Self::at(path);
        }
        let program = env::current_exe().unwrap_or_default();
        let beside = program.parent().unwrap_or(Path::new("/")).to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        Self::among(&beside, env::split_paths(&path))
    }

    fn among(beside: &Path, path: impl Iterator<Item = PathBuf>) -> Result<Self, LauncherError> {
        let places = std::iter::once(beside.to_owned()).chain(path.filter(|place| place.is_absolute()));
        let found = places.map(|place| place.join(NAME)).find(|file| file.is_file());
        found
            .map_or_else(|| Err(LauncherError::Nowhere { beside: beside.to_owned() }), |file| Self::at(&file))
    }

    /// The one at this path.
    pub(super) fn at(path: &Path) -> Result<Self, LauncherError> {
        let unreadable = |source| LauncherError::Unreadable { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let content = std::fs::read(&absolute).map_err(unreadable)?;
        let mode = std::fs::metadata(&absolute).map_err(unreadable)?.permissions().mode();
        let sha256 = Sha256::digest(&content).iter().fold(String::new(), |mut digits, byte| {
            // Writing to a text cannot fail.
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        Ok(Self { path: absolute, sha256, for_everybody: mode & 0o005 == 0o005 })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn put(directory: &Path, content: &str) {
        fs::write(directory.join(NAME), content).unwrap();
    }

    #[test]
    fn the_one_beside_this_program_comes_before_those_in_path() {
        let (beside, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let find =
            || Launcher::among(beside.path(), [PathBuf::from("."), path.path().to_owned()].into_iter());
        let nowhere = find().unwrap_err().to_string();
        assert!(
            nowhere.contains("--launcher") && nowhere.contains(beside.path().to_str().unwrap()),
            "{nowhere}"
        );
        put(path.path(), "in path");
        assert_eq!(find().unwrap().path, path.path().join(NAME));
        put(beside.path(), "beside");
        assert_eq!(find().unwrap().path, beside.path().join(NAME));
    }

    #[test]
    fn its_checksum_is_that_of_what_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "abc");
        let file = directory.path().join(NAME);
        let launcher = Launcher::find(Some(&file)).unwrap();
        assert_eq!(launcher.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(!launcher.for_everybody);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Launcher::at(&file).unwrap().for_everybody);
        let missing = Launcher::find(Some(&directory.path().join("x"))).unwrap_err();
        assert!(matches!(missing, LauncherError::Unreadable { .. }));
    }
}
