//! A session: a host that takes the gateway for its plugin, and what acts for the gateway where that host is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use go_plugin::external::http::HeaderMap;
use go_plugin::external::rustls::ServerConfig;
use go_plugin::external::tonic::Code;
use go_plugin::{
    Address, Answer, BrokerMessage, BrokerReceiver, BrokerSender, Identity, Inbound, Inbounds, Peer, Plugin,
    PluginStream, SocketAddress,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::{World, db, limited, path};
use crate::gateway::priming::KeptPriming;
use crate::gateway::{Arrivals, Door, Hand, OfferedSocket};
use crate::names::{SessionId, SlotName};

/// Long enough for any machine. No test waits for it to pass.
const LIMIT: Duration = Duration::from_secs(60);

/// The host of a session.
pub(in super::super) struct SessionHost {
    /// What it takes for its plugin.
    pub(in super::super) plugin: Plugin,
    pub(in super::super) says: BrokerSender,
    hears: BrokerReceiver,
    arrive: Option<Inbounds>,
    /// With what it meets its plugin's connections.
    server: Option<Arc<ServerConfig>>,
    pub(in super::super) session: Session,
}

/// A session without its host.
#[derive(Clone)]
pub(in super::super) struct Session {
    pub(in super::super) hand: Arc<TestHand>,
    pub(in super::super) socket: PathBuf,
    /// Who the gateway is to the host.
    identity: Option<Arc<Identity>>,
    host: Arc<Identity>,
}

/// Acts where the host is: in a directory of its own.
#[derive(Debug)]
pub(in super::super) struct TestHand {
    directory: TempDir,
    offers: AtomicU64,
    /// The paths that were dialled.
    pub(in super::super) dialled: watch::Sender<Vec<PathBuf>>,
    /// How often the broker was said to be used.
    pub(in super::super) brokered: watch::Sender<usize>,
    pub(in super::super) shut_down: watch::Sender<bool>,
}

/// A file that goes when this is dropped.
#[derive(Debug)]
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

impl Hand for TestHand {
    fn dial(&self, path: &Path) -> BoxFuture<'static, io::Result<UnixStream>> {
        self.dialled.send_modify(|dialled| dialled.push(path.to_owned()));
        UnixStream::connect(path.to_owned()).boxed()
    }

    fn offer(&self) -> BoxFuture<'static, io::Result<OfferedSocket>> {
        let number = self.offers.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.path().join(format!("plugin{number}"));
        let offered = UnixListener::bind(&path).map(|listener| OfferedSocket {
            listener: Arrivals::Ours(listener),
            guard: Box::new(File(path.clone())),
            path,
        });
        std::future::ready(offered).boxed()
    }

    fn unsettled(&self) {}

    fn brokered(&self) {
        self.brokered.send_modify(|count| *count += 1);
    }

    fn worked(&self) -> bool {
        false
    }

    fn settled(&self, _: Option<Vec<KeptPriming>>) {}

    fn shut_down(&self) {
        self.shut_down.send_replace(true);
    }
}

impl World {
    /// A session begins whose host has yet to connect.
    pub(in super::super) fn session(&mut self, multiplexed: bool, automtls: bool) -> Session {
        let (session, id, listener) = self.joined_session(multiplexed, automtls);
        self.gateway.admit(&db(), &id, Arrivals::Ours(listener));
        session
    }

    /// A session that waits for its container: its host has no socket yet.
    pub(in super::super) fn joined_session(
        &mut self,
        multiplexed: bool,
        automtls: bool,
    ) -> (Session, SessionId, UnixListener) {
        let number = u8::try_from(self.terms.mounts.len()).unwrap();
        let id = SessionId::from_random([number; 7]);
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("plugin");
        let hand = Arc::new(TestHand {
            directory,
            offers: AtomicU64::default(),
            dialled: watch::Sender::default(),
            brokered: watch::Sender::default(),
            shut_down: watch::Sender::default(),
        });
        let host = Arc::new(Identity::generate().unwrap());
        let identity = automtls.then(|| Arc::new(Identity::generate().unwrap()));
        let peer = identity
            .as_ref()
            .map_or_else(Peer::plain, |identity| Peer::pinned(identity, host.certificate()).unwrap());
        let door = Door { peer, multiplexed, user: None, hand: hand.clone() };
        let listener = UnixListener::bind(&socket).unwrap();
        self.gateway.join(&db(), &id, door, true, None).unwrap();
        self.terms.mounts.insert(id.clone().into(), SlotName::Shared);
        self.serve();
        (Session { hand, socket, identity, host }, id, listener)
    }

    /// A session and its host.
    pub(in super::super) async fn session_host(&mut self, multiplexed: bool, automtls: bool) -> SessionHost {
        self.session(multiplexed, automtls).host(multiplexed).await
    }
}

