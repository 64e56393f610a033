use std::collections::BTreeMap;

use go_plugin::Handshake;
use go_plugin::external::http::{HeaderMap, Request};
use go_plugin::external::prost::Message;
use go_plugin::external::tonic::Code;
use go_plugin::{BrokerError, BrokerMessage};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plugward::names::PLUGIN_SIDE_DIRECTORY;
use plugward::plugin::{Brokering, PluginError};
use plugward::slot::StoredIdentity;
use plugward_engine::container::{Bind, LogRotation, Resources, Security};
use plugward_engine::simulated::{Settings, Signal, SimulatedEngine};
use plugward_engine::{ContainerId, ContainerSpec, Created, Engine};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// Simulated time that is enough for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// A container of the instance `alpha`, and our conversation with its plugin.
struct Running {
    engine: SimulatedEngine,
    plugins: SimulatedPlugins,
    container: ContainerId,
    conversation: Arc<dyn Conversation>,
    _directory: TempDir,
}

impl Running {
    async fn start(kind: Kind) -> Self {
        let engine = SimulatedEngine::new(Settings::default());
        let plugins = SimulatedPlugins::new(0);
        plugins.set_mood(Mood::Calm);
        plugins.set_kind("alpha", kind);
        let behaving = plugins.clone();
        engine.add_image("plugin:1", move |container| behaving.behave(container));

        let directory = TempDir::new().unwrap();
        let identity = Identity::generate().unwrap();
        let spec = ContainerSpec {
            image: "plugin:1".to_owned(),
            entrypoint: Vec::new(),
            args: Vec::new(),
            env: vec![("PLUGIN_CLIENT_CERT".to_owned(), identity.certificate_pem())],
            labels: BTreeMap::from([(label::INSTANCE.to_owned(), "alpha".to_owned())]),
            oci_runtime: "runc".to_owned(),
            network: "none".to_owned(),
            resources: Resources::default(),
            binds: vec![Bind {
                source: directory.path().to_owned(),
                target: PathBuf::from(PLUGIN_SIDE_DIRECTORY),
            }],
            log: LogRotation { max_size_bytes: 1 << 20, max_files: 1 },
            groups: Vec::new(),
            capabilities: Vec::new(),
            security: Security::default(),
            tmpfs: Vec::new(),
            cgroup_parent: None,
        };
        let Created::Created { id, .. } = engine.create("alpha-1", &spec).await.unwrap() else {
            panic!("no container");
        };
        engine.start(&id).await.unwrap();
        let line = format!("1|1|unix|{PLUGIN_SIDE_DIRECTORY}/plugin1|grpc");
        let address = PluginAddress {
            directory: directory.path().to_owned(),
            handshake: Handshake::parse(line.as_bytes()).unwrap(),
            identity: StoredIdentity::new(identity.to_pem().as_str()),
            group: None,
            shared: false,
        };
        let conversation = plugins.connect(&address).await.unwrap();
        Self { engine, plugins, container: id, conversation, _directory: directory }
    }

    async fn host(&self) -> Host {
        let line = TokioIo::new(self.conversation.dial().await.unwrap());
        let (requests, connection) = handshake(TokioExecutor::new(), line).await.unwrap();
        tokio::spawn(connection);
        Host(requests)
    }

    /// A call over the controller's own connection.
    async fn call(&self, path: &str, metadata: &[(&str, &str)], message: &[u8]) -> UnaryAnswer {
        self.try_call(path, metadata, message).await.unwrap()
    }

    async fn try_call(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        message: &[u8],
    ) -> Result<UnaryAnswer, PluginError> {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        let call = UnaryCall {
            path: path.to_owned(),
            metadata: metadata.collect(),
            message: Arc::new(message.to_vec().into()),
            limit: LIMIT,
        };
        self.conversation.call(call).await
    }

    /// Opens the broker, and offers a server of this name as number 1. Both go on for as long as what is given is there.
    async fn offer(&self, name: &'static str) -> (Brokering, AbortOnDropHandle<()>) {
        let (brokering, offer) = (self.conversation.broker(), self.conversation.offer().unwrap());
        let announced = BrokerMessage::Announce { id: 1, address: offer.address() };
        (brokering.to_plugin)(announced).await.unwrap();
        let serving = tokio::spawn(async move {
            let mut line = BufReader::new(offer.accept().await.unwrap().await.unwrap());
            let mut call = String::new();
            while line.read_line(&mut call).await.unwrap() > 0 {
                line.write_all(format!("{} {name}\n", call.trim_end()).as_bytes()).await.unwrap();
                call.clear();
            }
        });
        (brokering, AbortOnDropHandle::new(serving))
    }

