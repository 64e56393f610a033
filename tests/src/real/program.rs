//! The program as a process.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long the program may take to do what it is told.
const LIMIT: Duration = Duration::from_secs(90);

/// A controller that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    pid: Pid,
}

/// How a controller ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
}

/// What a command said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The program under test: `PLUGWARD_BIN`, else the one that cargo built with this test, from the same sources.
pub(super) fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("PLUGWARD_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a process has an executable");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    profile.join("plugward-under-test")
}

/// A user other than root, and a copy of the program that this user may start.
#[derive(Debug, Clone)]
pub(super) struct RunAs {
    /// Its number.
    pub user: u32,
    /// The number of its group.
    pub group: u32,
    /// The copy.
    pub program: PathBuf,
}

/// Runs the program to its end, as another user where one is named.
pub(super) async fn run(
    arguments: &[String],
    environment: &[(&str, &str)],
    stdout: Stdio,
    run_as: Option<&RunAs>,
) -> Said {
    let child = command_as(run_as, arguments, environment).stdout(stdout).stderr(Stdio::piped()).spawn();
    let output = child.expect("the program is built").wait_with_output();
    let output = timeout(LIMIT, output).await.expect("the command ends").unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("the program prints text"),
        stderr: String::from_utf8(output.stderr).expect("the program prints text"),
    }
}

/// A command that goes on.
pub struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Runs the program, whose lines are read as they come.
pub(super) fn follow(arguments: &[String], environment: &[(&str, &str)]) -> Following {
    let mut child = command(&path(), arguments, environment)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is built");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    Following { child, lines }
}

// === impl Following ===

impl Following {
    /// The next line that is what is looked for.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn until<T>(&mut self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let found = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line =
                    line.unwrap_or_else(|| panic!("the command has ended, and it did not come that {what}"));
                if let Some(found) = look(&line) {
                    return found;
                }
            }
        };
        timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("it did not come that {what}"))
    }

    /// Ends it as Ctrl-C does.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn interrupt(&self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it goes on");
        kill_process(pid, Signal::INT).unwrap();
    }

    /// What it says at its end, which is awaited.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(self) -> Said {
        let output = timeout(LIMIT, self.child.wait_with_output()).await.expect("the command ends").unwrap();
        let stderr = String::from_utf8(output.stderr).expect("the program prints text");
        Said { code: output.status.code(), stdout: String::new(), stderr }
    }
}

/// The program as another user, where one is named.
fn command_as(run_as: Option<&RunAs>, arguments: &[String], environment: &[(&str, &str)]) -> Command {
    let program = run_as.map_or_else(path, |run_as| run_as.program.clone());
    let mut command = command(&program, arguments, environment);
    if let Some(RunAs { user, group, .. }) = run_as {
        command.uid(*user).gid(*group);
    }
    command
}

/// The program with nothing in its environment but this, and the way to other programs.
fn command(program: &Path, arguments: &[String], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

// === impl Program ===

impl Program {
    pub(super) fn start(
        arguments: &[String],
        environment: &[(&str, &str)],
        log: &Path,
        run_as: Option<&RunAs>,
    ) -> Self {
        let log: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = command_as(run_as, arguments, environment);
        let child =
            command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("the program is built");
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it was just started");
        Self { child, pid }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub(super) fn has_ended(&mut self) -> Option<Ended> {
        self.child.try_wait().unwrap().map(Ended::from)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(mut self) -> Ended {
        timeout(LIMIT, self.child.wait()).await.expect("the controller ends").unwrap().into()
    }

    /// Its largest resident memory up to now, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes << 10
    }
}

// === impl Ended ===

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code() }
    }
}
