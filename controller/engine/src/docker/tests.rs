//! The adapter against servers that say what no healthy engine says.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use tempfile::TempDir;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;

/// A server on a Unix socket that answers each request with the next of its lines, and remembers what was asked.
struct Scripted {
    directory: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    /// Counts the unfinished answers that nobody wants any more.
    left: watch::Receiver<usize>,
    server: tokio::task::JoinHandle<()>,
}

enum Answer {
    /// A whole answer: status and body.
    Whole(u16, &'static str),
    /// A head and, later, the body.
    Slow(u16, &'static str),
    /// A head, this part of a body, and then nothing more. The connection stays.
    Unfinished(&'static str),
    /// No answer at all. The connection stays.
    Silence,
    /// The connection is closed.
    Closed,
}

use Answer::{Closed, Silence, Slow, Unfinished, Whole};

const VERSION: Answer = Whole(200, r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#);

struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Answer>) -> (Self, DockerEngine) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (sender, left) = watch::channel(0);
        let server = tokio::spawn(serve(listener, answers.into_iter().collect(), Arc::clone(&asked), sender));
        let address = Address::resolve(Some(&format!("unix://{}", path.display())), &Nothing).unwrap();
        (Self { directory, asked, left, server }, DockerEngine::new(address))
    }

    /// The request lines so far, without `HTTP/1.1`.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
        let _ = &self.directory;
    }
}

async fn serve(
    listener: UnixListener,
    mut answers: VecDeque<Answer>,
    asked: Arc<Mutex<Vec<String>>>,
    left: watch::Sender<usize>,
) {
    let mut kept = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        let request = read_request(&mut stream).await;
        asked.lock().unwrap().push(request);
        match answers.pop_front().expect("a request too many") {
            Whole(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
            Slow(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(body.as_bytes()).await.unwrap();
            }
            Unfinished(part) => {
                let head = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunk =
                    if part.is_empty() { String::new() } else { format!("{:x}\r\n{part}\r\n", part.len()) };
                stream.write_all(format!("{head}{chunk}").as_bytes()).await.unwrap();
                let left = left.clone();
                tokio::spawn(async move {
                    // The client has nothing more to say: this is the end of the connection.
                    let _ = stream.read_u8().await;
                    left.send_modify(|left| *left += 1);
                });
            }
            Silence => kept.push(stream),
            Closed => {}
        }
    }
}

/// Reads a request and returns its first line.
async fn read_request<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> String {
    let mut first = String::new();
    stream.read_line(&mut first).await.unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    first.trim().trim_end_matches(" HTTP/1.1").to_owned()
}

fn id() -> ContainerId {
    ContainerId::new("abc")
}

