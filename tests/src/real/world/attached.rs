//! Hosts that attach, and what there must be nothing of when they have gone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use plugward_api::Phase;
use serde_json::Value;

use super::World;
use crate::real::hosts::Start;
use crate::real::program;

/// What there is of sessions and of what they need, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Sessions that the controller tells of.
    pub sessions: usize,
    /// Containers of the cluster on the test's engine.
    pub containers: usize,
    /// Unix sockets that the controller and the hosts have.
    pub sockets: usize,
    /// The directories in which they are, and those of the controller's state.
    pub directories: usize,
    /// What the controller remembers of slots, and other files.
    pub files: usize,
}

/// The launcher: `PLUGWARD_ATTACH_BIN`, else the one beside the program under test.
pub fn launcher() -> PathBuf {
    match std::env::var_os("PLUGWARD_ATTACH_BIN") {
        Some(path) => path.into(),
        None => program::path().with_file_name("plugward-attach-under-test"),
    }
}

// === impl World: those who attach ===

impl World {
    /// How a host starts the plugin of an instance: by the launcher.
    pub fn attach(&self, instance: &str, version: u32) -> Start {
        self.attach_by(&launcher(), instance, version)
    }

    /// The same by a copy of the launcher.
    pub fn attach_by(&self, launcher: &Path, instance: &str, version: u32) -> Start {
        Start::program(launcher, &[instance], version).env("PLUGWARD_RUN_DIR", self.path("r"))
    }

    /// Lets every user of the machine come as far as the run directory itself does.
    ///
    /// # Panics
    /// When the directory is not the test's.
    pub fn open_to_all(&self) {
        fs::set_permissions(self.home.path(), Permissions::from_mode(0o755)).unwrap();
    }

    /// The world's own directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The sessions, as the controller tells of them. None while it tells nothing.
    pub async fn sessions(&self) -> Vec<Value> {
        let told = self.ask("/v1/sessions").await.unwrap_or_default();
        told["items"].as_array().or_else(|| told.as_array()).cloned().unwrap_or_default()
    }

    /// Waits until there are so many, all of them attached.
    pub async fn until_sessions(&self, count: usize) -> Vec<Value> {
        self.wait(&format!("{count} sessions are attached"), async || {
            let sessions = self.sessions().await;
            let attached = sessions.iter().all(|session| session["status"]["phase"] == "Attached");
            (attached && sessions.len() == count).then_some(sessions)
        })
        .await
    }

    /// Waits until an instance without mounts is ready for hosts: its container is, or the plugin has been asked whether hosts can share one,
    /// cannot, and is stopped again.
    pub async fn until_open(&self, instance: &str) {
        self.wait(&format!("{instance} is ready for hosts"), async || {
            let phase = self.status(instance).await?.phase;
            let open = match self.multiplexes() {
                Some(true) => phase == Phase::Ready,
                Some(false) | None => phase == Phase::Idle && self.containers_of(instance).await.is_empty(),
            };
            open.then_some(())
        })
        .await;
    }

    /// What the plugin said that was asked first.
    fn multiplexes(&self) -> Option<bool> {
        let known = fs::read(self.state().join("images.json")).ok()?;
        let known: Value = serde_json::from_slice(&known).ok()?;
        known["data"].as_object()?.values().next()?.as_bool()
    }

    /// What there is now. A host's sockets are in this directory.
    pub async fn left(&self, hosts_sockets: Option<&Path>) -> Left {
        let mut left = Left {
            sessions: self.sessions().await.len(),
            containers: self.containers().await.len(),
            sockets: 0,
            directories: 0,
            files: 0,
        };
        for place in [self.path("r"), self.state().join("slots")] {
            left.count(&place);
        }
        if let Some(place) = hosts_sockets {
            left.count(place);
        }
        left
    }

    /// Waits until there is no more than there was. It may be less: of a plugin that was stopped something is remembered, until another is.
    pub async fn until_left(&self, wanted: Left, hosts_sockets: Option<&Path>) {
        let mut seen = None;
        let is_so = async || {
            let now = self.left(hosts_sockets).await;
            // For a test that fails: what it came to.
            if seen.replace(now) != Some(now) {
                eprintln!("{}: of {wanted:?} there is {now:?}", self.engine.name);
            }
            now.is_within(wanted).then_some(())
        };
        self.wait("nothing is left of a session", is_so).await;
    }

    /// Kills every container of an instance.
    ///
    /// # Panics
    /// When it has none.
    pub async fn kill_containers_of(&self, instance: &str) {
        let containers = self.containers_of(instance).await;
        assert!(!containers.is_empty(), "{instance} has no container");
        for container in containers {
            self.engine.kill(container.id.as_str()).await;
        }
    }
}

// === impl Left ===

impl Left {
    /// Whether there is no more of anything.
    fn is_within(self, wanted: Self) -> bool {
        let Self { sessions, containers, sockets, directories, files } = self;
        sessions <= wanted.sessions
            && containers <= wanted.containers
            && sockets <= wanted.sockets
            && directories <= wanted.directories
            && files <= wanted.files
    }

    /// Counts what is below a directory, which may be changing.
    fn count(&mut self, directory: &Path) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                self.directories += 1;
                self.count(&entry.path());
            } else if kind.is_socket() {
                self.sockets += 1;
            } else {
                self.files += 1;
            }
        }
    }
}
