//! The broker of a test's plugin: what it is told is noted, and it says what the test says.

use std::sync::Mutex;

use async_trait::async_trait;
use futures::stream;
use futures::{FutureExt, StreamExt};
use go_plugin::{Address, BrokerClosed, BrokerError, BrokerMessage, Listener};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use super::limited;
use crate::plugin::{Brokering, HostLine, Offer, PluginError, Proving};

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
}

struct TestOffer(Listener);

impl Default for TestBroker {
    fn default() -> Self {
        let (says, said) = mpsc::unbounded_channel();
        Self {
            directory: tempfile::tempdir().unwrap(),
            told: watch::Sender::default(),
            opened: watch::Sender::default(),
            says,
            said: Mutex::new(Some(said)),
        }
    }
}

impl TestBroker {
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
        Brokering { to_plugin: Box::new(to_plugin), from_plugin }
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
        let mut told = self.told.subscribe();
        let told = limited(told.wait_for(|told| told.len() >= count)).await.unwrap().clone();
        let offers = told.into_iter().map(|message| match message {
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
