//! A controller that says what a test wants, and the host's side of a launcher.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use plugward_attach::socket::{self, MAX_PACKET};
use plugward_attach::{FromController, FromLauncher};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tempfile::TempDir;

/// For what comes at once, on a machine with much else to do.
const LONG: Duration = Duration::from_secs(60);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_plugward-attach");

/// A controller with a run directory, and a directory for the host's sockets.
pub(crate) struct Controller {
    run: TempDir,
    host: TempDir,
    listener: Option<OwnedFd>,
}

/// A controller's end of a connection with a launcher.
pub(crate) struct Peer {
    socket: OwnedFd,
}

/// A launcher, as its host has it. It is killed when a test forgets it.
pub(crate) struct Launcher {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

/// How a launcher ended.
#[derive(Debug)]
pub(crate) struct End {
    /// None where it was ended by a signal.
    pub(crate) code: Option<i32>,
    /// What had not been read before.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Controller {
    pub(crate) fn start() -> Self {
        let mut controller = Self::absent();
        std::fs::create_dir(controller.run.path().join("one")).unwrap();
        controller.come();
        controller
    }

    /// There is none yet.
    pub(crate) fn absent() -> Self {
        Self { run: tempfile::tempdir().unwrap(), host: tempfile::tempdir().unwrap(), listener: None }
    }

    /// It comes, and its socket takes the place of the last one's, as in the program.
    pub(crate) fn come(&mut self) {
        let beside = self.socket().with_extension("new");
        self.listener = Some(socket::listen(&beside, 16).unwrap());
        std::fs::rename(beside, self.socket()).unwrap();
    }

    /// It goes, and leaves its socket's file, or not.
    pub(crate) fn go(&mut self, file_stays: bool) {
        self.listener = None;
        if !file_stays {
            std::fs::remove_file(self.socket()).unwrap();
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run.path().join("one/attach.sock")
    }

    pub(crate) fn run_directory(&self) -> &Path {
        self.run.path()
    }

    pub(crate) fn host_directory(&self) -> &Path {
        self.host.path()
    }

    pub(crate) fn host_files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.host.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// A launcher that is to be started, for the instance `redis`.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--run-dir").arg(self.run.path()).arg("redis");
        self.surround(command)
    }

    /// Surroundings in which there is nothing but this controller's directories.
    pub(crate) fn surround(&self, mut command: Command) -> Command {
        command.env_clear().env("TMPDIR", self.host.path());
        command
    }

    pub(crate) fn accept(&self) -> Peer {
        let listener = self.listener.as_ref().unwrap();
        comes(listener, "a launcher");
        let socket = accept(listener);
        set_socket_timeout(&socket, Timeout::Recv, Some(LONG)).unwrap();
        Peer { socket }
    }

    /// A launcher that has told its environment, of which nothing was asked.
    pub(crate) fn attach(&self) -> (Launcher, Peer) {
        let launcher = Launcher::start(self.command());
        let peer = self.accept();
        assert!(matches!(peer.hear(), (FromLauncher::Hello { resumes: false, .. }, _)));
        peer.say(&FromController::Ask { version: 1, variables: Vec::new() });
        assert_eq!(peer.hear().0, FromLauncher::Environment { variables: Vec::new() });
        (launcher, peer)
    }
}

impl Peer {
    pub(crate) fn say(&self, message: &FromController) {
        socket::send(&self.socket, &message.encode(), &[]).unwrap();
    }

    pub(crate) fn send(&self, message: &[u8]) {
        socket::send(&self.socket, message, &[]).unwrap();
    }

    pub(crate) fn keep(&self, state: impl AsFd, patience: Duration) {
        let message = FromController::Keep { patience }.encode();
        socket::send(&self.socket, &message, &[state.as_fd()]).unwrap();
    }

    pub(crate) fn hear(&self) -> (FromLauncher, Vec<OwnedFd>) {
        let mut buffer = vec![0; MAX_PACKET];
        let (length, descriptors) =
            socket::receive(&self.socket, &mut buffer).unwrap().expect("the launcher has ended");
        (FromLauncher::decode(&buffer[..length]).unwrap(), descriptors)
    }

    /// Waits until the launcher has gone.
    pub(crate) fn hear_the_end(&self) {
        let heard = socket::receive(&self.socket, &mut vec![0; MAX_PACKET]);
        assert!(heard.as_ref().is_ok_and(Option::is_none), "{heard:?}");
    }

    /// Has a socket made: its path, the listener and its directory.
    pub(crate) fn listen(&self, id: u32) -> (PathBuf, OwnedFd, OwnedFd) {
        self.say(&FromController::Listen { id });
        let (message, descriptors) = self.hear();
        let FromLauncher::Listening { id: same, path } = message else { panic!("{message:?}") };
        assert_eq!(same, id);
        let [listener, directory] = descriptors.try_into().unwrap();
        (path, listener, directory)
    }
}

impl Launcher {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = child.stderr.take().unwrap();
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> End {
        self.await_end();
        let code = self.child.wait().unwrap().code();
        let (mut stdout, mut stderr) = (String::new(), Vec::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_end(&mut stderr).unwrap();
        End { code, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }

    /// Waits for its end; nobody reads what it writes.
    pub(crate) fn await_end(&self) {
        comes(pidfd_open(self.pid(), PidfdFlags::empty()).unwrap(), "the launcher's end");
    }

    pub(crate) fn stderr(&mut self) -> &mut ChildStderr {
        &mut self.stderr
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    /// It failed: with one line on stderr that has these words, and nothing on stdout.
    pub(crate) fn failed_with(&self, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        assert!(self.stderr.starts_with("plugward-attach: ") && self.stderr.ends_with('\n'), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word} is not in {}", self.stderr);
        }
    }
}

/// Accepts a connection that is not left to the launchers of other tests.
pub(crate) fn accept(listener: impl AsFd) -> OwnedFd {
    rustix::net::accept_with(listener, SocketFlags::CLOEXEC).unwrap()
}

/// Waits until there is something to read.
pub(crate) fn comes(from: impl AsFd, what: &str) {
    let limit = Timespec { tv_sec: LONG.as_secs().try_into().unwrap(), tv_nsec: 0 };
    let mut polled = [PollFd::new(&from, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut polled, Some(&limit))).unwrap();
    assert_eq!(ready, 1, "{what} did not come");
}
