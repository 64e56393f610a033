//! The two halves of the crate against each other, in one process, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use futures::StreamExt;
use go_plugin::{
    Address, CallError, ConnectError, Cookie, Expected, Handshake, Health, Identity, Launch, Plugin,
    SocketAddress, StdioChannel,
    external::{
        rustls::{
            ClientConfig, HandshakeKind, ServerConfig, SignatureScheme, client::ResolvesClientCert,
            crypto::aws_lc_rs, pki_types::ServerName, sign::CertifiedKey, version,
        },
        tonic::{self, Request, Response, Status, service::Routes},
    },
    proto::multiplexing::{
        MultiplexingSupportRequest, MultiplexingSupportResponse,
        plugin_multiplexing_server::{PluginMultiplexing, PluginMultiplexingServer},
    },
    serve::{Listening, Server},
};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P521_SHA512};
use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinHandle, time};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Long enough for any machine. No test waits for it to pass in real time.
const LIMIT: Duration = Duration::from_mins(1);

/// A plugin that runs in this process, and what its host knows of it.
struct Served {
    directory: TempDir,
    handshake: Handshake,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves a plugin that was launched with this host's certificate, if any.
    fn start(server: Server, host: Option<&Identity>) -> Self {
        let directory = TempDir::new().unwrap();
        let launch = Launch {
            cookie: cookie(),
            protocol_versions: vec![1],
            socket_directory: directory.path().to_str().unwrap().to_owned(),
            socket_group: None,
            client_certificate: host.map(Identity::certificate_pem),
            multiplex_broker: false,
        };
        let environment: HashMap<_, _> = launch.environment().into_iter().collect();
        let mut listening: Listening = server.listen(|name| environment.get(name).cloned()).unwrap();
        let expected = Expected { versions: vec![1], automtls: host.is_some(), multiplex_broker: false };
        listening.handshake().check(&expected).unwrap();
        let handshake = Handshake::parse(listening.handshake().to_string().as_bytes()).unwrap();
        let task = tokio::spawn(async move { listening.serve().await });
        Self { directory, handshake, task }
    }

    fn address(&self) -> SocketAddress {
        let directory = self.directory.path();
        SocketAddress::translate(&self.handshake.address, directory, directory).unwrap()
    }

    /// What the host needs to trust this plugin.
    fn settings(&self, host: &Identity) -> ClientConfig {
        host.client_config(self.handshake.server_certificate.as_ref().unwrap()).unwrap()
    }

    async fn connect(&self, settings: Option<ClientConfig>) -> Result<Plugin, ConnectError> {
        Plugin::connect(&self.address(), settings.map(Arc::new), LIMIT).await
    }
}

fn cookie() -> Cookie {
    Cookie::new("TEST_PLUGIN", "hello").unwrap()
}

fn server() -> Server {
    Server::new(cookie()).version(1, Routes::default())
}

fn address_in(directory: &Path, name: &str) -> SocketAddress {
    let path = directory.join(name).to_str().unwrap().to_owned();
    SocketAddress::translate(&Address::Unix(path), directory, directory).unwrap()
}

/// A gRPC server without any service of go-plugin's.
fn serve_nothing(listener: UnixListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let services = TowerToHyperService::new(Routes::default().prepare());
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), services));
        }
    })
}

