//! What a host starts in place of its plugin: a launcher that does what `plugward-attach` does, in simulated time.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use go_plugin::Handshake;
use plugward_attach::socket::{self, MAX_PACKET};
use plugward_attach::{FromController, FromLauncher, VERSION};
use rustix::fs::{Mode, OFlags};
use rustix::io::ioctl_fionbio;
use tokio::io::Interest;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::calls::{Absence, Calls};

/// The id of the session's own socket.
const OWN: u32 = 0;

/// The pause between attempts to reach a controller that has gone.
const PAUSE: Duration = Duration::from_millis(250);

/// What all launchers of a host have in common.
#[derive(Clone)]
pub(super) struct Launching {
    /// The attach socket.
    pub(super) place: PathBuf,
    /// Where sockets are made.
    pub(super) directory: PathBuf,
    /// What it is to stand for.
    pub(super) instance: &'static str,
    /// What its host has in place of a mount.
    pub(super) mount: &'static str,
    /// The host's.
    pub(super) environment: BTreeMap<String, String>,
    /// Who wants to know when there is no controller.
    pub(super) calls: Calls,
}

/// A launcher that runs, and has a session. With this it is killed.
#[derive(Debug)]
pub(super) struct Launcher {
    ended: watch::Receiver<Option<Ended>>,
    running: AbortHandle,
}

/// That a launcher has ended by itself, or never had a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Instant,
    /// Why.
    pub why: Why,
}

/// Why a launcher ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No controller took its connection.
    Absent,
    /// There is to be no session.
    Refused(String),
    /// The controller ended it.
    Exit {
        /// The launcher's exit code.
        code: u8,
        /// What it says.
        message: String,
        /// Whether this is the answer of another controller to a session that was kept for it.
        resuming: bool,
    },
    /// The controller went, and there was nothing to go on with.
    Gone,
    /// It went, and did not come back in time.
    Patience,
}

/// Its life, until it ends.
struct Life {
    launching: Launching,
    /// For the names of its sockets.
    name: String,
    /// It is one of packets, whatever the type says.
    controller: tokio::net::UnixStream,
    /// Where the handshake line goes.
    line: Option<oneshot::Sender<Handshake>>,
    sockets: BTreeMap<u32, Socket>,
    kept: Option<(OwnedFd, Duration)>,
    /// Since when it has waited for another controller.
    resuming: Option<Instant>,
}

/// A socket that it made. With this its file goes.
struct Socket {
    path: PathBuf,
    listener: OwnedFd,
    directory: OwnedFd,
}

// === impl Launcher ===

impl Launcher {
    /// Starts one, and waits for its handshake.
    ///
    /// # Errors
    /// When it ends instead.
    pub(super) async fn start(launching: &Launching, name: String) -> Result<(Self, Handshake), Ended> {
        let now = |why| Ended { at: Instant::now(), why };
        let controller = connect(&launching.place).map_err(|_| now(Why::Absent))?;
        let (line, printed) = oneshot::channel();
        let (over, ended) = watch::channel(None);
        let life = Life {
            launching: launching.clone(),
            name,
            controller,
            line: Some(line),
            sockets: BTreeMap::new(),
            kept: None,
            resuming: None,
        };
        let running = tokio::spawn(async move {
            let why = life.run().await;
            over.send_replace(Some(Ended { at: Instant::now(), why }));
        });
        // Whoever waits no longer kills it, as hosts do.
        let mut launcher = Self { ended, running: running.abort_handle() };
        let Ok(handshake) = printed.await else {
            let ended = launcher.ended.wait_for(Option::is_some).await;
            return Err(ended.ok().and_then(|ended| ended.clone()).unwrap_or_else(|| now(Why::Gone)));
        };
        Ok((launcher, handshake))
    }

    /// Waits until it has ended.
    pub(super) async fn over(&mut self) {
        let _ = self.ended.wait_for(Option::is_some).await;
    }

    /// That it has ended.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.running.abort();
    }
}

// === impl Life ===

impl Life {
    async fn run(mut self) -> Why {
        self.say(&self.hello(false), &[]);
        loop {
            let ended = match self.hear().await {
                Some((message, descriptors)) => self.obey(message, descriptors),
                None => self.come_back().await,
            };
            if let Some(why) = ended {
                return why;
            }
        }
    }

