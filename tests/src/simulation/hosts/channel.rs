//! A host's way to a mount's socket, as gRPC's own clients keep theirs.
//!
//! A channel has one connection at a time. When that is ended, or its other end wants no more calls there (GOAWAY), the next call
//! makes another. What the other end says that it did not look at goes again, on another connection; nothing else does.

use std::future::poll_fn;
use std::path::PathBuf;
use std::time::Duration;

use go_plugin::Peer;
use go_plugin::external::Bytes;
use go_plugin::external::http::{HeaderMap, Request};
use h2::client::{SendRequest, handshake};
use h2::{Reason, RecvStream, SendStream};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::simulation::plugin::{CALL_ID, SERVER, WORK};

/// The method of a broker's stream.
const START_STREAM: &str = "/plugin.GRPCBroker/StartStream";

/// How long nothing may come after a call's deadline: the end of a container takes up to a second to be explained.
pub const GRACE: Duration = Duration::from_secs(2);

/// Of a stream that ended with its connection.
const NO_STATUS: i32 = -1;

/// How long to wait after nobody listened.
const PAUSE: Duration = Duration::from_millis(100);

/// What comes before a message on the wire.
const HEAD: usize = 5;

/// A channel.
#[derive(Debug)]
pub struct Channel {
    socket: PathBuf,
    peer: Peer,
    connection: Mutex<Option<SendRequest<Bytes>>>,
}

/// A call to be made.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The method's path.
    pub path: &'a str,
    /// Its name in the ledger.
    pub id: &'a str,
    /// The time that it has.
    pub time: Duration,
    /// How long it keeps the plugin busy.
    pub work: Duration,
    /// What is said.
    pub message: &'a [u8],
    /// The number of a server that the plugin may ask.
    pub server: Option<u32>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With a status, and a message if that is 0.
    Status {
        /// gRPC's code.
        code: i32,
        /// What is said of it.
        text: String,
        /// The answer.
        message: String,
    },
    /// Its connection ended before.
    Broken(String),
    /// Nothing came in its time, nor in the [`GRACE`] after.
    Silent,
    /// Nobody listened in all its time.
    Unreachable,
}

/// What became of a call.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// When it was sent: more than once only if the other end said that it did not look at it.
    pub sent: Vec<Instant>,
}

/// The stream of a broker. With this it ends.
#[derive(Debug)]
pub struct Speaking {
    says: SendStream<Bytes>,
    /// Its status, once it has ended, and when that was: [`NO_STATUS`] without one.
    end: watch::Receiver<Option<(i32, Instant)>>,
    hearing: AbortHandle,
}

/// What becomes of one try.
enum Tried {
    Ended(End),
    /// The other end did not look at it, or never got it.
    Unseen,
}

// === impl Channel ===

impl Channel {
    /// A channel to the socket at this path, which need not be there yet, and to whoever this is there.
    pub fn new(socket: PathBuf, peer: Peer) -> Self {
        Self { socket, peer, connection: Mutex::default() }
    }

    /// Makes a call.
    pub async fn call(&self, call: Call<'_>) -> Outcome {
        let deadline = Instant::now() + call.time;
        let mut sent = Vec::new();
        let trying = async {
            loop {
                let Some(connection) = self.connection(deadline).await else { return End::Unreachable };
                sent.push(Instant::now());
                if let Tried::Ended(end) = send(connection, &call, deadline).await {
                    return end;
                }
                if Instant::now() >= deadline {
                    return End::Unreachable;
                }
            }
        };
        let end = timeout_at(deadline + GRACE, trying).await.unwrap_or(End::Silent);
        Outcome { end, sent }
    }

