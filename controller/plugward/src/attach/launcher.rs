//! One launcher, as the controller has it: what it is told, and what it is asked to do where its host is.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plugward_attach::socket;
use plugward_attach::{FromController, FromLauncher};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::carried::carried;
use super::listening::{Listening, Offered};
use crate::gateway::OfferedSocket;

/// How long a launcher may take over what it is asked for.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Of a plugin's standard error, in one packet.
const PIECE: usize = 16 << 10;

/// A launcher that is connected.
pub(super) struct Launcher {
    /// It is one of packets, whatever the type says: the two have all in common that is used of this.
    socket: UnixStream,
    /// Its user.
    uid: u32,
    asked: Mutex<Asked>,
    gone: CancellationToken,
    /// Bytes of the plugin's standard error that it did not take.
    lost: AtomicU64,
}

/// What it has been asked for and has not answered.
#[derive(Default)]
struct Asked {
    last: u32,
    waiting: HashMap<u32, oneshot::Sender<Result<Answer, String>>>,
}

enum Answer {
    Listening { path: PathBuf, listener: OwnedFd, directory: OwnedFd },
    Dialled { stream: OwnedFd },
}

/// The number of the session's own socket.
pub(super) const MAIN: u32 = 0;

// === impl Launcher ===

impl Launcher {
    /// One of this user that has just connected.
    pub(super) fn new(socket: UnixStream, uid: u32) -> Self {
        Self { socket, uid, asked: Mutex::default(), gone: CancellationToken::new(), lost: AtomicU64::new(0) }
    }

    /// Its user.
    pub(super) const fn uid(&self) -> u32 {
        self.uid
    }

