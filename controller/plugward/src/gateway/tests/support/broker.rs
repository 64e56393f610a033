//! The broker of a test's plugin: what it is told is noted, and it says what the test says.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream;
use futures::{FutureExt, StreamExt};
use go_plugin::{Address, BrokerClosed, BrokerError, BrokerMessage, Listener};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex as Turns, mpsc, watch};

use super::limited;
use crate::plugin::{Brokering, HostLine, Meeting, Offer, PluginError, Proving, StreamTurn};

/// By which a host speaks with its plugin's broker.
pub(in super::super) const BROKER: &str = "/plugin.GRPCBroker/StartStream";

/// The path of a host's server, which says its name to whoever connects.
pub(in super::super) fn naming_server(directory: &TempDir, name: &'static str) -> String {
    let path = directory.path().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(name.as_bytes()).await.unwrap();
        }
    });
    path.display().to_string()
}

/// The broker of one plugin, without TLS.
pub(in super::super) struct TestBroker {
    /// Shared with the gateway. Its path is the same on both sides.
    directory: TempDir,
    /// What the plugin was told.
    told: watch::Sender<Vec<BrokerMessage>>,
    /// How often its stream was opened.
    pub(in super::super) opened: watch::Sender<usize>,
    says: mpsc::UnboundedSender<Result<BrokerMessage, BrokerError>>,
    said: Mutex<Option<mpsc::UnboundedReceiver<Result<BrokerMessage, BrokerError>>>>,
    /// Where the plugin's streams arrive, if all share its connection.
    streams: Option<watch::Sender<Option<mpsc::UnboundedSender<Proving>>>>,
    /// Whose turn it is to open a stream towards it.
    turns: Arc<Turns<()>>,
    /// Those that were opened towards it.
    arrive: mpsc::UnboundedSender<DuplexStream>,
    arrived: Turns<mpsc::UnboundedReceiver<DuplexStream>>,
}

struct TestOffer(Listener);

impl Default for TestBroker {
    fn default() -> Self {
        let (says, said) = mpsc::unbounded_channel();
        let (arrive, arrived) = mpsc::unbounded_channel();
        Self {
            turns: Arc::default(),
            arrive,
            arrived: Turns::new(arrived),
            directory: tempfile::tempdir().unwrap(),
            told: watch::Sender::default(),
            opened: watch::Sender::default(),
            says,
            said: Mutex::new(Some(said)),
            streams: None,
        }
    }
}

impl TestBroker {
    /// One of a plugin that shares its connection.
    pub(in super::super) fn sharing() -> Self {
        Self { streams: Some(watch::Sender::default()), ..Self::default() }
    }

    pub(super) fn begin(&self) -> Brokering {
        self.opened.send_modify(|count| *count += 1);
        let told = self.told.clone();
        let said = self.said.lock().unwrap().take();
        let from_plugin = match said {
            Some(said) => {
                stream::unfold(said, |mut said| async move { Some((said.recv().await?, said)) }).boxed()
            }
            // It has one in its life.
            None => stream::iter([Err(BrokerError::Ended)]).boxed(),
        };
        let to_plugin = move |message| {
            told.send_modify(|told| told.push(message));
            std::future::ready(Ok::<_, BrokerClosed>(())).boxed()
        };
        let meeting = self.streams.as_ref().map_or(Meeting::Sockets, |streams| {
            let (opens, opened) = mpsc::unbounded_channel();
            streams.send_replace(Some(opens));
            let opened =
                stream::unfold(opened, |mut opened| async move { Some((opened.recv().await?, opened)) });
            Meeting::Streams(opened.boxed())
        });
        Brokering { to_plugin: Box::new(to_plugin), from_plugin, meeting }
    }

    /// Opens a stream.
    pub(in super::super) fn open(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(1024);
        let streams = self.streams.as_ref().unwrap().borrow();
        let line: HostLine = Box::new(theirs);
        streams.as_ref().unwrap().send(async { Ok(line) }.boxed()).unwrap();
        ours
    }