impl Session {
    /// Its host connects.
    pub(in super::super) async fn host(self, multiplexed: bool) -> SessionHost {
        let address = self.address(&self.socket);
        let client = self
            .identity
            .as_ref()
            .map(|plugin| Arc::new(self.host.client_config(plugin.certificate()).unwrap()));
        let plugin = if multiplexed {
            Plugin::connect_multiplexed(&address, client, LIMIT).await.unwrap()
        } else {
            Plugin::connect(&address, client, LIMIT).await.unwrap()
        };
        let server = self
            .identity
            .as_ref()
            .map(|plugin| Arc::new(self.host.server_config(plugin.certificate()).unwrap()));
        let (says, hears) = plugin.broker();
        let arrive = plugin.session().map(|session| session.inbound().unwrap());
        SessionHost { plugin, says, hears, arrive, server, session: self }
    }

    fn address(&self, path: &Path) -> SocketAddress {
        let directory = self.hand.directory.path();
        let path = Address::Unix(path.to_str().unwrap().to_owned());
        SocketAddress::translate(&path, directory, directory).unwrap()
    }

    pub(in super::super) fn brokered(&self) -> bool {
        *self.hand.brokered.borrow() > 0
    }
}

impl SessionHost {
    /// Says something to its plugin's broker.
    pub(in super::super) async fn say(&self, message: BrokerMessage) {
        self.says.send(message).await.unwrap();
    }

    /// What it is told next.
    pub(in super::super) async fn heard(&mut self) -> BrokerMessage {
        limited(self.hears.recv()).await.unwrap()
    }

    /// Has a server that says its name to whoever proves to be its plugin.
    pub(in super::super) fn naming_server(&self, name: &'static str) -> PathBuf {
        let path = self.session.hand.directory.path().join(name);
        let (listener, server) = (UnixListener::bind(&path).unwrap(), self.server.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = Inbound::from(stream).secured(server.clone(), LIMIT).await {
                    stream.write_all(name.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        });
        path
    }

    /// Announces it.
    pub(in super::super) async fn offer(&self, id: u32, name: &'static str) -> PathBuf {
        let path = self.naming_server(name);
        self.announce(id, &path).await;
        path
    }

    pub(in super::super) async fn announce(&self, id: u32, path: &Path) {
        let address = Address::Unix(path.to_str().unwrap().to_owned());
        self.say(BrokerMessage::Announce { id, address }).await;
    }

    /// Lets its plugin in that knocked for this number, and says this in the stream that follows.
    pub(in super::super) async fn let_in(&mut self, id: u32, name: &str) {
        assert_eq!(self.heard().await, BrokerMessage::Knock { id });
        self.say(BrokerMessage::Ack { id, error: None }).await;
        let stream = limited(self.arrive.as_mut().unwrap().accept()).await.unwrap();
        let mut stream = stream.secured(self.server.clone(), LIMIT).await.unwrap();
        stream.write_all(name.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    /// Connects to a server that it was told of.
    pub(in super::super) async fn dial(&self, path: &str) -> PluginStream {
        let address = self.session.address(Path::new(path));
        self.plugin.dial_at(&address, LIMIT).await.unwrap()
    }

    /// Knocks for a server of its plugin's. Gives a stream to it, or why it was not let in.
    pub(in super::super) async fn knock(&mut self, id: u32) -> Result<PluginStream, String> {
        let turn = self.plugin.session().unwrap().turn().await;
        self.says.send(BrokerMessage::Knock { id }).await.unwrap();
        match limited(self.hears.recv()).await.unwrap() {
            BrokerMessage::Ack { id: its, error: None } if its == id => {
                Ok(turn.open_stream(LIMIT).await.unwrap())
            }
            BrokerMessage::Ack { id: its, error: Some(error) } if its == id => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// A call, and what the plugin answers.
    pub(in super::super) async fn call(&self, method: &str, message: Vec<u8>) -> Answer {
        self.plugin.call(path(method), HeaderMap::new(), message.into(), LIMIT).await.unwrap()
    }

    /// Sets up a secrets engine with its server of this number, once its broker is there.
    pub(in super::super) async fn set_up(&self, id: u8) {
        limited(async {
            while let Answer::Status { code: Code::FailedPrecondition, .. } =
                self.call("/pb.Backend/Setup", vec![8, id]).await
            {}
            // The test's plugin knows no such call, which changes nothing.
        })
        .await;
    }

    /// Whether its main connection leads to its plugin.
    pub(in super::super) async fn is_served(&self) {
        match self.call("/test.Plugin/Plain", b"x".to_vec()).await {
            Answer::Message(message) => assert!(message.ends_with(b" x")),
            Answer::Status { message, .. } => panic!("{message}"),
        }
    }
}

/// All that is said on a connection.
pub(in super::super) async fn all_said(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    limited(stream.read_to_string(&mut text)).await.unwrap();
    text
}
