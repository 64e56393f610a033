//! A gRPC server and client whose messages are bytes, and a relay between them.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod echo;
pub(crate) mod program;

use std::{path::PathBuf, task::Poll};

use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http,
};

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Octets;

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

/// One HTTP/2 connection of a client.
#[derive(Clone)]
pub(crate) struct Http(hyper::client::conn::http2::SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for Http {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A gRPC client on one connection.
pub(crate) type Client = tonic::client::Grpc<Http>;

/// Connects to a socket. The second is done when the connection is.
pub(crate) async fn connect(path: &PathBuf) -> (Client, tokio::task::JoinHandle<Result<(), hyper::Error>>) {
    client_on(UnixStream::connect(path).await.unwrap()).await
}

/// A client on a transport.
pub(crate) async fn client_on<T>(transport: T) -> (Client, tokio::task::JoinHandle<Result<(), hyper::Error>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_connection_window_size(Some(1 << 20)).initial_stream_window_size(Some(1 << 20));
    let (sender, connection) = builder.handshake(TokioIo::new(transport)).await.unwrap();
    let connection = tokio::spawn(connection);
    let client = tonic::client::Grpc::with_origin(Http(sender), http::Uri::from_static("http://localhost"))
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    (client, connection)
}
