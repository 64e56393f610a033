//! One launcher, as the controller has it: what it is told, and what it is asked to do where its host is.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plugward_attach::socket;
use plugward_attach::{FromController, FromLauncher};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FileType, statat, unlinkat};
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_peercred, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::accounts::Caller;

/// How long a launcher may take over what it is asked for.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Of a plugin's standard error, in one packet.
const PIECE: usize = 16 << 10;

/// A launcher that is connected.
pub(super) struct Launcher {
    /// It is one of packets, whatever the type says: the two have all in common that is used of this.
    socket: UnixStream,
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

/// A socket that a launcher made. Its file is removed when this is dropped, if it is still there and we may.
pub(super) struct Listening {
    pub(super) path: PathBuf,
    listener: Option<UnixListener>,
    _file: File,
}

/// Where a socket's file is, however its path looks from here.
struct File {
    directory: OwnedFd,
    name: PathBuf,
    /// Its device and number when it was made.
    identity: Option<(u64, u64)>,
}

/// The number of the session's own socket.
pub(super) const MAIN: u32 = 0;

// === impl Launcher ===

impl Launcher {
    /// One that has just connected.
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket, asked: Mutex::default(), gone: CancellationToken::new(), lost: AtomicU64::new(0) }
    }

    /// Who it is.
    pub(super) fn caller(&self) -> io::Result<Caller> {
        let peer = socket_peercred(&self.socket)?;
        // Of another PID namespace it has none that we can see.
        let pid = Some(peer.pid.as_raw_nonzero().get()).filter(|pid| *pid > 0);
        let uid = peer.uid.as_raw();
        let mut groups = vec![peer.gid.as_raw()];
        groups.extend(pid.and_then(|pid| supplementary_groups(pid, uid)).unwrap_or_default());
        Ok(Caller { pid, uid, groups })
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
            if error.kind() != io::ErrorKind::BrokenPipe && !self.gone.is_cancelled() {
                tracing::warn!(%error, "a launcher is not told any more: it does not read");
            }
            self.gone.cancel();
        }
    }

    /// Passes on what the plugin writes to its standard error. What a launcher does not take at once is lost, and counted: what else it is
    /// told must not wait behind that.
    pub(super) fn write(&self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            let mut room = [PollFd::new(&self.socket, PollFlags::OUT)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            if matches!(poll(&mut room, Some(&at_once)), Ok(1)) && room[0].revents().contains(PollFlags::OUT)
            {
                self.tell(&FromController::Stderr { bytes: piece.to_vec() });
            } else {
                self.lost.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    }

    /// The bytes that it did not take since this was last asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
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

    /// Has it make a socket that listens where its host finds it.
    pub(super) async fn listen(&self, main: bool) -> io::Result<Listening> {
        let answer = self.ask(main, |id| FromController::Listen { id }).await?;
        let Answer::Listening { path, listener, directory } = answer else { return Err(wrong()) };
        Listening::new(path, listener, directory)
    }

    /// Has it connect to a socket that its host named.
    pub(super) async fn dial(&self, path: PathBuf) -> io::Result<UnixStream> {
        let answer = self.ask(false, |id| FromController::Dial { id, path }).await?;
        let Answer::Dialled { stream } = answer else { return Err(wrong()) };
        if !is_stream(&stream) {
            return Err(wrong());
        }
        ioctl_fionbio(&stream, true)?;
        UnixStream::from_std(stream.into())
    }

    async fn ask(&self, main: bool, question: impl FnOnce(u32) -> FromController) -> io::Result<Answer> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut asked = self.asked();
            let id = if main {
                MAIN
            } else {
                // Millions of sessions' worth: no number comes again while it is waited for.
                asked.last = asked.last.checked_add(1).unwrap_or(1);
                asked.last
            };
            asked.waiting.insert(id, sender);
            id
        };
        self.tell(&question(id));
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

// === impl Listening ===

impl Listening {
    /// A listener that a launcher gave us, of a file in that directory.
    pub(super) fn new(path: PathBuf, listener: OwnedFd, directory: OwnedFd) -> io::Result<Self> {
        let name = path.file_name().map(PathBuf::from).ok_or_else(wrong)?;
        let file = File::new(directory, name);
        let listener = taken(listener)?;
        Ok(Self { path, listener: Some(listener), _file: file })
    }

    /// The listener of a session that another controller had, in the directory that its launcher still has open.
    pub(super) fn again(listener: OwnedFd, directory: OwnedFd) -> io::Result<Self> {
        let address = SocketAddrUnix::try_from(getsockname(&listener)?)?;
        let path = address.path_bytes().ok_or_else(wrong)?;
        Self::new(PathBuf::from(OsStr::from_bytes(path)), listener, directory)
    }

    /// The listener. It can be taken once.
    pub(super) fn take(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

/// A listener from another process, as one of ours. Must be called within a Tokio runtime.
///
/// # Errors
/// When it is none.
pub(super) fn taken(listener: OwnedFd) -> io::Result<UnixListener> {
    if !is_stream(&listener) || !socket_acceptconn(&listener)? {
        return Err(wrong());
    }
    ioctl_fionbio(&listener, true)?;
    UnixListener::from_std(listener.into())
}

// === impl File ===

impl File {
    fn new(directory: OwnedFd, name: PathBuf) -> Self {
        let identity = Self::look(&directory, &name);
        Self { directory, name, identity }
    }

    /// What is there now, if it is a socket.
    fn look(directory: &OwnedFd, name: &Path) -> Option<(u64, u64)> {
        let found = statat(directory, name.as_os_str().as_bytes(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
        socket.then_some((found.st_dev, found.st_ino))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // The launcher removes it itself, unless it was killed.
        if self.identity.is_some() && Self::look(&self.directory, &self.name) == self.identity {
            let _ = unlinkat(&self.directory, self.name.as_os_str().as_bytes(), AtFlags::empty());
        }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("path", &self.path).finish_non_exhaustive()
    }
}

fn is_stream(socket: &OwnedFd) -> bool {
    let domain = socket_domain(socket.as_fd());
    domain == Ok(AddressFamily::UNIX) && socket_type(socket.as_fd()) == Ok(SocketType::STREAM)
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the launcher gave something else than it was asked for")
}

/// The groups that a process has beside its own, if it is still the one of this user.
fn supplementary_groups(pid: i32, uid: u32) -> Option<Vec<u32>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    // The effective one is second. Who has its number by now is another.
    if field("Uid")?.split_ascii_whitespace().nth(1)?.parse() != Ok(uid) {
        return None;
    }
    Some(field("Groups")?.split_ascii_whitespace().filter_map(|group| group.parse().ok()).collect())
}
