//! A host's process, and those that it has started.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{HostOptions, LIMIT, until};

/// Makes the /tmp of its mount namespace an empty one, but for the directories that are named first, a number before them, and becomes
/// what comes after those. They are found through the /tmp of the others, which the new one covers.
const PRIVATE_TMP: &str = r#"
set -e
exec 9</tmp
mount -t tmpfs -o mode=1777 tmpfs /tmp
seen=$1; shift
while [ "$seen" -gt 0 ]; do
    mkdir -p "$1"
    mount --no-canonicalize --bind "/proc/self/fd/9/${1#/tmp/}" "$1"
    shift; seen=$((seen - 1))
done
exec 9<&-
exec "$@"
"#;

/// A host's process. Dropping it kills it, and what it has started.
pub struct HostProcess {
    pid: Pid,
    /// How it ended. Nobody can send when the test's runtime is gone.
    ended: watch::Receiver<Option<ExitStatus>>,
    stderr: Arc<Mutex<String>>,
    /// Holds the program of one that runs as another user.
    _program: Option<TempDir>,
    /// Where it makes its sockets, which one that is killed leaves behind.
    sockets: Option<TempDir>,
}

// === impl HostProcess ===

impl HostProcess {
    /// Starts a program of `tests/hosts`, and gives what goes in and comes out of it.
    pub(super) fn start(
        program: &Path,
        argument: &str,
        options: &HostOptions,
    ) -> (Self, ChildStdin, ChildStdout) {
        let copy = options.user.map(|_| copy_for_all(program));
        let program = copy.as_ref().map_or(program, |(_, program)| program);
        let mut command = match &options.private_tmp {
            None => {
                let mut command = Command::new(program);
                if let Some(user) = options.user {
                    command.uid(user).gid(user);
                }
                command
            }
            Some(seen) => behind_a_tmp_of_its_own(program, seen, options.user),
        };
        if options.own_pid {
            command.arg("-own-pid");
        }
        let sockets = options.private_tmp.is_none().then(|| {
            let sockets = TempDir::new().unwrap();
            // Whoever it runs as.
            fs::set_permissions(sockets.path(), Permissions::from_mode(0o1777)).unwrap();
            command.env("TMPDIR", sockets.path());
            sockets
        });
        command.arg(argument).envs(options.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a host that was built can be started");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = Arc::<Mutex<String>>::default();
        tokio::spawn(listen(child.stderr.take().expect("it is piped"), Arc::clone(&stderr)));
        let pid = child.id().expect("nobody has waited for it");
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process's id is not 0");
        let (tell, ended) = watch::channel(None);
        tokio::spawn(wait(child, tell));
        let process = Self { pid, ended, stderr, sockets, _program: copy.map(|(place, _)| place) };
        (process, stdin, stdout)
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Where it and its plugins make their sockets, unless it has a /tmp of its own.
    pub fn sockets(&self) -> Option<&Path> {
        self.sockets.as_ref().map(TempDir::path)
    }

    /// The processes that it has started and that have not ended: its plugins, or what it took for them.
    pub fn children(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// Waits until so many are left.
    ///
    /// # Panics
    /// When more or fewer stay.
    pub async fn until_children(&self, count: usize) {
        let left = until(async || self.children().len() == count).await;
        left.unwrap_or_else(|_| panic!("the host has not {count} children, but {:?}", self.children()));
    }

    /// The one that it has started.
    ///
    /// # Panics
    /// When it has not started one, or several.
    pub fn child(&self) -> u32 {
        match self.children()[..] {
            [child] => child,
            ref others => panic!("the host has started not one process, but {others:?}"),
        }
    }

    /// Kills it, and leaves to themselves what it has started. It gets no chance to do anything.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn kill(&self) {
        kill_process(self.pid, Signal::KILL).unwrap();
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let ended = timeout(LIMIT, ended.wait_for(Option::is_some)).await.expect("the host ends");
        ended.expect("somebody waits for it").expect("it has ended")
    }

    /// What it has written to its standard error up to now, in lines.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let children = self.children();
        if self.ended.borrow().is_none() {
            // It may end in this moment.
            let _ = kill_process(self.pid, Signal::KILL);
        }
        for child in children {
            kill(child);
        }
    }
}

/// Kills a process, which may have ended.
pub fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process's id is not 0");
    let _ = kill_process(pid, Signal::KILL);
}

/// Waits until a process has ended that is nobody's here to wait for, or is waited for by its host.
///
/// # Panics
/// When it does not.
pub async fn gone(pid: u32) {
    let gone = until(async || state(pid).is_none_or(|(state, _)| state == "Z")).await;
    gone.unwrap_or_else(|_| panic!("the process {pid} does not end"));
}

/// A program where any user can start it, under its name, for as long as the directory is there: cargo's may be in somebody's home.
pub fn copy_for_all(program: &Path) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join(program.file_name().expect("a program is a file"));
    fs::copy(program, &copy).unwrap();
    (directory, copy)
}

/// A program in a mount namespace with an empty /tmp, as systemd's `PrivateTmp` makes one, where it sees these directories of ours and
/// its own.
fn behind_a_tmp_of_its_own(program: &Path, seen: &[PathBuf], user: Option<u32>) -> Command {
    let own = program.parent().expect("a program lies in a directory");
    let hidden: Vec<&Path> =
        seen.iter().map(PathBuf::as_path).chain([own]).filter(|path| path.starts_with("/tmp")).collect();
    let mut command = Command::new("unshare");
    // Ours may be one that it does not see.
    command.env_remove("TMPDIR");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c", PRIVATE_TMP, "sh"]);
    command.arg(hidden.len().to_string()).args(hidden);
    if let Some(user) = user {
        command.arg("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
        command.arg("--");
    }
    command.arg(program);
    command
}

/// A process's state as Linux writes it, and its parent.
fn state(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name is in parentheses, and may hold some.
    let mut after = stat.rsplit_once(") ")?.1.split(' ');
    Some((after.next()?.to_owned(), after.next()?.parse().ok()?))
}

fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| state(pid).is_some_and(|(state, parent)| parent == of && state != "Z")).collect()
}

async fn wait(mut child: Child, tell: watch::Sender<Option<ExitStatus>>) {
    tell.send_replace(child.wait().await.ok());
}

/// Keeps what it hears, and says it where the test says things.
async fn listen(stderr: ChildStderr, heard: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push_str(&line);
        heard.push('\n');
    }
}
