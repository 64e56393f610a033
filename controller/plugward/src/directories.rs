//! Where things lie.

use std::path::{Path, PathBuf};

use crate::names::ClusterId;

/// The environment, as far as it says where things lie.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Whether we are root.
    pub root: bool,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_directory: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

/// There is no default for a directory here.
#[derive(Debug, thiserror::Error)]
#[error("there is no default for {flag} here: {variable} is not set. Set it, or give {flag}")]
pub struct NoDefault {
    flag: &'static str,
    variable: &'static str,
}

/// The directories of one cluster under the run directory.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    root: PathBuf,
}

/// Why a client does not know whom to talk to.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is no controller's directory.
    #[error(
        "no controller runs here: there is no control socket under {}. Start `plugward run`, or say with \
         --run-dir where it keeps its sockets",
        directory.display()
    )]
    None {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// There are several.
    #[error(
        "{} holds the sockets of several clusters ({}): say with --cluster-id which one is meant",
        directory.display(),
        clusters.join(", ")
    )]
    Several {
        /// Where it was looked for.
        directory: PathBuf,
        /// Their ids.
        clusters: Vec<String>,
    },
    /// It cannot be looked at.
    #[error("cannot look for the control socket in {}", directory.display())]
    Unreadable {
        /// Where it was looked for.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            root: rustix::process::geteuid().is_root(),
            state_home: variable("XDG_STATE_HOME"),
            runtime_directory: variable("XDG_RUNTIME_DIR"),
            home: variable("HOME"),
        }
    }

    /// The default state directory.
    ///
    /// # Errors
    /// When the environment does not say where a user's state belongs.
    pub fn state_directory(&self) -> Result<PathBuf, NoDefault> {
        if self.root {
            return Ok(PathBuf::from("/var/lib/plugward"));
        }
        let home = || self.home.as_ref().map(|home| home.join(".local/state"));
        let base = self.state_home.clone().or_else(home);
        base.map(|base| base.join("plugward"))
            .ok_or(NoDefault { flag: "--state-dir", variable: "XDG_STATE_HOME" })
    }

    /// The default run directory.
    ///
    /// # Errors
    /// When the environment does not say where a user's sockets belong.
    pub fn run_directory(&self) -> Result<PathBuf, NoDefault> {
        if self.root {
            return Ok(PathBuf::from("/run/plugward"));
        }
        let base = self.runtime_directory.clone();
        base.map(|base| base.join("plugward"))
            .ok_or(NoDefault { flag: "--run-dir", variable: "XDG_RUNTIME_DIR" })
    }
}

impl RunDirectory {
    /// The directories of a cluster.
    pub fn new(run_directory: &Path, cluster: &ClusterId) -> Self {
        Self { root: run_directory.join(cluster.as_str()) }
    }

    /// The directories of the only cluster under a run directory, or of the one that is named.
    ///
    /// # Errors
    /// When there is none, or none is named of several.
    pub fn find(run_directory: &Path, cluster: Option<&ClusterId>) -> Result<Self, FindError> {
        let none = || FindError::None { directory: run_directory.to_owned() };
        if let Some(cluster) = cluster {
            let found = Self::new(run_directory, cluster);
            return if found.control_socket().exists() { Ok(found) } else { Err(none()) };
        }
        let entries = match std::fs::read_dir(run_directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none()),
            Err(source) => return Err(FindError::Unreadable { directory: run_directory.to_owned(), source }),
        };
        let mut found: Vec<Self> = entries
            .filter_map(|entry| Some(Self { root: entry.ok()?.path() }))
            .filter(|directory| directory.control_socket().exists())
            .collect();
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(none()),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                found.push(last);
                let name =
                    |found: &Self| found.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let mut clusters: Vec<String> = found.iter().map(name).collect();
                clusters.sort();
                Err(FindError::Several { directory: run_directory.to_owned(), clusters })
            }
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Where clients talk to the controller.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Where launchers come to the controller.
    pub fn attach_socket(&self) -> PathBuf {
        self.root.join("attach.sock")
    }

    /// Where the sockets of mounts are.
    pub fn mounts(&self) -> PathBuf {
        self.root.join("mounts")
    }

    /// Where the directories shared with plugins are.
    pub fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_users_have_their_usual_places() {
        let root = Surroundings { root: true, ..Surroundings::default() };
        assert_eq!(root.state_directory().unwrap(), Path::new("/var/lib/plugward"));
        assert_eq!(root.run_directory().unwrap(), Path::new("/run/plugward"));
        let user = Surroundings {
            root: false,
            state_home: None,
            runtime_directory: Some("/run/user/7".into()),
            home: Some("/home/ann".into()),
        };
        assert_eq!(user.state_directory().unwrap(), Path::new("/home/ann/.local/state/plugward"));
        assert_eq!(user.run_directory().unwrap(), Path::new("/run/user/7/plugward"));
        let nobody = Surroundings::default();
        assert!(nobody.run_directory().unwrap_err().to_string().contains("--run-dir"));
    }

    #[test]
    fn a_client_finds_the_only_controller_and_asks_which_of_several() {
        let run = tempfile::tempdir().unwrap();
        assert!(matches!(RunDirectory::find(run.path(), None), Err(FindError::None { .. })));
        let make = |cluster: &str| {
            std::fs::create_dir(run.path().join(cluster)).unwrap();
            std::fs::write(run.path().join(cluster).join("control.sock"), "").unwrap();
        };
        make("one");
        assert!(RunDirectory::find(run.path(), None).unwrap().path().ends_with("one"));
        make("two");
        let several = RunDirectory::find(run.path(), None).unwrap_err().to_string();
        assert!(several.contains("one, two"), "{several}");
        let two = RunDirectory::find(run.path(), Some(&"two".parse().unwrap())).unwrap();
        assert!(two.path().ends_with("two"));
    }
}