    /// The turn to open a stream towards it, if all share its connection.
    pub(super) async fn turn(&self) -> Option<StreamTurn> {
        self.streams.as_ref()?;
        let (turn, arrive) = (self.turns.clone().lock_owned().await, self.arrive.clone());
        Some(Box::new(move || {
            let (ours, theirs) = tokio::io::duplex(1024);
            arrive.send(theirs).unwrap();
            drop(turn);
            let line: HostLine = Box::new(ours);
            std::future::ready(Ok(line)).boxed()
        }))
    }

    /// The next stream that was opened towards it.
    pub(in super::super) async fn accept(&self) -> DuplexStream {
        limited(self.arrived.lock().await.recv()).await.unwrap()
    }

    /// Lets in who knocked for a server, or does not.
    pub(in super::super) fn answer(&self, id: u32, error: Option<&str>) {
        self.say(BrokerMessage::Ack { id, error: error.map(str::to_owned) });
    }

    /// Knocks for a server.
    pub(in super::super) fn knock(&self, id: u32) {
        self.say(BrokerMessage::Knock { id });
    }

    /// The answers to its knocks, when there are so many: whose they are, and why it is not let in.
    pub(in super::super) async fn answers(&self, count: usize) -> Vec<(u32, Option<String>)> {
        let answers = self.told(count).await.into_iter().map(|message| match message {
            BrokerMessage::Ack { id, error } => (id, error),
            other => panic!("{other:?}"),
        });
        answers.collect()
    }

    /// What it was told, when it was told so much.
    pub(in super::super) async fn told(&self, count: usize) -> Vec<BrokerMessage> {
        let mut told = self.told.subscribe();
        limited(told.wait_for(|told| told.len() >= count)).await.unwrap().clone()
    }

    pub(super) fn offer(&self) -> Box<dyn Offer> {
        Box::new(TestOffer(self.listen()))
    }

    pub(super) async fn dial_at(&self, address: &Address) -> Result<HostLine, PluginError> {
        let Address::Unix(path) = address else { panic!("a Unix socket") };
        let stream =
            UnixStream::connect(path).await.map_err(|error| PluginError::transient(error.to_string()))?;
        Ok(Box::new(stream))
    }

    /// Whether it was opened before, and so has ended.
    pub(in super::super) fn is_spent(&self) -> bool {
        *self.opened.borrow() > 0
    }

    /// Waits until its stream is open.
    pub(in super::super) async fn until_opened(&self) {
        limited(self.opened.subscribe().wait_for(|opened| *opened == 1)).await.unwrap();
    }

    /// The plugin says something.
    pub(in super::super) fn say(&self, message: BrokerMessage) {
        self.says.send(Ok(message)).unwrap();
    }

    /// A socket that the plugin listens on, in its directory.
    pub(in super::super) fn listen(&self) -> Listener {
        Listener::bind(self.directory.path(), None).unwrap()
    }

    /// The numbers of what it was offered, when it was offered so much, and where.
    pub(in super::super) async fn offered(&self, count: usize) -> Vec<(u32, String)> {
        let offers = self.told(count).await.into_iter().map(|message| match message {
            BrokerMessage::Announce { id, address: Address::Unix(path) } => (id, path),
            other => panic!("{other:?}"),
        });
        offers.collect()
    }
}

#[async_trait]
impl Offer for TestOffer {
    fn address(&self) -> Address {
        Address::Unix(self.0.path().display().to_string())
    }

    async fn accept(&self) -> Result<Proving, PluginError> {
        let inbound = self.0.accept().await.map_err(|error| PluginError::transient(error.to_string()))?;
        let proving = async move {
            let line: HostLine = Box::new(inbound.secured(None, std::time::Duration::from_secs(60)).await?);
            Ok(line)
        };
        Ok(proving.boxed())
    }
}