    /// What it says next, and the descriptors that came with it. `None` when it has gone. Dropping the future loses nothing.
    pub(super) async fn receive(&self) -> io::Result<Option<(FromLauncher, Vec<OwnedFd>)>> {
        loop {
            self.socket.readable().await?;
            // Not before there is something: most launchers say little, and for long.
            let mut buffer = vec![0; socket::MAX_PACKET];
            let received =
                self.socket.try_io(Interest::READABLE, || socket::receive(&self.socket, &mut buffer));
            return match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => Err(error),
                Ok(None) => Ok(None),
                Ok(Some((length, descriptors))) => FromLauncher::decode(&buffer[..length])
                    .map(|message| Some((message, descriptors)))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            };
        }
    }

    /// Tells it something. When this returns it has left our process. A launcher that does not read is given up.
    pub(super) fn tell(&self, message: &FromController) {
        self.tell_with(message, &[]);
    }

    /// The same, with descriptors.
    pub(super) fn tell_with(&self, message: &FromController, descriptors: &[BorrowedFd<'_>]) {
        if let Err(error) = socket::send(&self.socket, &message.encode(), descriptors) {
            let ended = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
            if !ended && !self.gone.is_cancelled() {
                tracing::warn!(%error, "a launcher is not told any more: it does not read");
            }
            self.gone.cancel();
        }
    }

    /// Passes on what the plugin writes to its standard error. What a launcher does not take at once is lost, which is said there once it
    /// takes something again: what else it is told must not wait behind that.
    pub(super) fn write(&self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            let mut room = [PollFd::new(&self.socket, PollFlags::OUT)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            if matches!(poll(&mut room, Some(&at_once)), Ok(1)) && room[0].revents().contains(PollFlags::OUT)
            {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let left_out = format!(
                        "plugward: {lost} bytes of the plugin's stderr are left out here, since the host did not read it\n"
                    );
                    self.tell(&FromController::Stderr { bytes: left_out.into_bytes() });
                }
                self.tell(&FromController::Stderr { bytes: piece.to_vec() });
            } else {
                self.lost.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    }

    /// Takes what it says until it is gone, or says what it must not.
    pub(super) async fn attend(&self) {
        let attending = async {
            loop {
                match self.receive().await {
                    Ok(Some((message, descriptors))) => {
                        if let Err(what) = self.take(message, descriptors) {
                            return tracing::warn!(
                                what,
                                "a launcher says what it must not: its session ends"
                            );
                        }
                    }
                    Ok(None) => return,
                    Err(error) => return tracing::debug!(%error, "a launcher cannot be heard any more"),
                }
            }
        };
        self.gone.run_until_cancelled(attending).await;
        self.gone.cancel();
        // Who waits for an answer gets none.
        self.asked().waiting.clear();
    }

    /// Resolves when it has gone, or is given up.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Has it make the session's socket, which listens where its host finds it.
    pub(super) async fn listen(&self) -> io::Result<Listening> {
        self.listen_as(MAIN).await
    }

    /// Has it make another, for a server that the plugin offers its host. It keeps that until what guards it is dropped.
    pub(super) async fn offer(self: &Arc<Self>) -> io::Result<OfferedSocket> {
        let id = self.number();
        // From here on, so that it also lets go of what is made too late for us.
        let mut offered = Offered { launcher: self.clone(), id, file: None };
        let Listening { listener, file } = self.listen_as(id).await?;
        let path = file.path().to_owned();
        offered.file = Some(file);
        Ok(OfferedSocket { listener, path, guard: Box::new(offered) })
    }

    async fn listen_as(&self, id: u32) -> io::Result<Listening> {
        let answer = self.ask(id, &FromController::Listen { id }).await?;
        let Answer::Listening { path, listener, directory } = answer else { return Err(wrong()) };
        Listening::new(path, listener, directory, self.uid)
    }

    /// Has it connect to a socket that its host named.
    pub(super) async fn dial(&self, path: PathBuf) -> io::Result<UnixStream> {
        let id = self.number();
        let answer = self.ask(id, &FromController::Dial { id, path }).await?;
        let Answer::Dialled { stream } = answer else { return Err(wrong()) };
        if !is_stream(&stream) {
            return Err(wrong());
        }
        carried(stream)
    }

    /// Of another socket than the session's, or a connection.
    fn number(&self) -> u32 {
        let mut asked = self.asked();
        // Millions of sessions' worth: no number comes again while it is in use.
        asked.last = asked.last.checked_add(1).unwrap_or(MAIN + 1);
        asked.last
    }

    async fn ask(&self, id: u32, question: &FromController) -> io::Result<Answer> {
        let (sender, answer) = oneshot::channel();
        self.asked().waiting.insert(id, sender);
        self.tell(question);
        let answered = timeout(ANSWER_LIMIT, answer).await;
        self.asked().waiting.remove(&id);
        match answered {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) => Err(io::Error::other(error)),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::NotConnected, "the launcher has gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the launcher does not answer")),
        }
    }

    fn take(&self, message: FromLauncher, descriptors: Vec<OwnedFd>) -> Result<(), &'static str> {
        let mut descriptors = descriptors.into_iter();
        let (id, answer) = match message {
            FromLauncher::Listening { id, path } => match (descriptors.next(), descriptors.next()) {
                (Some(listener), Some(directory)) => {
                    (id, Ok(Answer::Listening { path, listener, directory }))
                }
                _ => return Err("a socket without its descriptors"),
            },
            FromLauncher::Dialled { id } => match descriptors.next() {
                Some(stream) => (id, Ok(Answer::Dialled { stream })),
                None => return Err("a connection without its descriptor"),
            },
            FromLauncher::NotListening { id, error } | FromLauncher::NotDialled { id, error } => {
                (id, Err(error))
            }
            FromLauncher::Hello { .. } | FromLauncher::Environment { .. } => {
                return Err("a greeting in the middle of a session");
            }
        };
        if let Some(waiting) = self.asked().waiting.remove(&id) {
            // Who asked may not wait any more.
            let _ = waiting.send(answer);
        }
        Ok(())
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // Each change is one insert or removal: a panic leaves none half done.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launcher").field("gone", &self.gone.is_cancelled()).finish_non_exhaustive()
    }
}

pub(super) fn is_stream(socket: &OwnedFd) -> bool {
    let domain = socket_domain(socket.as_fd());
    domain == Ok(AddressFamily::UNIX) && socket_type(socket.as_fd()) == Ok(SocketType::STREAM)
}

pub(super) fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the launcher gave something else than it was asked for")
}
