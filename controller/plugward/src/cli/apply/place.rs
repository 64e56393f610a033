//! What is in the place of a record's file, and how the new one gets there.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use plugward_api::RecordKey;
use plugward_api::manifest::{self, Format, Rules};

use crate::atomic;
use crate::cli::{Failed, rights};
use crate::control::review::Reader;

/// The permissions of a new file: it may hold secrets.
const MODE: u32 = 0o640;

/// What is at a path.
#[derive(Debug)]
pub(in crate::cli) enum Present {
    /// Nothing.
    Nothing,
    /// A symbolic link to this.
    Link(PathBuf),
    /// A directory, or something else that is no file.
    NoFile,
    /// A file.
    File(PresentFile),
}

/// A file that is there.
#[derive(Debug)]
pub(in crate::cli) struct PresentFile {
    text: String,
    format: Format,
    mode: u32,
    group: u32,
}

/// A record, and the file that is to hold it.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) key: RecordKey,
    pub(super) file: PathBuf,
    pub(super) text: String,
    before: Option<PresentFile>,
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was none.
    Created,
    /// It was another one.
    Configured,
    /// It is what it was.
    Unchanged,
}

/// Looks at what is at `path`.
pub(in crate::cli) fn look(path: &Path) -> Result<Present, Failed> {
    let failed = |what: &str, error: io::Error| -> Failed {
        format!("cannot {what} {}: {error}: {}", path.display(), rights::next_step(&error, path)).into()
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Present::Nothing),
        Err(error) => return Err(failed("look at", error)),
    };
    if metadata.is_symlink() {
        return Ok(Present::Link(fs::read_link(path).unwrap_or_default()));
    }
    if !metadata.is_file() {
        return Ok(Present::NoFile);
    }
    let bytes = fs::read(path).map_err(|error| failed("read", error))?;
    Ok(Present::File(PresentFile {
        // What is no text is no manifest, and is treated as such.
        text: String::from_utf8_lossy(&bytes).into_owned(),
        format: Format::of(path),
        mode: metadata.permissions().mode() & 0o777,
        group: metadata.gid(),
    }))
}

// === impl PresentFile ===

impl PresentFile {
    /// Whether it holds this record and no other.
    pub(in crate::cli) fn holds_only(&self, key: &RecordKey) -> bool {
        let records = manifest::parse(self.text.as_bytes(), self.format, &Rules::default());
        records.is_ok_and(|records| matches!(&records[..], [only] if only.value.key() == *key))
    }
}

// === impl Placed ===

impl Placed {
    /// Looks at what is in the place of a record's file. A file that holds anything else is not for us to replace.
    pub(super) fn look(key: RecordKey, file: PathBuf, text: String) -> Result<Self, Failed> {
        let refused = |what: String| -> Failed {
            format!("{key} would go into {}, {what}: edit that by hand, or move it away", file.display())
                .into()
        };
        let before = match look(&file)? {
            Present::Nothing => None,
            Present::Link(to) => return Err(refused(format!("which is a link to {}", to.display()))),
            Present::NoFile => return Err(refused("which is no regular file".to_owned())),
            Present::File(present) if present.holds_only(&key) => Some(present),
            Present::File(_) => {
                return Err(refused(
                    "which holds something else, or cannot be read as a manifest".to_owned(),
                ));
            }
        };
        Ok(Self { key, file, text, before })
    }

    pub(super) fn outcome(&self) -> Outcome {
        match &self.before {
            None => Outcome::Created,
            Some(before) if before.text == self.text => Outcome::Unchanged,
            Some(_) => Outcome::Configured,
        }
    }

    /// The text that is there now.
    pub(super) fn before(&self) -> Option<&str> {
        self.before.as_ref().map(|before| before.text.as_str())
    }