    /// Opens the stream of a broker. It outlives the channel's wish for another connection. `None` if there is no connection before the
    /// deadline.
    pub async fn speak(&self, deadline: Instant) -> Option<Speaking> {
        let mut connection = self.connection(deadline).await?;
        let request = Request::post(format!("http://localhost{START_STREAM}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let (answer, says) = connection.send_request(request, false).ok()?;
        let (over, end) = watch::channel(None);
        let hearing = tokio::spawn(async move {
            let ended = async {
                let (head, body) = answer.await?.into_parts();
                read(head.headers, body).await
            };
            let status = match ended.await {
                Ok(End::Status { code, .. }) => code,
                _ => NO_STATUS,
            };
            over.send_replace(Some((status, Instant::now())));
        });
        Some(Speaking { says, end, hearing: hearing.abort_handle() })
    }

    /// Leaves the connection: the next call makes another.
    pub async fn leave(&self) {
        self.connection.lock().await.take();
    }

    /// A connection that takes calls. `None` if there is none before the deadline.
    async fn connection(&self, deadline: Instant) -> Option<SendRequest<Bytes>> {
        let mut connection = timeout_at(deadline, self.connection.lock()).await.ok()?;
        if let Some(mut known) = connection.take()
            && poll_fn(|context| known.poll_ready(context)).await.is_ok()
        {
            *connection = Some(known.clone());
            return Some(known);
        }
        loop {
            if let Ok(stream) = UnixStream::connect(&self.socket).await
                && let Ok(stream) =
                    self.peer.connect(stream, deadline.saturating_duration_since(Instant::now())).await
                && let Ok((requests, driver)) = handshake(stream).await
            {
                // How it ends is told to its calls.
                tokio::spawn(async move { drop(driver.await) });
                *connection = Some(requests.clone());
                return Some(requests);
            }
            if Instant::now() + PAUSE >= deadline {
                return None;
            }
            sleep(PAUSE).await;
        }
    }
}

// === impl Speaking ===

impl Speaking {
    /// Says something, if it has not ended.
    pub fn say(&mut self, message: &[u8]) {
        let _ = self.says.send_data(framed(message), false);
    }

    /// With which status it was ended; none of gRPC's where its connection was.
    pub fn end(&self) -> Option<(i32, Instant)> {
        *self.end.borrow()
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.says.send_reset(Reason::CANCEL);
        self.hearing.abort();
    }
}

async fn send(mut connection: SendRequest<Bytes>, call: &Call<'_>, deadline: Instant) -> Tried {
    let left = deadline.saturating_duration_since(Instant::now());
    let request = Request::post(format!("http://localhost{}", call.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", left.as_millis()))
        .header(CALL_ID, call.id)
        .header(WORK, call.work.as_millis().to_string());
    let request = match call.server {
        Some(number) => request.header(SERVER, number),
        None => request,
    };
    let request = request.body(()).expect("a request");
    let Ok((answer, mut body)) = connection.send_request(request, false) else { return Tried::Unseen };
    // Why it cannot be sent is told with the answer.
    let _ = body.send_data(framed(call.message), true);
    let answered = async {
        let (head, body) = answer.await?.into_parts();
        read(head.headers, body).await
    };
    match answered.await {
        Ok(end) => Tried::Ended(end),
        Err(error) if is_unseen(&error) => Tried::Unseen,
        Err(error) => Tried::Ended(End::Broken(error.to_string())),
    }
}

/// A message as it is on the wire.
fn framed(message: &[u8]) -> Bytes {
    let size = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    [[0].as_slice(), &size, message].concat().into()
}

/// Whether the other end says that it did not look at a call.
fn is_unseen(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

async fn read(head: HeaderMap, mut body: RecvStream) -> Result<End, h2::Error> {
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        content.extend_from_slice(&piece);
    }
    let end = body.trailers().await?.unwrap_or(head);
    let text = |name| end.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let Ok(code) = text("grpc-status").parse() else {
        return Ok(End::Broken("an answer without a status".to_owned()));
    };
    let message = String::from_utf8_lossy(content.get(HEAD..).unwrap_or_default()).into_owned();
    Ok(End::Status { code, text: text("grpc-message"), message })
}