#[tokio::test]
async fn host_and_plugin_speak_over_mutual_tls() {
    let host = Identity::generate().unwrap();
    let served = Served::start(server(), Some(&host));
    let plugin = served.connect(Some(served.settings(&host))).await.unwrap();
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn host_and_plugin_speak_in_plaintext_when_nothing_else_was_asked() {
    let served = Served::start(server(), None);
    let plugin = served.connect(None).await.unwrap();
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn an_identity_read_back_from_storage_is_as_good() {
    let host = Identity::generate().unwrap();
    let served = Served::start(server(), Some(&host));
    let adopted = Identity::from_pem(&host.to_pem()).unwrap();
    let plugin = served.connect(Some(served.settings(&adopted))).await.unwrap();
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn a_plugin_with_another_certificate_than_it_printed_is_refused() {
    let host = Identity::generate().unwrap();
    let served = Served::start(server(), Some(&host));
    let impostor = Identity::generate().unwrap();
    let settings = host.client_config(impostor.certificate()).unwrap();
    let error = served.connect(Some(settings)).await.unwrap_err();
    assert_eq!(error.as_str(), "tls", "{error}");
}

#[tokio::test]
async fn a_plugin_serves_no_other_host() {
    let host = Identity::generate().unwrap();
    let served = Served::start(server(), Some(&host));
    let stranger = Identity::generate().unwrap();
    // In TLS 1.3 a client learns of its refusal with the first answer.
    let plugin = served.connect(Some(served.settings(&stranger))).await.unwrap();
    let error = plugin.health(LIMIT).await.unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
    plugin.closed().await;
}

#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_plugin_serves_no_host_without_a_certificate() {
    let host = Identity::generate().unwrap();
    let served = Served::start(server(), Some(&host));
    let mut settings = served.settings(&host);
    settings.client_auth_cert_resolver = Arc::new(Nobody);
    let plugin = served.connect(Some(settings)).await.unwrap();
    let error = plugin.health(LIMIT).await.unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
}

#[tokio::test]
async fn plaintext_and_tls_do_not_meet() {
    let host = Identity::generate().unwrap();
    let secure = Served::start(server(), Some(&host));
    let plugin = secure.connect(None).await.unwrap();
    assert_eq!(plugin.health(LIMIT).await.unwrap_err().as_str(), "connection_lost");

    let open = Served::start(server(), None);
    let settings = host.client_config(host.certificate()).unwrap();
    assert_eq!(open.connect(Some(settings)).await.unwrap_err().as_str(), "tls");
}

/// A certificate as a Go plugin makes it: on P-521, and an authority.
fn like_go() -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap())
}

#[tokio::test]
async fn the_certificates_of_go_plugins_are_accepted_in_both_versions_of_tls() {
    for version in [&version::TLS12, &version::TLS13] {
        let host = Identity::generate().unwrap();
        let (params, key) = like_go();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let mut settings = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        settings.alpn_protocols = vec![b"h2".to_vec()];

        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let connector = TlsConnector::from(Arc::new(host.client_config(&certificate).unwrap()));
        let name = ServerName::try_from("localhost").unwrap();
        let (client, plugin) =
            tokio::join!(connector.connect(name, ours), TlsAcceptor::from(Arc::new(settings)).accept(theirs));

        let client = client.unwrap();
        let (_, plugin) = plugin.unwrap().into_inner();
        assert_eq!(plugin.protocol_version(), Some(version.version));
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    }
}

