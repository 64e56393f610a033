//! Files that records name: environment variables, and profiles of system calls.
//!
//! They are read at each reconcile, so that a change is found like one of the record; [`watch`] sees to it that there is one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugward_api::field::EnvName;
use plugward_api::{Name, PluginInstanceSpec, PluginRuntimeSpec, Record};
use rustix::process::geteuid;
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use crate::desired::{self, Records};

/// The most that such a file may hold, in bytes.
const MOST: u64 = 1 << 20;

/// How often to look whether a file has changed.
const LOOK: Duration = Duration::from_secs(2);

/// What the files of an instance and its runtime say.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Environment variables; of a name that is there several times, what the last one says.
    pub environment: BTreeMap<String, String>,
    /// The profile of system calls, if it is one of a file.
    pub seccomp: Option<String>,
}

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{field}: {} cannot be read: {source}", path.display())]
    Read {
        /// The field that names it.
        field: String,
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{field}: {} is no regular file", path.display())]
    NotAFile {
        /// The field that names it.
        field: String,
        /// Where it is.
        path: PathBuf,
    },
    /// Others than its owner could read or write it.
    #[error(
        "{field}: {} has mode {mode:04o}, and others than its owner could use it: chmod 0600 {}",
        path.display(), path.display()
    )]
    Open {
        /// The field that names it.
        field: String,
        /// Where it is.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is somebody else's, who could change it.
    #[error("{field}: {} belongs to user {owner}: it has to be ours (user {ours}) or root's", path.display())]
    Foreign {
        /// The field that names it.
        field: String,
        /// Where it is.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Us.
        ours: u32,
    },
    /// It is too large.
    #[error("{field}: {} has {size} bytes, of at most {MOST}", path.display())]
    TooLarge {
        /// The field that names it.
        field: String,
        /// Where it is.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// What it says means nothing. The message does not repeat it.
    #[error("{field}: {}:{line}:{column}: {message}", path.display())]
    Content {
        /// The field that names it.
        field: String,
        /// Where it is.
        path: PathBuf,
        /// The line, the first is 1.
        line: usize,
        /// The column, the first is 1.
        column: usize,
        /// What is wrong, and what to do.
        message: String,
    },
}

/// Whether a file must be its owner's alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Secret,
    Public,
}

// === impl Files ===

impl Files {
    /// What the files say that an instance and its runtime name.
    ///
    /// # Errors
    /// One for each file that cannot be used.
    pub fn read(instance: &PluginInstanceSpec, runtime: &PluginRuntimeSpec) -> Result<Self, Vec<FileError>> {
        let (mut files, mut errors) = (Self::default(), Vec::new());
        for (index, from) in instance.env_from.iter().enumerate() {
            let field = format!("spec.envFrom[{index}].file");
            match variables(&field, Path::new(from.file.as_ref())) {
                Ok(variables) => files.environment.extend(variables),
                Err(error) => errors.push(error),
            }
        }
        if let Some(path) = seccomp_file(runtime) {
            let field = format!("runtime {}: spec.security.seccompProfile", instance.runtime);
            match profile(&field, path) {
                Ok(profile) => files.seccomp = Some(profile),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(files) } else { Err(errors) }
    }
}

/// The file of a runtime's profile of system calls, if it is one of a file.
fn seccomp_file(runtime: &PluginRuntimeSpec) -> Option<&Path> {
    let profile: &str = runtime.security.seccomp_profile.as_ref();
    profile.starts_with('/').then(|| Path::new(profile))
}

fn variables(field: &str, path: &Path) -> Result<Vec<(String, String)>, FileError> {
    let text = read(field, path, Secrecy::Secret)?;
    let wrong = |line: usize, column: usize, message: &str| FileError::Content {
        field: field.to_owned(),
        path: path.to_owned(),
        line,
        column,
        message: message.to_owned(),
    };
    let mut variables = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        let Some((name, value)) = text.split_once('=') else {
            return Err(wrong(line, 1, "there is no '=': write NAME=value"));
        };
        if name.parse::<EnvName>().is_err() {
            // Not the name itself: it may be a part of a value that was broken in two.
            let message = "this is not the name of an environment variable: use letters, digits and '_', and do not begin with a \
                           digit; a value has one line";
            return Err(wrong(line, 1, message));
        }
        if let Some(at) = value.find('\0') {
            return Err(wrong(line, name.len() + 2 + at, "a value cannot hold a NUL"));
        }
        variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

fn profile(field: &str, path: &Path) -> Result<String, FileError> {
    let text = read(field, path, Secrecy::Public)?;
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        // As Docker's clients send it: one line.
        Ok(profile) => Ok(serde_json::Value::Object(profile).to_string()),
        Err(error) => Err(FileError::Content {
            field: field.to_owned(),
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            message: format!("this is no profile of system calls in JSON: {error}"),
        }),
    }
}

fn read(field: &str, path: &Path, secrecy: Secrecy) -> Result<Zeroizing<String>, FileError> {
    let (field, path) = (field.to_owned(), path.to_owned());
    let unreadable = |source| FileError::Read { field: field.clone(), path: path.clone(), source };
    let mut file = File::open(&path).map_err(unreadable)?;
    // Of what was opened, not of what its name may lead to by now.
    let found = file.metadata().map_err(unreadable)?;
    let (mode, owner, size, ours) = (found.mode() & 0o7777, found.uid(), found.len(), geteuid().as_raw());
    if !found.is_file() {
        return Err(FileError::NotAFile { field, path });
    }
    if secrecy == Secrecy::Secret && mode & 0o077 != 0 {
        return Err(FileError::Open { field, path, mode });
    }
    if ![0, ours].contains(&owner) {
        return Err(FileError::Foreign { field, path, owner, ours });
    }
    if size > MOST {
        return Err(FileError::TooLarge { field, path, size });
    }
    let mut text = Zeroizing::new(String::new());
    file.by_ref().take(MOST).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// What tells one state of a file from the next, or that there is none.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let found = path.metadata().ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec() ^ found.ctime_nsec(), found.len()))
}

/// Wakes instances whose files have changed, for ever.
pub async fn watch(records: Records, wake: impl Fn(&Name)) {
    let mut known: BTreeMap<PathBuf, Stamp> = BTreeMap::new();
    let mut named: (Option<u64>, BTreeMap<PathBuf, Vec<Name>>) = (None, BTreeMap::new());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let version = records.version();
        if named.0 != Some(version) {
            named = (Some(version), files_of(&records));
            known.retain(|path, _| named.1.contains_key(path));
        }
        for (path, instances) in &named.1 {
            let now = stamp(path);
            // What is named anew may have changed since the reconcile read it that the record had asked for.
            if known.insert(path.clone(), now) != Some(now) {
                instances.iter().for_each(&wake);
            }
        }
    }
}