    fn says(&self, value: &str) -> Vec<u8> {
        format!("{}\n{value}", self.container.as_str()).into_bytes()
    }
}

/// A host with a connection of its own.
struct Host(SendRequest<Full<Bytes>>);

impl Host {
    /// The status, what is said of it, and the message.
    async fn ask(
        &mut self,
        path: &str,
        metadata: &[(&str, &str)],
        message: &[u8],
    ) -> hyper::Result<(i32, String, Vec<u8>)> {
        let size = u32::try_from(message.len()).unwrap().to_be_bytes();
        let content = [[0].as_slice(), &size, message].concat();
        let mut request = Request::post(format!("http://localhost{path}"));
        for (key, value) in metadata {
            request = request.header(*key, *value);
        }
        let (head, body) =
            self.0.send_request(request.body(Full::from(content)).unwrap()).await?.into_parts();
        assert_eq!(head.headers["content-type"], "application/grpc");
        let body = body.collect().await?;
        let end = body.trailers().cloned().unwrap_or(head.headers);
        let message = body.to_bytes();
        Ok((number(&end), said(&end), message.get(5..).unwrap_or_default().to_vec()))
    }
}

fn number(end: &HeaderMap) -> i32 {
    end["grpc-status"].to_str().unwrap().parse().unwrap()
}

