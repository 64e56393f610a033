//! A real systemd that starts the unit which is shipped, with all that it forbids.
//!
//! It is a user's manager, root's, and so needs no machine that was booted by systemd. What it makes lies in the test's world. There is
//! one at a time: the control groups of its services have the same names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::program;
use super::world::{LIMIT, World};

/// The manager's program.
const SYSTEMD: &str = "/lib/systemd/systemd";

/// The units that are shipped.
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd");

/// Runs a program in control groups of its own: a manager moves all processes of its root, which must not be those of the machine.
const IN_CGROUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../hack/lib/in-cgroup.sh");

/// The control groups of the manager.
const CGROUP: &str = "plugward-test-systemd";

/// What a manager wants to see of a machine: that it is systemd's, what that puts in the place of paths nobody may use, and a file system
/// at /run, where it would mount an empty one. Others do not see it.
const SCRIPT: &str = "mkdir -p /run/systemd && mount --rbind /run /run && mount -t tmpfs tmpfs /run/systemd && cd /run/systemd && \
                      mkdir -p system inaccessible/dir && : >inaccessible/reg && mkfifo inaccessible/fifo && mknod inaccessible/chr c 0 0 && \
                      chmod 0 inaccessible/* && cd / && exec \"$0\" --user --unit=basic.target --log-target=console";

/// A manager that has the unit `plugward.service`. Its services end with it.
pub struct Systemd {
    manager: Option<Child>,
    home: PathBuf,
}

// === impl Systemd ===

impl Systemd {
    /// Whether there is one on this machine.
    pub fn is_here() -> bool {
        Path::new(SYSTEMD).exists()
    }

    /// Starts one whose service is the controller of this world; `more` is added to the unit's section `[Service]`.
    pub async fn start(world: &World, more: &str) -> Self {
        let home = world.path("");
        let units = home.join("c/systemd/user");
        fs::create_dir_all(units.join("plugward.service.d")).unwrap();
        fs::copy(Path::new(UNITS).join("plugward.service"), units.join("plugward.service")).unwrap();
        let quoted = |argument: String| format!("\"{argument}\"");
        // Where things lie is the unit's part, as far as it can be.
        let places = ["--state-dir=", "--run-dir=", "--manifests="];
        let arguments: Vec<String> = world
            .arguments(&[])
            .into_iter()
            .filter(|argument| !places.iter().any(|place| argument.starts_with(place)))
            .map(quoted)
            .collect();
        let drop_in = format!(
            "[Service]\nExecStart=\nExecStart={} {}\nEnvironmentFile=\nEnvironment=PLUGWARD_SOCKET_GROUP=0 DOCKER_HOST={}\n\
             Environment=PLUGWARD_MANIFESTS={} PLUGWARD_RUN_DIR=%t/r\nRuntimeDirectory=\nRuntimeDirectory=r\n\
             StandardOutput=append:{log}\nStandardError=append:{log}\n{more}\n",
            program::path().display(),
            arguments.join(" "),
            world.engine.host,
            world.manifests().display(),
            log = world.path("log").display(),
        );
        fs::write(units.join("plugward.service.d/test.conf"), drop_in).unwrap();
        let mut systemd = Self { manager: None, home };
        let log = fs::File::create(world.path("systemd.log")).unwrap();
        let mut command = Command::new(IN_CGROUP);
        command.arg(CGROUP).args([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            SCRIPT,
            SYSTEMD,
        ]);
        systemd.surround(&mut command).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        systemd.manager = Some(command.kill_on_drop(true).spawn().unwrap());
        world
            .wait("systemd answers", async || {
                let (done, state) = systemd.systemctl(&["is-active", "basic.target"]).await;
                (done && state == "active").then_some(())
            })
            .await;
        systemd
    }

    fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.as_std_mut().envs(self.surroundings()).env_remove("DBUS_SESSION_BUS_ADDRESS");
        command
    }

    fn surroundings(&self) -> [(&'static str, PathBuf); 3] {
        let state = self.home.join("c");
        [
            ("XDG_RUNTIME_DIR", self.home.clone()),
            ("XDG_CONFIG_HOME", state.clone()),
            ("XDG_STATE_HOME", state),
        ]
    }

    /// Runs `systemctl`: whether it succeeds, and what it says.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn systemctl(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("systemctl");
        command.arg("--user").arg("--no-pager").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output =
            timeout(LIMIT, self.surround(&mut command).output()).await.expect("systemctl ends").unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.trim().to_owned())
    }

    /// Does something with the service.
    ///
    /// # Panics
    /// When that fails.
    pub async fn service(&self, verb: &str) {
        let (done, said) = self.systemctl(&[verb, "plugward.service"]).await;
        let (_, status) = self.systemctl(&["status", "plugward.service"]).await;
        assert!(done, "systemctl {verb}: {said}\n{status}");
    }

    /// A property of the service.
    ///
    /// # Panics
    /// When it has none of that name.
    pub async fn property(&self, name: &str) -> String {
        let (done, said) = self.systemctl(&["show", "--property", name, "--value", "plugward.service"]).await;
        assert!(done, "{said}");
        said
    }

    /// Stops the service, and ends.
    pub async fn end(mut self) {
        self.service("stop").await;
        let (_, _) = self.systemctl(&["exit"]).await;
        if let Some(mut manager) = self.manager.take() {
            timeout(LIMIT, manager.wait()).await.expect("systemd ends").unwrap();
        }
        let removed = Command::new(IN_CGROUP).args(["--remove", CGROUP]).status().await;
        assert!(removed.unwrap().success());
    }
}

impl Drop for Systemd {
    /// Of a test that failed: without its manager the service would live on.
    fn drop(&mut self) {
        if self.manager.is_some() {
            let mut stop = std::process::Command::new("systemctl");
            stop.args(["--user", "stop", "plugward.service"]).envs(self.surroundings());
            let _ = stop.stdin(Stdio::null()).status();
        }
    }
}