    /// Puts the file there, as a whole or not at all. One that is there keeps its permissions and group; a new one has the group of
    /// its directory, where we may give it that.
    pub(super) fn put(&self, reader: &Reader) -> Result<(), Failed> {
        if self.outcome() == Outcome::Unchanged {
            return Ok(());
        }
        let directory = self.file.parent().and_then(|directory| fs::metadata(directory).ok());
        let (mode, group) = match &self.before {
            Some(before) => (before.mode, Some(before.group)),
            None => (MODE, directory.map(|directory| directory.gid())),
        };
        atomic::write_for(&self.file, self.text.as_bytes(), mode, group).map_err(|error| {
            let next = rights::next_step(&error.source, &self.file);
            format!("cannot write {}: {}: {next}", self.file.display(), error.source)
        })?;
        if let Ok(written) = fs::metadata(&self.file)
            && !may_read(reader, &written)
        {
            eprintln!(
                "plugward: warning: the controller (user {}) may not be able to read {}: give it to a group of its, or see \
                 `plugward describe manifests`",
                reader.user,
                self.file.display()
            );
        }
        Ok(())
    }
}

/// Whether a process may read a file by the permissions that everybody can see: not by access lists.
fn may_read(reader: &Reader, file: &fs::Metadata) -> bool {
    let mode = file.mode();
    if reader.user == 0 {
        true
    } else if reader.user == file.uid() {
        mode & 0o400 != 0
    } else if reader.groups.contains(&file.gid()) {
        mode & 0o040 != 0
    } else {
        mode & 0o004 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNTIME: &str =
        "apiVersion: plugward.dev/v1alpha1\nkind: PluginRuntime\nmetadata: { name: gvisor }\nspec: {}\n";

    fn key() -> RecordKey {
        RecordKey { kind: plugward_api::Kind::PluginRuntime, name: "gvisor".parse().unwrap() }
    }

    fn root() -> Reader {
        Reader { user: 0, groups: Vec::new() }
    }

    fn place(file: &Path, text: &str) -> Result<Placed, Failed> {
        Placed::look(key(), file.to_owned(), text.to_owned())
    }

    #[test]
    fn a_new_file_is_not_for_everybody_and_one_that_is_there_keeps_its_permissions() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        let first = place(&file, RUNTIME).unwrap();
        assert_eq!(first.outcome(), Outcome::Created);
        first.put(&root()).unwrap();
        assert_eq!(mode(), 0o640);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(place(&file, RUNTIME).unwrap().outcome(), Outcome::Unchanged);
        let changed = place(&file, &format!("# new\n{RUNTIME}")).unwrap();
        assert_eq!(changed.outcome(), Outcome::Configured);
        changed.put(&root()).unwrap();
        assert_eq!((mode(), fs::read_to_string(&file).unwrap()), (0o644, format!("# new\n{RUNTIME}")));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_holds_something_else_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("two.yaml"), format!("{RUNTIME}---\n{}", RUNTIME.replace("gvisor", "other"))).unwrap();
        fs::write(path("other.yaml"), RUNTIME.replace("gvisor", "other")).unwrap();
        fs::write(path("broken.yaml"), "kind: [").unwrap();
        fs::write(path("target"), RUNTIME).unwrap();
        std::os::unix::fs::symlink("target", path("link.yaml")).unwrap();
        fs::create_dir(path("directory.yaml")).unwrap();
        let cases = [
            ("two.yaml", "which holds something else"),
            ("other.yaml", "which holds something else"),
            ("broken.yaml", "cannot be read as a manifest"),
            ("link.yaml", "which is a link to target"),
            ("directory.yaml", "which is no regular file"),
        ];
        for (name, reason) in cases {
            let error = place(&path(name), RUNTIME).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn who_may_read_a_file_follows_from_its_permissions() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let metadata = fs::metadata(&file).unwrap();
        let reader = |user, group| Reader { user, groups: vec![group] };
        assert!(
            may_read(&reader(0, 7), &metadata)
                && may_read(&reader(metadata.uid() + 1, metadata.gid()), &metadata)
        );
        assert!(!may_read(&reader(metadata.uid() + 1, metadata.gid() + 1), &metadata));
    }
}
