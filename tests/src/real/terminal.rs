//! The program on a terminal: a pseudo-terminal whose other end is the test.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OutputModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::program;

/// How long the program may take to do what it is told.
const LIMIT: Duration = Duration::from_secs(90);

/// What Ctrl-C sends.
const INTERRUPT: u8 = 3;

/// A program on a terminal of its own. Dropping it kills it.
pub struct Terminal {
    keyboard: File,
    screen: OwnedFd,
    child: Option<Child>,
    written: watch::Receiver<String>,
}

// === impl Terminal ===

impl Terminal {
    /// Runs the program on a terminal that is so many columns wide. `setsid` makes the terminal its controlling one: so Ctrl-C
    /// reaches it as it would a person's.
    ///
    /// # Panics
    /// When there are no pseudo-terminals.
    pub(super) fn start(arguments: &[String], environment: &[(&str, &str)], columns: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let path = OsStr::from_bytes(name.as_bytes());
        let screen: OwnedFd = OpenOptions::new().read(true).write(true).open(path).unwrap().into();
        let keyboard = File::from(controller);
        resize(&keyboard, columns);
        let end = || Stdio::from(screen.try_clone().unwrap());
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(program::path())
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TERM", "xterm")
            .envs(environment.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("util-linux is installed, and the program is built");
        let written = read_on(keyboard.try_clone().unwrap());
        Self { keyboard, screen, child: Some(child), written }
    }

    /// Waits until what the program wrote up to now is what is looked for.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn until(&mut self, what: &str, mut look: impl FnMut(&str) -> bool) {
        let seen =
            timeout(LIMIT, self.written.wait_for(|written| look(written))).await.map(|seen| seen.is_ok());
        assert_eq!(seen, Ok(true), "it did not come that {what}: {:?}", *self.written.borrow());
    }

    /// All that the program wrote up to now, with the codes that move the cursor.
    pub fn written(&self) -> String {
        self.written.borrow().clone()
    }

    /// The terminal gets another width, as when somebody drags its window.
    pub fn resize(&self, columns: u16) {
        resize(&self.keyboard, columns);
    }

    /// Somebody presses Ctrl-C.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn interrupt(&mut self) {
        self.keyboard.write_all(&[INTERRUPT]).unwrap();
    }

    /// Whether a shell finds the terminal as it should be: keys are shown, lines are edited, Ctrl-C is a signal, lines end as they do.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn is_sane(&self) -> bool {
        let modes = tcgetattr(&self.screen).unwrap();
        let wanted = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        modes.local_modes.contains(wanted)
            && modes.output_modes.contains(OutputModes::OPOST | OutputModes::ONLCR)
    }

    /// Waits until the program has ended. Its exit code, unless a signal ended it.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it ends once");
        let ended = timeout(LIMIT, spawn_blocking(move || child.wait()));
        ended.await.expect("the command ends").unwrap().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn resize(terminal: &File, columns: u16) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

/// Reads what is written to a terminal, on a thread that ends with it.
fn read_on(mut terminal: File) -> watch::Receiver<String> {
    let (sender, written) = watch::channel(String::new());
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        let mut all = Vec::new();
        // A terminal that nobody has open any more is an error to read.
        while let Ok(length) = terminal.read(&mut bytes) {
            all.extend_from_slice(&bytes[..length]);
            let text = String::from_utf8_lossy(&all).into_owned();
            if length == 0 || sender.send(text).is_err() {
                break;
            }
        }
    });
    written
}
