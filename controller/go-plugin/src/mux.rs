//! The multiplexed mode: all connections between a host and its plugin, in both directions, are streams of one yamux session.
//!
//! The plugin accepts exactly one connection on its socket, and ends when that ends. The host is the session's client, the plugin its
//! server, and this is either. A stream of the host's goes to the plugin's main server, unless the host knocked before it; a stream of the
//! plugin's belongs to the number that the plugin knocked for. On the wire nothing but their order tells streams apart, which is what
//! [`Turn`] is for.
//!
//! # Guarantees
//!
//! - One task reads and writes the session. It waits for nobody: a stream that is not read costs the other side's right to send on it,
//!   and no other stream anything.
//! - A stream is on the wire when it is opened, and acknowledged when it arrives: a Go program ends a session in which that takes
//!   75 seconds.
//! - What arrives and is not read is at most 256 KiB for each stream; there are at most [`MAX_STREAMS`] streams, and at most
//!   [`MAX_WAITING`] of them wait to be [accepted](Inbounds::accept). What is too much is reset; one who goes on nevertheless
//!   ends the session.

mod driver;
mod stream;
mod watched;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{
    net::UnixStream,
    sync::{Mutex as Queue, Notify, OwnedMutexGuard, mpsc, oneshot, watch},
    time,
};
use tokio_rustls::TlsConnector;
use yamux::Mode;

pub(crate) use self::stream::MuxStream;
use crate::{ConnectError, Inbound, Peer, PluginStream, dialer::brokered};

/// How many streams there may be at a time, opened by either side.
pub const MAX_STREAMS: usize = 256;

/// How many streams of the other side's wait to be accepted.
pub const MAX_WAITING: usize = 32;

/// How long the other side may take over a stream that was opened, however long the one who opened it waits.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Asks the driver for a stream.
type Request = oneshot::Sender<Result<MuxStream, ConnectError>>;

/// A session with a plugin, or in a plugin with its host.
///
/// It ends with its connection, when it is [ended](Self::end), or when this and all of its streams are dropped.
pub struct Session {
    opener: Opener,
    turn: Arc<Queue<()>>,
    inbound: Mutex<Option<mpsc::Receiver<MuxStream>>>,
    /// Has a sender as long as there is a session. It never sends anything.
    open: watch::Receiver<()>,
    /// To be told that it is to end at once.
    end: Arc<Notify>,
}

#[derive(Clone)]
struct Opener {
    requests: mpsc::Sender<Request>,
    tls: Option<TlsConnector>,
    /// For streams that were knocked for.
    brokered: Option<TlsConnector>,
}

/// The right to open the next stream. Nobody else can as long as this exists.
///
/// Take it before knocking, and keep it until the stream is open: a stream that someone else opened in between would
/// be taken for the one that was knocked for. After a positive answer a stream has to be opened even if nobody wants it any more,
/// for the same reason; it may be dropped at once.
pub struct Turn {
    opener: Opener,
    guard: OwnedMutexGuard<()>,
}

/// What a stream is opened for.
#[derive(Clone, Copy)]
enum Purpose {
    /// The plugin's main server.
    Main,
    /// The server that was knocked for.
    Knocked,
}

/// The streams that the other side opens, in the order in which it did.
#[derive(Debug)]
pub struct Inbounds(mpsc::Receiver<MuxStream>);

// === impl Session ===

impl Session {
    /// Starts a session with a plugin, on a connection that nothing was sent on yet. Must be called within a tokio runtime, in which a
    /// task drives it.
    ///
    /// With `tls`, as [`Identity::client_config`](crate::Identity::client_config) makes it, the streams that are opened are secured.
    pub fn start(connection: UnixStream, tls: Option<Arc<ClientConfig>>) -> Self {
        let (brokered, main) = (tls.as_deref().map(brokered), tls.map(TlsConnector::from));
        Self::drive(connection, Mode::Client, main, brokered)
    }

    /// Starts a session with a host, on a connection that it made to its plugin, and that nothing was read of yet. Must be called within
    /// a tokio runtime, in which a task drives it.
    ///
    /// The streams that are opened are secured as connections to this peer are. Those that the host opens are to be
    /// [accepted](Peer::accept) by it: the first of them goes to the plugin's main server.
    pub fn serve(connection: UnixStream, host: &Peer) -> Self {
        let tls = host.connector();
        Self::drive(connection, Mode::Server, tls.clone(), tls)
    }

