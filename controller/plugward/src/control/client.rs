//! The command line's end of the control socket.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::request;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody may be there.
    #[error("cannot connect to the controller at {}: is `plugward run` running?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// We may not.
    #[error(
        "no permission to connect to the controller at {}: join the group of the socket (--socket-group)",
        path.display()
    )]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The conversation broke.
    #[error("the controller's answer cannot be read")]
    Http(#[source] hyper::Error),
    /// The answer is no JSON.
    #[error("the controller's answer cannot be understood: is it of another version?")]
    Json(#[source] serde_json::Error),
    /// There is nothing more to watch.
    #[error("the controller ended the watch: it is being stopped or restarted; try again when it runs")]
    Ended,
    /// It took too long.
    #[error("the controller did not answer within {} s", LIMIT.as_secs())]
    TimedOut,
    /// There is no such thing, in the controller's words.
    #[error("{0}")]
    NotFound(String),
    /// The controller says no, in its words.
    #[error("{0}")]
    Refused(String),
}

/// Asks the controller for `path`.
///
/// # Errors
/// When there is no answer, or it is a no.
pub async fn get(socket: &Path, path: &str) -> Result<Value, ClientError> {
    timeout(LIMIT, ask(socket, path)).await.unwrap_or(Err(ClientError::TimedOut))
}

/// Asks the controller for `path`, whose answer is lines of JSON, and hands each of them on until `each` breaks, or the
/// controller ends.
///
/// # Errors
/// When there is no answer, or it is a no.
pub async fn lines(
    socket: &Path,
    path: &str,
    mut each: impl FnMut(Value) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let (answer, _connection) =
        timeout(LIMIT, open(socket, path)).await.unwrap_or(Err(ClientError::TimedOut))?;
    if answer.status() != StatusCode::OK {
        return whole(answer).await.map(drop);
    }
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(ClientError::Http)?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line = serde_json::from_slice(&text[..end]).map_err(ClientError::Json)?;
            text.drain(..=end);
            if each(line).is_break() {
                return Ok(());
            }
        }
    }
    Err(ClientError::Ended)
}

/// Hands `body` to the controller at `path`.
///
/// # Errors
/// When there is no answer, or it is a no.
pub async fn post(socket: &Path, path: &str, body: Vec<u8>) -> Result<Value, ClientError> {
    let posted = async {
        let (answer, _connection) = send(socket, Request::post(path), Full::from(body)).await?;
        whole(answer).await
    };
    timeout(LIMIT, posted).await.unwrap_or(Err(ClientError::TimedOut))
}

async fn ask(socket: &Path, path: &str) -> Result<Value, ClientError> {
    let (answer, _connection) = open(socket, path).await?;
    whole(answer).await
}

/// Sends a request without a body.
async fn open(socket: &Path, path: &str) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), ClientError> {
    send(socket, Request::get(path), Full::default()).await
}

/// Sends a request. The connection ends when its end here is dropped.
async fn send(
    socket: &Path,
    request: request::Builder,
    body: Full<Bytes>,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Permission { path: socket.to_owned() },
        _ => ClientError::Connect { path: socket.to_owned(), source },
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Http)?;
    let driven = AbortOnDropHandle::new(tokio::spawn(async move {
        // What breaks it is told to whoever reads the answer.
        let _ = connection.await;
    }));
    #[expect(clippy::expect_used, reason = "paths are made of fixed words and checked names")]
    let request = request.header(header::HOST, "plugward").body(body).expect("a request of a fixed shape");
    Ok((sender.send_request(request).await.map_err(ClientError::Http)?, driven))
}

async fn whole(answer: Response<Incoming>) -> Result<Value, ClientError> {
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(ClientError::Http)?.to_bytes();
    let value: Value = serde_json::from_slice(&body).map_err(ClientError::Json)?;
    if status == StatusCode::OK {
        return Ok(value);
    }
    let message = value.get("message").and_then(Value::as_str).unwrap_or("the controller refused");
    let said = if status == StatusCode::NOT_FOUND { ClientError::NotFound } else { ClientError::Refused };
    Err(said(message.to_owned()))
}
