//! HTTP/1.1 to an engine, one connection per request.
//!
//! bollard could dial by itself. It does not here because it keeps to itself what the port promises: whether a call
//! was answered 204 or 304 (started, or ran already) and whether a stream has been granted before its first item
//! comes; and because it leaves the API version out of the path (`Url::join` with an absolute path drops it), so an
//! engine would always speak its newest.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bollard::BollardRequest;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use super::address::{Address, Endpoint};
use super::listener::Listener;
use super::tls;
use crate::info::EngineUser;

/// How long a TCP connection may be silent before the kernel asks whether the peer lives, how often it asks again,
/// and how many unanswered questions end the connection: a lost engine is noticed within a minute, which nothing
/// else does for an event stream.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Where requests go and which API version they ask for.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    dialer: Dialer,
    version: ApiVersion,
}

/// Opens connections to one address.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    address: Arc<Address>,
}

/// A version of the Docker API. Ordered as versions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion {
    pub(super) major: usize,
    pub(super) minor: usize,
}

/// The head of an answer, for callers that need more of it than bollard tells. Put into a request's extensions.
#[derive(Debug, Clone, Default)]
pub(super) struct Head(Arc<HeadState>);

#[derive(Debug, Default)]
struct HeadState {
    status: AtomicU16,
    granted: Notify,
}

/// What a connection is made of.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

// === impl Transport ===

impl Transport {
    pub(super) const fn new(dialer: Dialer, version: ApiVersion) -> Self {
        Self { dialer, version }
    }

    /// Sends one of bollard's requests with the version that it left out.
    pub(super) async fn request(
        self,
        mut request: BollardRequest,
    ) -> Result<Response<Incoming>, bollard::errors::Error> {
        let head = request.extensions_mut().remove::<Head>();
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        *request.uri_mut() = Uri::try_from(format!("/v{}{path}", self.version))?;
        let response = self.dialer.send(request).await?;
        if let Some(head) = head {
            head.set(response.status().as_u16());
        }
        Ok(response)
    }
}

// === impl Dialer ===

impl Dialer {
    pub(super) const fn new(address: Arc<Address>) -> Self {
        Self { address }
    }

    /// Sends a request whose URI is in origin form, as it is.
    pub(super) async fn send<B>(
        &self,
        mut request: hyper::Request<B>,
    ) -> Result<Response<Incoming>, bollard::errors::Error>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.dial().await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot connect to {}: {error}", self.address))
        })?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("docker"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer's body, or as soon as nobody wants it; its errors come out of the answer, too.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    /// Who listens there, on this machine. `None` where that cannot be told: on TCP, or when nobody does.
    pub(super) async fn listener(&self) -> Option<Listener> {
        let Endpoint::Unix(path) = self.address.endpoint() else { return None };
        let peer = UnixStream::connect(path).await.ok()?.peer_cred().ok()?;
        Some(Listener { user: EngineUser { uid: peer.uid(), gid: peer.gid() }, pid: peer.pid() })
    }

    async fn dial(&self) -> io::Result<Box<dyn Connection>> {
        match self.address.endpoint() {
            Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Endpoint::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                keep_alive(&stream)?;
                let Some(files) = tls else { return Ok(Box::new(stream)) };
                // Read anew each time: certificates are renewed while programs run.
                let connector = tls::Connector::load(files)?;
                Ok(Box::new(connector.connect(host, stream).await?))
            }
        }
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

// === impl ApiVersion ===

impl ApiVersion {
    pub(super) const fn new(major: usize, minor: usize) -> Self {
        Self { major, minor }
    }

    /// Reads `1.41`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

// === impl Head ===

impl Head {
    /// Waits for the head of an answer that is not an error.
    pub(super) async fn granted(&self) {
        self.0.granted.notified().await;
    }

    pub(super) fn is_granted(&self) -> bool {
        matches!(self.status(), 200..=399)
    }

    /// The status of the answer; 0 before it came.
    pub(super) fn status(&self) -> u16 {
        self.0.status.load(Ordering::Acquire)
    }

    fn set(&self, status: u16) {
        self.0.status.store(status, Ordering::Release);
        if self.is_granted() {
            self.0.granted.notify_one();
        }
    }
}