    fn drive(
        connection: UnixStream,
        mode: Mode,
        tls: Option<TlsConnector>,
        brokered: Option<TlsConnector>,
    ) -> Self {
        let (requests, asked) = mpsc::channel(1);
        let (arrive, inbound) = mpsc::channel(MAX_WAITING);
        let (alive, open) = watch::channel(());
        let end = Arc::new(Notify::new());
        let driver = driver::Driver::new(connection, mode, asked, requests.downgrade(), arrive);
        let told = Arc::clone(&end);
        tokio::spawn(async move {
            tokio::select! {
                () = driver.run() => (),
                () = told.notified() => (),
            }
            drop(alive);
        });
        Self {
            opener: Opener { requests, tls, brokered },
            turn: Arc::default(),
            inbound: Mutex::new(Some(inbound)),
            open,
            end,
        }
    }

    /// Waits until nobody else is about to open a stream.
    pub async fn turn(&self) -> Turn {
        let guard = Arc::clone(&self.turn).lock_owned().await;
        Turn { opener: self.opener.clone(), guard }
    }

    /// A stream to the plugin's main server.
    pub(crate) async fn dial(&self, limit: Duration) -> Result<PluginStream, ConnectError> {
        let dialling = async { self.turn().await.opened(Purpose::Main).await };
        time::timeout(limit, dialling).await.unwrap_or(Err(ConnectError::TimedOut { limit }))
    }

    /// The streams that the other side opens. There is one such queue: `None` for the second who asks. While nobody has asked,
    /// streams wait; when it is dropped, they are reset.
    pub fn inbound(&self) -> Option<Inbounds> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner).take().map(Inbounds)
    }

    /// Ends the session at once, and all of its streams with it.
    pub fn end(&self) {
        self.end.notify_one();
    }

    /// Resolves when the session has ended, and all of its streams with it.
    pub async fn ended(&self) {
        // An error, which is what comes here, says that the sender is gone.
        while self.open.clone().changed().await.is_ok() {}
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("tls", &self.opener.tls.is_some()).finish_non_exhaustive()
    }
}

// === impl Turn ===

impl Turn {
    /// Opens a stream, which is secured where the session has settings for it, and has arrived where the other side wants it
    /// when this returns: without TLS, this waits for the other side's first word. Others can have their turn then.
    ///
    /// # Errors
    ///
    /// Says which step failed, that there are [`MAX_STREAMS`] streams, that the session has ended, or that all together
    /// took longer than `limit`.
    pub async fn open_stream(self, limit: Duration) -> Result<PluginStream, ConnectError> {
        time::timeout(limit, self.opened(Purpose::Knocked))
            .await
            .unwrap_or(Err(ConnectError::TimedOut { limit }))
    }

    /// In a task of its own: what was begun is also brought to its end when nobody waits for it any more, since until then a
    /// stream of the next turn could be taken for this one's.
    async fn opened(self, purpose: Purpose) -> Result<PluginStream, ConnectError> {
        let Self { opener, guard } = self;
        let opening = tokio::spawn(async move {
            let opened = time::timeout(OPEN_LIMIT, opener.open(purpose)).await;
            drop(guard);
            opened.unwrap_or(Err(ConnectError::TimedOut { limit: OPEN_LIMIT }))
        });
        opening.await.unwrap_or(Err(ConnectError::SessionEnded))
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

// === impl Opener ===

impl Opener {
    async fn open(&self, purpose: Purpose) -> Result<PluginStream, ConnectError> {
        let (request, answer) = oneshot::channel();
        self.requests.send(request).await.map_err(|_| ConnectError::SessionEnded)?;
        let raw = answer.await.map_err(|_| ConnectError::SessionEnded)??;
        let tls = match purpose {
            Purpose::Main => &self.tls,
            Purpose::Knocked => &self.brokered,
        };
        let mut stream = PluginStream::dialled(raw, tls.as_ref()).await?;
        if self.tls.is_none() {
            stream.greeted().await.map_err(|_| ConnectError::SessionEnded)?;
        }
        Ok(stream)
    }
}

// === impl Inbounds ===

impl Inbounds {
    /// The next stream; `None` when the session has ended. Dropping the future loses none.
    pub async fn accept(&mut self) -> Option<Inbound> {
        self.0.recv().await.map(Inbound::new)
    }
}

#[cfg(test)]
mod tests;
