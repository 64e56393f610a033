//! A simulated plugin's broker, as go-plugin's is.
//!
//! A process has one stream for it in its life: with the end of that, or with a second one, its broker has ended for good. What a host
//! offers is told on the stream, and each word of a server is good for one connection within [`PATIENCE`], before or after the plugin wishes for
//! it. What is said over such a connection is one line, the name of the call that the plugin is at, and one line back, which ends with
//! the name of the server.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream};
use go_plugin::{Address, BrokerClosed, BrokerError, BrokerMessage};
use plugward::names::PLUGIN_SIDE_DIRECTORY;
use plugward::plugin::{Brokering, HostLine, Meeting, Offer, PluginError, Proving};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;

/// How long a plugin waits for word of a server, and a word for a plugin: as go-plugin's broker does.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of one direction of a connection lies in the system, in bytes.
const IN_FLIGHT: usize = 4 << 10;

/// The sockets in a plugin's directory that the controller listens on, by their paths as the plugin sees them. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Sockets(Arc<Mutex<Bound>>);

#[derive(Default)]
struct Bound {
    listening: HashMap<String, mpsc::UnboundedSender<DuplexStream>>,
    made: u64,
}

/// One of them.
struct Socket {
    path: String,
    sockets: Sockets,
    arrived: tokio::sync::Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
}

/// The broker's stream as its process has it.
#[derive(Debug)]
pub(super) struct Stream {
    heard: mpsc::UnboundedReceiver<BrokerMessage>,
    says: mpsc::Sender<Result<BrokerMessage, BrokerError>>,
    cut: CancellationToken,
}

/// The broker of one process. Clones share it.
#[derive(Clone)]
pub(super) struct Broker(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    news: Notify,
    sockets: Sockets,
    ledger: Ledger,
    process: u64,
}

#[derive(Default)]
struct State {
    life: Life,
    /// Where servers are, and since when that is known.
    told: BTreeMap<u32, (String, Instant)>,
}

#[derive(Default)]
enum Life {
    /// No stream yet.
    #[default]
    Before,
    During(CancellationToken),
    After,
}

/// A connection to a host's server.
pub(super) struct Connection {
    line: tokio::sync::Mutex<BufReader<DuplexStream>>,
    /// The end of the controller through which it goes.
    cut: CancellationToken,
}

/// Both ends of a broker's stream; `cut` ends it with the controller.
pub(super) fn stream(cut: CancellationToken) -> (Brokering, Stream) {
    let (tell, heard) = mpsc::unbounded_channel();
    let (says, said) = mpsc::channel(1);
    let to_plugin = move |message| {
        let told = tell.send(message).map_err(|_| BrokerClosed);
        std::future::ready(told).boxed()
    };
    let said = stream::unfold(said, |mut said| async move { Some((said.recv().await?, said)) });
    let ended = stream::once(async { Err(BrokerError::Ended) });
    let brokering = Brokering {
        to_plugin: Box::new(to_plugin),
        from_plugin: said.chain(ended).boxed(),
        meeting: Meeting::Sockets,
    };
    (brokering, Stream { heard, says, cut })
}

// === impl Sockets ===

impl Sockets {
    /// Listens at a path of its own.
    pub(super) fn bind(&self) -> Box<dyn Offer> {
        let (connect, arrived) = mpsc::unbounded_channel();
        let mut bound = self.lock();
        bound.made += 1;
        let path = format!("{PLUGIN_SIDE_DIRECTORY}/broker{}", bound.made);
        bound.listening.insert(path.clone(), connect);
        Box::new(Socket { path, sockets: self.clone(), arrived: arrived.into() })
    }

    fn connect(&self, path: &str) -> Result<DuplexStream, String> {
        let (ours, theirs) = tokio::io::duplex(IN_FLIGHT);
        let found = self.lock().listening.get(path).cloned();
        let found = found.ok_or_else(|| format!("nobody listens at {path}"))?;
        found.send(theirs).map_err(|_| format!("nobody listens at {path} any more"))?;
        Ok(ours)
    }

    fn lock(&self) -> MutexGuard<'_, Bound> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Offer for Socket {
    fn address(&self) -> Address {
        Address::Unix(self.path.clone())
    }

    async fn accept(&self) -> Result<Proving, PluginError> {
        // There is TLS here as little as elsewhere.
        let arrived = self.arrived.lock().await.recv().await;
        let line: HostLine = Box::new(arrived.ok_or_else(|| PluginError::transient("the socket is gone"))?);
        Ok(async { Ok(line) }.boxed())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.sockets.lock().listening.remove(&self.path);
    }
}

// === impl Broker ===

impl Broker {
    pub(super) fn new(sockets: Sockets, ledger: Ledger, process: u64) -> Self {
        let (state, news) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { state, news, sockets, ledger, process }))
    }

    /// Hears what is told on a stream, to its end.
    pub(super) async fn hear(self, stream: Stream) {
        let Stream { mut heard, says, cut } = stream;
        let first = {
            let mut state = self.state();
            let first = matches!(state.life, Life::Before);
            state.life = if first { Life::During(cut.clone()) } else { Life::After };
            first
        };
        while first && matches!(self.state().life, Life::During(_)) {
            let message = tokio::select! {
                biased;
                () = cut.cancelled() => break,
                () = says.closed() => break,
                () = self.0.news.notified() => continue,
                message = heard.recv() => message,
            };
            match message {
                Some(BrokerMessage::Announce { id, address: Address::Unix(path) }) => {
                    self.0.ledger.broker_used(self.0.process);
                    self.state().told.insert(id, (path, Instant::now()));
                    self.0.news.notify_waiters();
                }
                None => break,
                Some(other) => panic!("a plugin that does not share its connection is told {other:?}"),
            }
        }
        self.state().life = Life::After;
        self.0.news.notify_waiters();
    }

    /// Connects to the server of this number.
    pub(super) async fn dial(&self, number: u32) -> Result<Connection, String> {
        let told = async {
            loop {
                let news = self.0.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                {
                    let mut state = self.state();
                    // Without a stream it waits as with one: it does not know that nobody tells it anything.
                    if let Life::During(cut) = &state.life {
                        let cut = cut.clone();
                        // Good for one connection, and not for ever.
                        if let Some((path, since)) = state.told.remove(&number)
                            && since.elapsed() <= PATIENCE
                        {
                            return (path, cut);
                        }
                    }
                }
                news.await;
            }
        };
        let told = timeout(PATIENCE, told).await;
        let (path, cut) = told.map_err(|_| "timeout waiting for connection info".to_owned())?;
        let line = BufReader::new(self.0.sockets.connect(&path)?);
        Ok(Connection { line: line.into(), cut })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Connection ===

impl Connection {
    /// Says at which call the plugin is. Gives the name of the server.
    pub(super) async fn ask(&self, call: &str) -> io::Result<String> {
        tokio::select! {
            biased;
            () = self.cut.cancelled() => Err(io::ErrorKind::ConnectionReset.into()),
            server = self.exchange(call) => server,
        }
    }

    async fn exchange(&self, call: &str) -> io::Result<String> {
        let mut line = self.line.lock().await;
        line.write_all(format!("{call}\n").as_bytes()).await?;
        loop {
            let mut answer = String::new();
            if line.read_line(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Others are the answers to calls that were given up.
            if let Some((of, server)) = answer.trim_end().split_once(' ')
                && of == call
            {
                return Ok(server.to_owned());
            }
        }
    }
}
