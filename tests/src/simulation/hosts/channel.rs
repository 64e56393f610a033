//! A host's way to a mount's socket, as gRPC's own clients keep theirs.
//!
//! A channel has one connection at a time. When that is ended, or its other end wants no more calls there (GOAWAY), the next call
//! makes another. What the other end says that it did not look at goes again, on another connection; nothing else does.

use std::future::poll_fn;
use std::path::PathBuf;
use std::time::Duration;

use go_plugin::external::Bytes;
use go_plugin::external::http::{HeaderMap, Request};
use h2::client::{SendRequest, handshake};
use h2::{Reason, RecvStream};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use crate::simulation::plugin::{CALL_ID, WORK};

/// How long nothing may come after a call's deadline: the end of a container takes up to a second to be explained.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long to wait after nobody listened.
const PAUSE: Duration = Duration::from_millis(100);

/// What comes before a message on the wire.
const HEAD: usize = 5;

/// A channel.
#[derive(Debug)]
pub struct Channel {
    socket: PathBuf,
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
    pub message: &'a str,
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

/// What becomes of one try.
enum Tried {
    Ended(End),
    /// The other end did not look at it, or never got it.
    Unseen,
}

// === impl Channel ===

impl Channel {
    /// A channel to the socket at this path, which need not be there yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, connection: Mutex::default() }
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

async fn send(mut connection: SendRequest<Bytes>, call: &Call<'_>, deadline: Instant) -> Tried {
    let left = deadline.saturating_duration_since(Instant::now());
    let request = Request::post(format!("http://localhost{}", call.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", left.as_millis()))
        .header(CALL_ID, call.id)
        .header(WORK, call.work.as_millis().to_string())
        .body(())
        .expect("a request");
    let size = u32::try_from(call.message.len()).expect("a short message").to_be_bytes();
    let content = [[0].as_slice(), &size, call.message.as_bytes()].concat();
    let Ok((answer, mut body)) = connection.send_request(request, false) else { return Tried::Unseen };
    // Why it cannot be sent is told with the answer.
    let _ = body.send_data(content.into(), true);
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
