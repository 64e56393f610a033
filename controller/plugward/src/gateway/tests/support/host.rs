//! A host: a gRPC client that connects again when it is told to, as grpc-go does.

use std::path::{Path, PathBuf};
use std::task::Poll;

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::{self, uri::PathAndQuery};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

/// A client of one mount.
#[derive(Clone)]
pub(in super::super) struct Host {
    path: PathBuf,
    /// The `multiplex_id` that it sends.
    pub(in super::super) id: Option<&'static str>,
    /// The trace that its calls are part of.
    trace: Option<&'static str>,
    client: Option<Client>,
}

/// A stream that the gateway serves, and what is sent on it. It goes on while this is there.
pub(in super::super) struct Watching {
    pub(in super::super) answers: Streaming<Bytes>,
    pub(in super::super) requests: tokio::sync::mpsc::Sender<Bytes>,
}

type Client = tonic::client::Grpc<Http>;

pub(in super::super) fn path(path: &str) -> PathAndQuery {
    PathAndQuery::try_from(path).unwrap()
}

impl Host {
    pub(in super::super) fn new(path: PathBuf) -> Self {
        Self { path, id: None, trace: None, client: None }
    }

    /// The same host, with a connection of its own.
    pub(in super::super) fn another(&self) -> Self {
        Self { client: None, ..self.clone() }
    }

    /// Calls as another user.
    pub(in super::super) fn with_id(mut self, id: &'static str) -> Self {
        self.id = Some(id);
        self
    }

    /// Traces its calls.
    pub(in super::super) fn traced(mut self, parent: &'static str) -> Self {
        self.trace = Some(parent);
        self
    }

    /// One call.
    pub(in super::super) async fn call(&mut self, method: &str, message: &str) -> Result<String, Status> {
        self.call_within(method, message, None).await
    }

    /// One call with a time limit, as `grpc-timeout` has it.
    ///
    /// What the connection did not send before it was told to end is sent on the next, as every client does.
    pub(in super::super) async fn call_within(
        &mut self,
        method: &str,
        message: &str,
        limit: Option<&str>,
    ) -> Result<String, Status> {
        loop {
            let mut client = self.connected().await;
            if client.ready().await.is_err() {
                self.client = None;
                continue;
            }
            let mut request = Request::new(Bytes::copy_from_slice(message.as_bytes()));
            if let Some(limit) = limit {
                request.metadata_mut().insert("grpc-timeout", limit.parse().unwrap());
            }
            if let Some(id) = self.id {
                request.metadata_mut().insert("multiplex_id", MetadataValue::from_static(id));
            }
            if let Some(trace) = self.trace {
                request.metadata_mut().insert("traceparent", MetadataValue::from_static(trace));
            }
            let answer = client.unary(request, path(&format!("/test.Plugin/{method}")), Octets).await;
            match answer {
                Err(status) if was_not_sent(&status) => self.client = None,
                Err(status) => return Err(status),
                Ok(answer) => return Ok(String::from_utf8(answer.into_inner().to_vec()).unwrap()),
            }
        }
    }

    /// A call to another service.
    pub(in super::super) async fn raw(&mut self, method: &str, message: Bytes) -> Result<Bytes, Status> {
        let mut client = self.connected().await;
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        client.unary(Request::new(message), path(method), Octets).await.map(tonic::Response::into_inner)
    }

    /// Opens a stream both ways.
    pub(in super::super) async fn open(&mut self, method: &str, first: Option<Bytes>) -> Watching {
        let mut client = self.connected().await;
        client.ready().await.unwrap();
        let (requests, receiver) = tokio::sync::mpsc::channel(4);
        if let Some(first) = first {
            requests.send(first).await.unwrap();
        }
        let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let answers = client.streaming(Request::new(messages), path(method), Octets).await.unwrap();
        Watching { answers: answers.into_inner(), requests }
    }

    /// Connects, if it is not connected.
    pub(in super::super) async fn connected(&mut self) -> Client {
        if self.client.is_none() {
            self.client = Some(connect(&self.path).await);
        }
        self.client.clone().unwrap()
    }
}

/// Whether nothing of a call was sent, or it came after the last that the other side looked at: grpc-go tries both again by itself.
fn was_not_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let cancelled = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        // The crate h2, whose error this is, says so in no other way to those who do not name it.
        if cancelled || format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)") {
            return true;
        }
        source = error.source();
    }
    false
}

async fn connect(path: &Path) -> Client {
    let stream = UnixStream::connect(path).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    tonic::client::Grpc::with_origin(Http(sender), http::Uri::from_static("http://localhost"))
        .max_encoding_message_size(usize::MAX)
}

/// One HTTP/2 connection of a client.
#[derive(Clone)]
pub(in super::super) struct Http(hyper::client::conn::http2::SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for Http {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Octets;

impl Codec for Octets {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Octets {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(to, item);
        Ok(())
    }
}

impl Decoder for Octets {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = bytes::Buf::remaining(from);
        Ok(Some(bytes::Buf::copy_to_bytes(from, length)))
    }
}