    /// Does what the controller says.
    fn obey(&mut self, message: FromController, descriptors: Vec<OwnedFd>) -> Option<Why> {
        match message {
            FromController::Refuse { message } => return Some(Why::Refused(message)),
            FromController::Exit { code, message } => {
                let message = message.unwrap_or_default();
                return Some(Why::Exit { code, message, resuming: self.resuming.is_some() });
            }
            FromController::Ask { variables, .. } => {
                let known = |name: String| {
                    let value = self.launching.environment.get(&name)?.clone().into_bytes();
                    Some((name, value))
                };
                let variables = variables.into_iter().filter_map(known).collect();
                self.say(&FromLauncher::Environment { variables }, &[]);
            }
            FromController::Listen { id } => {
                let path = self.launching.directory.join(format!("{}-{id}.sock", self.name));
                let made = Socket::make(path).expect("a socket is made");
                let message = FromLauncher::Listening { id, path: made.path.clone() };
                self.say(&message, &[made.listener.as_fd(), made.directory.as_fd()]);
                self.sockets.insert(id, made);
            }
            FromController::Unlisten { id } => drop(self.sockets.remove(&id)),
            FromController::Print { line } => {
                let handshake = Handshake::parse(line.as_bytes()).expect("a handshake line");
                let printed = self.line.take().expect("one handshake line");
                // The host may have given it up.
                let _ = printed.send(handshake);
            }
            FromController::Dial { id, path } => match UnixStream::connect(&path) {
                Ok(stream) => self.say(&FromLauncher::Dialled { id }, &[stream.as_fd()]),
                Err(error) => self.say(&FromLauncher::NotDialled { id, error: error.to_string() }, &[]),
            },
            FromController::Keep { patience } => {
                let state = descriptors.into_iter().next().expect("a state to be kept");
                self.kept = Some((state, patience));
            }
            FromController::Forget => self.kept = None,
            FromController::Resumed => self.comes_back(),
            FromController::Stderr { .. } => {}
        }
        None
    }

    /// The controller has gone: greets the next one, if there is something to go on with.
    async fn come_back(&mut self) -> Option<Why> {
        self.sockets.retain(|id, _| *id == OWN);
        let (Some((state, patience)), Some(own)) = (&self.kept, self.sockets.get(&OWN)) else {
            return Some(Why::Gone);
        };
        self.resuming.get_or_insert_with(Instant::now);
        let deadline = Instant::now() + *patience;
        while Instant::now() < deadline {
            sleep(PAUSE).await;
            let Ok(controller) = connect(&self.launching.place) else { continue };
            let descriptors = [state.as_fd(), own.listener.as_fd(), own.directory.as_fd()];
            if socket::send(&controller, &self.hello(true).encode(), &descriptors).is_ok() {
                self.controller = controller;
                return None;
            }
        }
        Some(Why::Patience)
    }

    /// It waits no more for another controller, if it did.
    fn comes_back(&mut self) {
        if let Some(from) = self.resuming.take() {
            let Launching { calls, instance, mount, .. } = &self.launching;
            calls.absence(Absence { instance, mount, from, to: Instant::now() });
        }
    }

    fn hello(&self, resumes: bool) -> FromLauncher {
        let instance = self.launching.instance.to_owned();
        FromLauncher::Hello { versions: (VERSION, VERSION), instance, resumes }
    }

    /// Says something. That the controller has gone is learnt by hearing.
    fn say(&self, message: &FromLauncher, descriptors: &[BorrowedFd<'_>]) {
        let _ = socket::send(&self.controller, &message.encode(), descriptors);
    }

    /// What the controller says next. `None` when it has gone.
    async fn hear(&self) -> Option<(FromController, Vec<OwnedFd>)> {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            self.controller.readable().await.expect("a socket can be waited for");
            let received =
                self.controller.try_io(Interest::READABLE, || socket::receive(&self.controller, &mut buffer));
            if received.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                continue;
            }
            let (length, descriptors) = received.ok().flatten()?;
            let message = FromController::decode(&buffer[..length]).expect("a message");
            return Some((message, descriptors));
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Its host may not wait for another controller.
        self.comes_back();
    }
}

// === impl Socket ===

impl Socket {
    fn make(path: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let directory = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path, listener: listener.into(), directory })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The controller may have done so before.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn connect(place: &Path) -> io::Result<tokio::net::UnixStream> {
    let controller = socket::connect(place)?;
    ioctl_fionbio(&controller, true)?;
    tokio::net::UnixStream::from_std(controller.into())
}
