//! One unary call whose messages are bytes.
//!
//! What tonic's clients would do, without a codec and its buffers: such a message may be a secret, and every copy of it
//! one more that nobody clears.

use std::{convert::Infallible, fmt, time::Duration};

use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::{Bytes, Frame},
    http::{
        HeaderMap, HeaderValue,
        header::{CONTENT_TYPE, TE},
        uri::PathAndQuery,
    },
};
use tokio::time;
use tonic::{Code, Status, body::Body};
use tower::Service;
use zeroize::Zeroizing;

use crate::{CallError, Channel, MAX_MESSAGE_SIZE};

/// The largest answer that [`Plugin::call`](crate::Plugin::call) accepts, in bytes. It is held whole, so that this is
/// what a hostile plugin can make a call cost.
pub const MAX_ANSWER_SIZE: usize = 64 << 20;

/// What comes before a message: whether it is compressed, in one byte, and its size, in four.
const HEAD: usize = 5;

/// A plugin's answer to a unary call.
#[derive(PartialEq, Eq)]
pub enum Answer {
    /// A message. It is wiped from memory when dropped.
    Message(Zeroizing<Vec<u8>>),
    /// An error.
    Status {
        /// Its kind, never OK.
        code: Code,
        /// The plugin's own words, as they are. At most as long as the headers of an answer can be.
        message: String,
    },
}

/// Why there is no answer.
enum Failure {
    /// The connection ended, or the stream was reset.
    Connection(Status),
    /// What came is none.
    Malformed(&'static str),
}

/// Makes a call, as [`Plugin::call`](crate::Plugin::call) describes it.
pub(crate) async fn call(
    channel: Channel,
    path: PathAndQuery,
    metadata: HeaderMap,
    message: Bytes,
    limit: Duration,
) -> Result<Answer, CallError> {
    let method = path.as_str().to_owned();
    let size = match u32::try_from(message.len()) {
        Ok(size) if message.len() <= MAX_MESSAGE_SIZE => size,
        _ => return Err(CallError::TooLarge { method: method.into(), size: message.len() }),
    };
    let mut request = Request::new(framed(size, message));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = headers(metadata, limit);
    match time::timeout(limit, exchange(channel, request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Failure::Connection(status))) => Err(CallError::new(method, &status)),
        Ok(Err(Failure::Malformed(problem))) => Err(CallError::Malformed { method: method.into(), problem }),
        Err(_) => Err(CallError::TimedOut { method: method.into(), limit }),
    }
}

/// The message as it goes over the wire, in place.
fn framed(size: u32, message: Bytes) -> Body {
    let mut head = [0; HEAD];
    head[1..].copy_from_slice(&size.to_be_bytes());
    let pieces = [Bytes::copy_from_slice(&head), message];
    let frames = pieces.into_iter().filter(|piece| !piece.is_empty()).map(|piece| Ok(Frame::data(piece)));
    Body::new(StreamBody::new(stream::iter(frames.collect::<Vec<Result<_, Infallible>>>())))
}

/// The caller's metadata, with gRPC's own in it.
fn headers(mut metadata: HeaderMap, limit: Duration) -> HeaderMap {
    for value in metadata.values_mut() {
        value.set_sensitive(true);
    }
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(TE, HeaderValue::from_static("trailers"));
    metadata.insert("grpc-timeout", timeout(limit));
    for of_another_encoding in ["grpc-encoding", "grpc-accept-encoding"] {
        metadata.remove(of_another_encoding);
    }
    metadata
}

/// A time limit in at most eight digits and a unit, rounded up.
fn timeout(limit: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let seconds = u128::from(limit.as_secs()) + u128::from(limit.subsec_nanos() > 0);
    let text = match limit.as_nanos().div_ceil(1_000_000) {
        milliseconds @ ..=MOST => format!("{milliseconds}m"),
        _ => format!("{}S", seconds.min(MOST)),
    };
    // Digits and a letter.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("99999999S"))
}

async fn exchange(mut channel: Channel, request: Request<Body>) -> Result<Answer, Failure> {
    let response = channel.call(request).await.map_err(Failure::Connection)?;
    let (head, mut body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return Answer::without_message(&status);
    }
    if head.status != StatusCode::OK {
        return Ok(Answer::Status {
            code: meaning(head.status),
            message: format!("HTTP status {}", head.status),
        });
    }
    let mut content = Zeroizing::new(Vec::new());
    let mut status = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(Failure::Connection)?.into_data() {
            Ok(piece) if content.len() + piece.len() > HEAD + MAX_ANSWER_SIZE => {
                return Err(Failure::Malformed("it is too large"));
            }
            Ok(piece) => append(&mut content, &piece),
            Err(frame) => status = frame.trailers_ref().and_then(Status::from_header_map),
        }
    }
    match status {
        Some(status) if status.code() == Code::Ok => message(content).map(Answer::Message),
        Some(status) => Answer::without_message(&status),
        None => Err(Failure::Malformed("it ends without a status")),
    }
}

/// What a vector does by itself would leave its old content behind when it grows.
fn append(content: &mut Zeroizing<Vec<u8>>, piece: &[u8]) {
    let size = content.len() + piece.len();
    if size > content.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(size.max(2 * content.capacity())));
        larger.extend_from_slice(content);
        *content = larger;
    }
    content.extend_from_slice(piece);
}

/// The one message in the content of an answer.
fn message(mut content: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let Some((&[flag, a, b, c, d], message)) = content.split_first_chunk::<HEAD>() else {
        return Err(Failure::Malformed("it has no message"));
    };
    if flag != 0 {
        return Err(Failure::Malformed("its message is compressed, which nobody asked for"));
    }
    if u32::try_from(message.len()) != Ok(u32::from_be_bytes([a, b, c, d])) {
        return Err(Failure::Malformed("it is not one whole message"));
    }
    content.drain(..HEAD);
    Ok(content)
}

/// What gRPC makes of an answer that does not come from a gRPC server.
fn meaning(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

// === impl Answer ===

impl Answer {
    fn without_message(status: &Status) -> Result<Self, Failure> {
        match status.code() {
            Code::Ok => Err(Failure::Malformed("it is OK and has no message")),
            code => Ok(Self::Status { code, message: status.message().to_owned() }),
        }
    }
}

/// Without what was said: it may be a secret, or quote one.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "Message({} bytes)", message.len()),
            Self::Status { code, .. } => f.debug_struct("Status").field("code", code).finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests;
