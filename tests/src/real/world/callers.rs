//! Those who run commands: people at a terminal, and other users.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Stdio;

use super::{Manifest, World, manifest, program};
use crate::real::program::Said;
use crate::real::terminal::Terminal;

impl World {
    /// Writes a manifest beside the directory that the controller watches. Answers with its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn draft(&self, file: &str, records: &[Manifest]) -> String {
        let path = self.path(file);
        fs::write(&path, manifest::file(records)).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// The manifest directory belongs to this user from now on, and everybody may reach it.
    ///
    /// # Panics
    /// When the test does not run as root.
    pub fn give_manifests_to(&self, user: u32) {
        fs::set_permissions(self.home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(self.manifests(), Some(user), Some(user)).unwrap();
    }

    /// Runs a command that talks to the controller as another user.
    ///
    /// # Panics
    /// When the test does not run as root.
    pub async fn cli_as(&self, (user, group): (u32, u32), arguments: &[&str]) -> Said {
        // Cargo's directory may be in somebody's home.
        let copy = self.path("plugward");
        if !copy.exists() {
            fs::copy(program::path(), &copy).unwrap();
        }
        let run = self.path("r").to_string_lossy().into_owned();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let run_as = program::RunAs { user, group, program: copy };
        program::run(&arguments, &[("PLUGWARD_RUN_DIR", &run)], Stdio::piped(), Some(&run_as)).await
    }

    /// Runs a command that talks to the controller on a terminal that is so many columns wide.
    pub fn cli_on_terminal(&self, columns: u16, arguments: &[&str]) -> Terminal {
        let run = self.path("r").to_string_lossy().into_owned();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Terminal::start(&arguments, &[("PLUGWARD_RUN_DIR", &run)], columns)
    }
}