#[tokio::test]
async fn a_version_is_agreed_on_once_and_named_in_every_path() {
    let (server, engine) = Scripted::new([
        VERSION,
        Whole(204, ""),
        Whole(304, ""),
        Whole(404, r#"{"message":"No such container: abc"}"#),
    ]);
    assert_eq!(engine.start(&id()).await, Ok(Started::Started));
    assert_eq!(engine.start(&id()).await, Ok(Started::AlreadyStarted));
    assert_eq!(engine.start(&id()).await, Ok(Started::NotFound));
    let start = "POST /v1.41/containers/abc/start";
    assert_eq!(server.asked(), ["GET /version", start, start, start]);
}

#[tokio::test]
async fn an_engine_that_was_lost_is_asked_for_its_version_again() {
    let newer = Whole(200, r#"{"ApiVersion":"1.48","MinAPIVersion":"1.24"}"#);
    let (server, engine) = Scripted::new([VERSION, Whole(200, "[]"), Closed, newer, Whole(200, "[]")]);
    let labels = BTreeMap::new();
    engine.list(&labels).await.unwrap();
    assert_eq!(engine.list(&labels).await.unwrap_err().kind, ErrorKind::Unreachable);
    engine.list(&labels).await.unwrap();
    let asked: Vec<_> =
        server.asked().iter().map(|line| line.split('?').next().unwrap().to_owned()).collect();
    let expected = [
        "/version",
        "/v1.41/containers/json",
        "/v1.41/containers/json",
        "/version",
        "/v1.48/containers/json",
    ];
    assert_eq!(asked, expected.map(|path| format!("GET {path}")));
}

#[tokio::test]
async fn many_callers_agree_on_a_version_once() {
    let (server, engine) = Scripted::new([VERSION, Whole(200, "[]"), Whole(200, "[]"), Whole(200, "[]")]);
    let labels = BTreeMap::new();
    let lists = futures::future::join_all((0..3).map(|_| engine.list(&labels))).await;
    assert!(lists.iter().all(Result::is_ok), "{lists:?}");
    let versions = server.asked().iter().filter(|line| line.contains("/version")).count();
    assert_eq!(versions, 1);
}

#[tokio::test]
async fn an_engine_that_was_exchanged_unnoticed_is_asked_again_after_it_complained() {
    let complaint =
        Whole(400, r#"{"message":"client version 1.41 is too old. Minimum supported API version is 1.44"}"#);
    let newer = Whole(200, r#"{"ApiVersion":"1.48","MinAPIVersion":"1.44"}"#);
    let (server, engine) = Scripted::new([VERSION, complaint, newer, Whole(200, "[]")]);
    assert_eq!(engine.list(&BTreeMap::new()).await.unwrap_err().kind, ErrorKind::Incompatible);
    engine.list(&BTreeMap::new()).await.unwrap();
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_told_of_with_what_to_do() {
    let (_server, engine) =
        Scripted::new([Whole(200, r#"{"Version":"19.03","ApiVersion":"1.40","MinAPIVersion":"1.12"}"#)]);
    let error = engine.info().await.unwrap_err();
    assert_eq!((error.operation, error.kind), (Operation::Info, ErrorKind::Incompatible));
    assert!(error.message.contains("19.03") && error.message.contains("20.10 or newer"), "{error}");
}

#[tokio::test]
async fn what_is_not_docker_is_incompatible() {
    let (_server, engine) = Scripted::new([Whole(200, "<html>")]);
    assert_eq!(engine.info().await.unwrap_err().kind, ErrorKind::Incompatible);
    let (_server, engine) = Scripted::new([VERSION, Whole(200, r#"{"Names":["/a"]}"#)]);
    assert_eq!(engine.list(&BTreeMap::new()).await.unwrap_err().kind, ErrorKind::Incompatible);
    let (_server, engine) = Scripted::new([VERSION, Whole(200, r#"[{"Names":["/a"]}]"#)]);
    let error = engine.list(&BTreeMap::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Incompatible);
    assert!(error.message.contains("Id"), "{error}");
}

/// The clock of these jumps as soon as nothing else can happen: a hang costs no time.
#[tokio::test(start_paused = true)]
async fn a_hang_at_any_point_ends_with_the_limit() {
    for answers in [vec![Silence], vec![VERSION, Silence], vec![VERSION, Unfinished("[")]] {
        let (_server, engine) = Scripted::new(answers);
        let begun = Instant::now();
        let error = engine.list(&BTreeMap::new()).await.unwrap_err();
        assert_eq!((error.operation, error.kind), (Operation::List, ErrorKind::TimedOut), "{error}");
        assert_eq!(begun.elapsed().as_secs(), limits::SHORT.as_secs());
    }
    for answers in [vec![VERSION, Silence], vec![Silence]] {
        let (_server, engine) = Scripted::new(answers);
        let error = engine.events(&BTreeMap::new(), jiff::Timestamp::UNIX_EPOCH).await.map(drop).unwrap_err();
        assert_eq!((error.operation, error.kind), (Operation::Events, ErrorKind::TimedOut), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_refused_fails_in_the_call() {
    const REFUSAL: &str = r#"{"message":"not for you"}"#;
    for answer in [Whole(403, REFUSAL), Slow(403, REFUSAL)] {
        let (_server, engine) = Scripted::new([VERSION, answer]);
        let error = engine.events(&BTreeMap::new(), jiff::Timestamp::UNIX_EPOCH).await.map(drop).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Refused, "not for you"));
    }
}

#[tokio::test]
async fn a_stream_is_granted_before_its_first_item() {
    let (server, engine) = Scripted::new([VERSION, Unfinished("")]);
    let since = jiff::Timestamp::new(1_700_000_000, 5).unwrap();
    let mut events = engine.events(&BTreeMap::new(), since).await.unwrap();
    assert!(server.asked()[1].contains("since=1700000000.000000005"), "{:?}", server.asked());
    assert!(futures::poll!(events.next()).is_pending());
}

#[tokio::test]
async fn a_dropped_stream_leaves_no_connection_behind() {
    let (mut server, engine) = Scripted::new([VERSION, Unfinished(""), Unfinished("")]);
    let events = engine.events(&BTreeMap::new(), jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    let query = LogQuery { follow: true, stdout: true, ..LogQuery::default() };
    let log = engine.logs(&id(), query).await.unwrap();
    assert_eq!(*server.left.borrow(), 0);
    drop((events, log));
    server.left.wait_for(|left| *left == 2).await.unwrap();
}

#[tokio::test]
async fn events_are_filtered_by_label_on_our_side() {
    let stream = concat!(
        r#"{"Type":"container","Action":"start","Actor":{"ID":"1","Attributes":{"owner":"us","name":"a"}},"timeNano":1}"#,
        "\n",
        r#"{"Type":"container","Action":"start","Actor":{"ID":"2","Attributes":{"owner":"them","name":"b"}},"timeNano":2}"#,
        "\n",
        r#"{"Type":"image","Action":"tag","Actor":{"ID":"sha256:1","Attributes":{"name":"c"}},"timeNano":3}"#,
        "\n",
    );
    let (server, engine) = Scripted::new([VERSION, Unfinished(stream)]);
    let labels = BTreeMap::from([("owner".to_owned(), "us".to_owned())]);
    let events = engine.events(&labels, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    let kinds: Vec<_> = events.take(2).map(|event| event.unwrap().kind).collect().await;
    let start = EventKind::Container { id: ContainerId::new("1"), labels, action: "start".to_owned() };
    let tag = EventKind::Image { reference: "sha256:1".to_owned(), action: "tag".to_owned() };
    assert_eq!(kinds, [start, tag]);
    assert!(!server.asked()[1].contains("label"), "{:?}", server.asked());
}

#[tokio::test]
async fn an_event_of_an_unknown_type_ends_the_stream_with_an_error() {
    let stream = "{\"Type\":\"hologram\",\"Action\":\"x\",\"timeNano\":1}\n";
    let (_server, engine) = Scripted::new([VERSION, Unfinished(stream)]);
    let mut events = engine.events(&BTreeMap::new(), jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap_err().kind, ErrorKind::Incompatible);
}

#[tokio::test]
async fn names_that_would_change_a_path_are_refused_unsent() {
    let (server, engine) = Scripted::new([]);
    for name in ["", "..", "a/../b", "a?b", "a#b", "a b", "a//b", "a%2fb"] {
        assert_eq!(engine.inspect(name).await.unwrap_err().kind, ErrorKind::Refused, "{name}");
        assert_eq!(engine.inspect_image(name).await.unwrap_err().kind, ErrorKind::Refused, "{name}");
    }
    assert!(server.asked().is_empty());
}

mod over_tls {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new([]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        /// A certificate and its key, in PEM.
        fn issue(&self, name: &str) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
        }

        /// What `DOCKER_CERT_PATH` points at.
        fn directory(&self) -> TempDir {
            let directory = tempfile::tempdir().unwrap();
            let (certificate, key) = self.issue("client");
            for (name, content) in [("ca.pem", self.0.pem()), ("cert.pem", certificate), ("key.pem", key)] {
                std::fs::write(directory.path().join(name), content).unwrap();
            }
            directory
        }
    }

    struct Tls(String);

    impl Surroundings for Tls {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "DOCKER_TLS_VERIFY" => Some("1".to_owned()),
                "DOCKER_CERT_PATH" => Some(self.0.clone()),
                _ => None,
            }
        }

        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            std::fs::read(path)
        }
    }

    /// An engine with a certificate of this authority, which asks clients for one. It answers every request with
    /// its version.
    async fn serve(authority: &Authority) -> u16 {
        let (certificate, key) = authority.issue("127.0.0.1");
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let mut stream = BufReader::new(stream);
                read_request(&mut stream).await;
                let body = r#"{"ApiVersion":"1.40"}"#;
                let answer = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        port
    }

    async fn ask(port: u16, certificates: &Path) -> EngineError {
        let surroundings = Tls(certificates.display().to_string());
        let address = Address::resolve(Some(&format!("tcp://127.0.0.1:{port}")), &surroundings).unwrap();
        DockerEngine::new(address).info().await.unwrap_err()
    }

    #[tokio::test]
    async fn both_sides_prove_who_they_are() {
        let authority = Authority::new();
        let port = serve(&authority).await;
        let ours = authority.directory();
        // It was reached: only its age is wrong.
        let error = ask(port, ours.path()).await;
        assert_eq!(error.kind, ErrorKind::Incompatible, "{error}");
        assert!(error.message.contains("20.10"), "{error}");

        let strangers = Authority::new().directory();
        let error = ask(port, strangers.path()).await;
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains("certificate"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let authority = Authority::new();
        let port = serve(&authority).await;
        let directory = authority.directory();
        std::fs::remove_file(directory.path().join("key.pem")).unwrap();
        let error = ask(port, directory.path()).await;
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.message.contains("key.pem"), "{error}");
    }
}

#[tokio::test]
async fn a_rootless_engine_is_its_socket_users() {
    let account = r#"{"ID":"X","SystemTime":"2026-11-23T20:27:10Z","SecurityOptions":["name=rootless"]}"#;
    // The last connection asks nothing: it is only looked at.
    let (_server, engine) = Scripted::new([VERSION, Whole(200, account), Closed]);
    let info = engine.info().await.unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert!(info.rootless);
    assert_eq!(info.user, Some(crate::EngineUser { uid, gid }));
}