fn said(end: &HeaderMap) -> String {
    end.get("grpc-message").map(|text| text.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_host_is_answered_over_http_2() {
    let running = Running::start(Kind::default()).await;
    assert!(!running.conversation.multiplexes().await.unwrap());
    let mut host = running.host().await;
    let ok = |value| (0, String::new(), running.says(value));

    assert_eq!(host.ask(CALL, &[], b"").await.unwrap(), ok(""));
    assert_eq!(host.ask(INITIALIZE, &[], b"first").await.unwrap(), (0, String::new(), Vec::new()));
    // To a plugin that does not multiplex all are one.
    assert_eq!(host.ask(CALL, &[("multiplex_id", "a")], b"").await.unwrap(), ok("first"));
    let (code, ..) = host.ask("/simulated.Plugin/Other", &[], b"").await.unwrap();
    assert_eq!(code, Code::Unimplemented as i32);

    let mut other = running.host().await;
    assert_eq!(other.ask(CALL, &[], b"").await.unwrap(), ok("first"));
}

#[tokio::test(start_paused = true)]
async fn each_multiplex_id_is_primed_by_itself() {
    let running = Running::start(Kind { multiplexes: true, needs_priming: true, ..Kind::default() }).await;
    assert!(running.conversation.multiplexes().await.unwrap());
    let mut host = running.host().await;
    let (a, b) = ([("multiplex_id", "a")], [("multiplex_id", "b")]);

    assert!(running.call(INITIALIZE, &a, b"of a").await.is_ok());
    let (code, said, _) = host.ask(CALL, &b, b"").await.unwrap();
    assert_eq!((code, said.as_str()), (Code::FailedPrecondition as i32, "not initialized"));
    host.ask(INITIALIZE, &b, b"of b").await.unwrap();

    assert_eq!(host.ask(CALL, &a, b"").await.unwrap().2, running.says("of a"));
    assert_eq!(running.call(CALL, &b, b"").await.message.as_slice(), running.says("of b"));
    let (code, ..) = host.ask(CALL, &[], b"").await.unwrap();
    assert_eq!(code, Code::InvalidArgument as i32);
}

#[tokio::test(start_paused = true)]
async fn the_ledger_says_who_saw_which_request() {
    let running = Running::start(Kind { needs_priming: true, ..Kind::default() }).await;
    let mut host = running.host().await;
    host.ask(CALL, &[(CALL_ID, "too early")], b"").await.unwrap();
    host.ask(INITIALIZE, &[(CALL_ID, "priming")], b"").await.unwrap();
    host.ask(CALL, &[(CALL_ID, "twice")], b"").await.unwrap();
    running.call(CALL, &[(CALL_ID, "twice")], b"").await;
    host.ask(CALL, &[], b"").await.unwrap();

    let ledger = running.plugins.ledger();
    let outcomes = |id: &str| ledger.of(id).into_iter().map(|served| served.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes("too early"), [Outcome::Unprimed]);
    assert_eq!(outcomes("priming"), [Outcome::Answered]);
    assert_eq!(outcomes("twice"), [Outcome::Answered, Outcome::Answered]);
    assert_eq!(outcomes("never"), []);
    assert_eq!(ledger.all().len(), 3);
    let served = ledger.of("priming").remove(0);
    assert_eq!((served.container, served.start), (running.container.clone(), 1));
    assert_eq!((served.path.as_str(), served.multiplex_id), (INITIALIZE, None));
}

#[tokio::test(start_paused = true)]
async fn with_the_process_all_its_connections_end() {
    let running = Running::start(Kind::default()).await;
    let mut host = running.host().await;
    host.ask(CALL, &[], b"").await.unwrap();
    let mut silent = running.conversation.dial().await.unwrap();
    // HTTP/2 begins with settings from both sides.
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut first = [0];
    timeout(LIMIT, silent.read_exact(&mut first)).await.unwrap().unwrap();

    assert!(running.engine.kill_process(&running.container, Signal::Kill));

    let mut written = Vec::new();
    timeout(LIMIT, silent.read_to_end(&mut written)).await.unwrap().unwrap();
    assert!(!written.is_empty(), "what was written before the end is lost");
    assert!(host.ask(CALL, &[], b"").await.is_err());
    timeout(LIMIT, running.conversation.closed()).await.unwrap();
    assert!(running.conversation.dial().await.is_err());
    assert!(running.conversation.multiplexes().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_paused_container_answers_once_it_goes_on() {
    let running = Running::start(Kind::default()).await;
    let mut host = running.host().await;
    host.ask(CALL, &[], b"").await.unwrap();
    assert!(running.engine.pause(&running.container));

    let asked = host.ask(CALL, &[], b"");
    tokio::pin!(asked);
    assert!(timeout(LIMIT, &mut asked).await.is_err());
    let error = running.conversation.multiplexes().await.unwrap_err();
    assert!(error.message.contains("no answer"), "{error}");
    // The system accepts in its place.
    let _waiting = running.conversation.dial().await.unwrap();

    assert!(running.engine.unpause(&running.container));
    let (code, ..) = timeout(LIMIT, asked).await.unwrap().unwrap();
    assert_eq!(code, 0);
}

fn backend() -> Kind {
    Kind { callbacks: Callbacks::Kept, ..Kind::default() }
}

fn setup() -> Vec<u8> {
    SetupArgs { broker_id: 1 }.encode_to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_backend_asks_its_hosts_server_until_its_cleanup() {
    let running = Running::start(backend()).await;
    let _offered = running.offer("storage").await;
    let refused = running.call(INITIALIZE_BACKEND, &[], b"").await;
    assert_eq!(refused.code, Code::FailedPrecondition as i32);

    assert!(running.call(SETUP, &[(CALL_ID, "setup")], &setup()).await.is_ok());
    assert!(running.call(INITIALIZE_BACKEND, &[], b"told").await.is_ok());
    let mut host = running.host().await;
    let answer = host.ask(CALL, &[(CALL_ID, "call")], b"").await.unwrap();
    assert_eq!(answer, (0, String::new(), running.says("told\nstorage")));

    assert!(running.call(CLEANUP, &[], b"").await.is_ok());
    assert_eq!(host.ask(CALL, &[(CALL_ID, "later")], b"").await.unwrap().2, running.says(""));
    let life = running.plugins.ledger().brokers().into_values().next().unwrap();
    assert!(life.used.is_some_and(|used| used > life.opened));
}

#[tokio::test(start_paused = true)]
async fn another_plugin_asks_the_server_whose_number_a_call_says_and_each_once() {
    let running = Running::start(Kind { callbacks: Callbacks::Each, ..Kind::default() }).await;
    let _offered = running.offer("server").await;
    let metadata = [(CALL_ID, "call"), (SERVER, "1")];
    assert_eq!(running.call(CALL, &metadata, b"").await.message.as_slice(), running.says("\nserver"));
    let again = running.call(CALL, &metadata, b"").await;
    assert_eq!((again.code, &*again.status_message), (13, "timeout waiting for connection info"));
}

#[tokio::test(start_paused = true)]
async fn a_broker_has_one_stream_in_its_life() {
    let running = Running::start(backend()).await;
    let (first, _serving) = running.offer("storage").await;
    let mut second = running.conversation.broker();
    assert!(matches!(second.from_plugin.next().await, Some(Err(BrokerError::Ended))));
    let refused = running.call(SETUP, &[], &setup()).await;
    assert_eq!(refused.status_message, "timeout waiting for connection info");
    drop(first);

    let running = Running::start(backend()).await;
    let (first, _serving) = running.offer("storage").await;
    running.plugins.hang_up();
    let left = running.try_call(SETUP, &[], &setup()).await;
    assert!(left.is_err(), "what is left of a controller does nothing more");
    drop(first);
}