/// The files that records name, and the instances that need each.
fn files_of(records: &Records) -> BTreeMap<PathBuf, Vec<Name>> {
    let mut files: BTreeMap<PathBuf, Vec<Name>> = BTreeMap::new();
    for (_, declared) in records.snapshot() {
        let Record::Instance(instance) = declared.record.as_ref() else { continue };
        let runtime = desired::runtime(&instance.spec.runtime, records);
        let profile = runtime.as_ref().and_then(|(runtime, _)| seccomp_file(&runtime.spec));
        let environment = instance.spec.env_from.iter().map(|from| Path::new(from.file.as_ref()));
        for path in environment.chain(profile) {
            files.entry(path.to_owned()).or_default().push(instance.metadata.name.clone());
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("orders.env");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn said(text: &str, mode: u32) -> Result<Vec<(String, String)>, String> {
        let (_directory, path) = file(text, mode);
        variables("spec.envFrom[0].file", &path)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn each_line_is_a_variable_and_its_value_is_taken_as_it_is() {
        let text = "# who\nUSER=plug\n\nEMPTY=\nQUOTED=\"a b\" \nEQUALS=a=b\n";
        let expected = [("USER", "plug"), ("EMPTY", ""), ("QUOTED", "\"a b\" "), ("EQUALS", "a=b")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(said(text, 0o600).unwrap(), expected);
        assert_eq!(said("", 0o400).unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_never_with_what_it_says() {
        assert_eq!(
            said("A=b\ns3cret\n", 0o600).unwrap_err(),
            "spec.envFrom[0].file: FILE:2:1: there is no '=': write NAME=value"
        );
        let error = said("s3 cret=b\n", 0o600).unwrap_err();
        assert!(error.starts_with("spec.envFrom[0].file: FILE:1:1: this is not the name"), "{error}");
        assert!(!error.contains("s3"), "{error}");
        assert_eq!(
            said("A=b\0c\n", 0o600).unwrap_err(),
            "spec.envFrom[0].file: FILE:1:4: a value cannot hold a NUL"
        );
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o666] {
            let error = said("A=b\n", mode).unwrap_err();
            let expected = format!(
                "spec.envFrom[0].file: FILE has mode {mode:04o}, and others than its owner could use it: chmod 0600 FILE"
            );
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn what_is_not_there_or_no_file_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let missing = variables("spec.envFrom[0].file", &directory.path().join("none"));
        assert!(matches!(missing, Err(FileError::Read { .. })), "{missing:?}");
        let no_file = variables("spec.envFrom[0].file", directory.path());
        assert!(matches!(no_file, Err(FileError::NotAFile { .. })), "{no_file:?}");
    }

    #[test]
    fn a_profile_is_json() {
        let (_directory, path) = file("{ \"defaultAction\":\n \"SCMP_ACT_ALLOW\" }", 0o644);
        assert_eq!(profile("it", &path).unwrap(), r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
        let (_directory, path) = file("{\n  nothing }", 0o644);
        assert!(matches!(profile("it", &path), Err(FileError::Content { line: 2, .. })));
    }

    #[test]
    fn another_state_of_a_file_has_another_stamp() {
        let (_directory, path) = file("A=b\n", 0o600);
        let before = stamp(&path);
        assert_eq!(stamp(&path), before);
        fs::write(path.with_extension("new"), "A=c\n").unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        assert_ne!(stamp(&path), before);
        fs::remove_file(&path).unwrap();
        assert_eq!(stamp(&path), None);
    }
}