#[tokio::test]
async fn a_second_connection_resumes_the_session_of_the_first() {
    let host = Identity::generate().unwrap();
    let served = Served::start(server(), Some(&host));
    let settings = Arc::new(served.settings(&host));
    let plugin = Plugin::connect(&served.address(), Some(Arc::clone(&settings)), LIMIT).await.unwrap();
    // The session comes after the handshake, before the first answer.
    plugin.health(LIMIT).await.unwrap();

    let stream = served.address().connect().await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let second = TlsConnector::from(settings).connect(name, stream).await.unwrap();
    assert_eq!(second.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn health_is_what_the_plugin_says() {
    let new = server();
    let health = new.health();
    let served = Served::start(new, None);
    let plugin = served.connect(None).await.unwrap();

    health.set_serving(false);
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::NotServing);
    health.set_serving(true);
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn the_health_of_a_service_is_told_from_that_of_a_plugin_that_does_not_know_it() {
    let served = Served::start(server(), None);
    let plugin = served.connect(None).await.unwrap();
    assert_eq!(plugin.health_of("", LIMIT).await.unwrap(), Health::Serving);
    assert_eq!(plugin.health_of("another", LIMIT).await.unwrap(), Health::Unimplemented);
}

/// Answers whether it multiplexes; an error where it cannot say.
struct Multiplexing(Result<bool, Status>);

#[tonic::async_trait]
impl PluginMultiplexing for Multiplexing {
    async fn multiplexing_support(
        &self,
        _: Request<MultiplexingSupportRequest>,
    ) -> Result<Response<MultiplexingSupportResponse>, Status> {
        self.0.clone().map(|supported| Response::new(MultiplexingSupportResponse { supported }))
    }
}

#[tokio::test]
async fn a_plugin_multiplexes_when_it_says_so() {
    let answer = async |services| {
        let served = Served::start(Server::new(cookie()).version(1, services), None);
        served.connect(None).await.unwrap().multiplexes(LIMIT).await
    };
    let says = |said| Routes::new(PluginMultiplexingServer::new(Multiplexing(said)));
    assert!(answer(says(Ok(true))).await.unwrap());
    assert!(!answer(says(Ok(false))).await.unwrap());
    assert!(!answer(Routes::default()).await.unwrap());
    let error = answer(says(Err(Status::internal("lost its mind")))).await.unwrap_err();
    assert_eq!(error.as_str(), "call_refused");
}

#[tokio::test]
async fn a_plugin_without_go_plugins_services_is_told_from_a_broken_one() {
    let directory = TempDir::new().unwrap();
    let task = serve_nothing(UnixListener::bind(directory.path().join("plugin1")).unwrap());
    let plugin = Plugin::connect(&address_in(directory.path(), "plugin1"), None, LIMIT).await.unwrap();

    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Unimplemented);
    assert_eq!(plugin.shutdown(LIMIT).await.unwrap_err().as_str(), "call_refused");
    assert_eq!(plugin.stdio().next().await, None);
    task.abort();
}

#[tokio::test]
async fn shutdown_ends_the_plugin_and_its_connections() {
    let served = Served::start(server(), None);
    let plugin = served.connect(None).await.unwrap();
    let bystander = served.connect(None).await.unwrap();
    let stdio = bystander.stdio();

    plugin.shutdown(LIMIT).await.unwrap();

    served.task.await.unwrap();
    plugin.closed().await;
    bystander.closed().await;
    assert_eq!(stdio.count().await, 0);
    assert_eq!(plugin.health(LIMIT).await.unwrap_err().as_str(), "connection_lost");
    // The wish is granted already.
    plugin.shutdown(LIMIT).await.unwrap();
}

#[tokio::test]
async fn output_comes_in_order_from_both_channels() {
    let new = server();
    let output = new.output();
    let served = Served::start(new, None);
    let plugin = served.connect(None).await.unwrap();
    let mut stdio = plugin.stdio();

    let long = vec![b'x'; 100 * 1024];
    let writer = tokio::spawn({
        let long = long.clone();
        async move {
            output.write(StdioChannel::Stderr, "careful\n").await;
            output.write(StdioChannel::Stdout, long).await;
            output.write(StdioChannel::Stdout, "done").await;
        }
    });

    assert_eq!(stdio.next().await.unwrap(), (StdioChannel::Stderr, "careful\n".into()));
    let mut read = Vec::new();
    while !read.ends_with(b"done") {
        let (channel, piece) = stdio.next().await.unwrap();
        assert_eq!(channel, StdioChannel::Stdout);
        assert!(piece.len() <= 1024);
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, [long.as_slice(), b"done"].concat());
    writer.await.unwrap();
}

#[tokio::test]
async fn output_goes_on_for_a_host_that_comes_again() {
    let new = server();
    let output = new.output();
    let served = Served::start(new, None);
    let first = served.connect(None).await.unwrap();
    let mut stdio = first.stdio();
    output.write(StdioChannel::Stdout, "one").await;
    assert_eq!(stdio.next().await.unwrap().1, "one");
    drop((stdio, first));

    let second = served.connect(None).await.unwrap();
    let mut stdio = second.stdio();
    let repeat = tokio::spawn(async move {
        loop {
            output.write(StdioChannel::Stdout, "two").await;
        }
    });
    assert_eq!(stdio.next().await.unwrap().1, "two");
    repeat.abort();
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_never_answers_costs_its_time_limit() {
    let directory = TempDir::new().unwrap();
    // It accepts, as the system does for it, and that is all.
    let _listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    let address = address_in(directory.path(), "plugin1");

    let host = Identity::generate().unwrap();
    let settings = Arc::new(host.client_config(host.certificate()).unwrap());
    let error = Plugin::connect(&address, Some(settings), LIMIT).await.unwrap_err();
    assert_eq!(error.as_str(), "connect_timed_out");

    let plugin = Plugin::connect(&address, None, LIMIT).await.unwrap();
    assert_eq!(plugin.health(LIMIT).await.unwrap_err().as_str(), "call_timed_out");
    assert_eq!(plugin.shutdown(LIMIT).await.unwrap_err().as_str(), "call_timed_out");
    let silent = time::timeout(LIMIT, plugin.stdio().next()).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test]
async fn an_open_connection_does_not_count_as_closed() {
    let served = Served::start(server(), None);
    let plugin = served.connect(None).await.unwrap();
    plugin.health(LIMIT).await.unwrap();
    assert!(futures::poll!(Box::pin(plugin.closed())).is_pending());
}

#[tokio::test]
async fn a_dropped_plugin_closes_its_connection() {
    let directory = TempDir::new().unwrap();
    let listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    let plugin = Plugin::connect(&address_in(directory.path(), "plugin1"), None, LIMIT).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    drop(plugin);
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap();
}
