//! The services of the counter that is an example of go-plugin's: it keeps its numbers in a storage that its host serves, over the
//! broker.
#![allow(dead_code, unreachable_pub, reason = "a module of several tests, of which none needs all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use go_plugin::{
    Answer, Channel, Plugin, PluginStream,
    external::{
        Bytes,
        http::{HeaderMap, Request, Response, uri::PathAndQuery},
        tonic::{self, Code, Status, body::Body, client, server},
    },
};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tonic_prost::ProstCodec;

pub const INCREMENT: &str = "/proto.Counter/Increment";
const GET: &str = "/proto.Storage/Get";
const PUT: &str = "/proto.Storage/Put";

#[derive(Clone, PartialEq, Message)]
pub struct IncrementRequest {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(int64, tag = "2")]
    pub value: i64,
    #[prost(uint32, tag = "3")]
    pub storage_server: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(int64, tag = "1")]
    pub value: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Key {
    #[prost(string, tag = "1")]
    key: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeyAndValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(int64, tag = "2")]
    value: i64,
}

/// Keeps numbers by their keys.
#[derive(Debug, Clone, Default)]
pub struct Storage(Arc<Mutex<HashMap<String, i64>>>);

impl Storage {
    pub fn get(&self, key: &str) -> i64 {
        self.0.lock().unwrap().get(key).copied().unwrap_or_default()
    }

    pub fn put(&self, key: String, value: i64) {
        self.0.lock().unwrap().insert(key, value);
    }

    /// Serves it on one connection, until that ends.
    pub async fn serve(self, stream: PluginStream) {
        let service = service_fn(move |request: Request<Incoming>| {
            let storage = self.clone();
            async move { Ok::<_, Infallible>(storage.answer(request).await) }
        });
        let _ =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            GET => {
                let get = tower::service_fn(move |request: tonic::Request<Key>| {
                    let value = self.get(&request.get_ref().key);
                    async move { Ok::<_, Status>(tonic::Response::new(Value { value })) }
                });
                server::Grpc::new(ProstCodec::default()).unary(get, request).await
            }
            PUT => {
                let put = tower::service_fn(move |request: tonic::Request<KeyAndValue>| {
                    let KeyAndValue { key, value } = request.into_inner();
                    self.put(key, value);
                    async move { Ok::<_, Status>(tonic::Response::new(())) }
                });
                server::Grpc::new(ProstCodec::default()).unary(put, request).await
            }
            _ => Status::unimplemented("there is no such method").into_http(),
        }
    }
}

/// Adds to a counter that keeps its numbers with the server of this number.
pub async fn increment(
    plugin: &Plugin,
    key: &str,
    value: i64,
    storage_server: u32,
    limit: Duration,
) -> Result<i64, (Code, String)> {
    let request = IncrementRequest { key: key.to_owned(), value, storage_server };
    let path = PathAndQuery::from_static(INCREMENT);
    let message = Bytes::from(request.encode_to_vec());
    match plugin.call(path, HeaderMap::new(), message, limit).await.unwrap() {
        Answer::Message(message) => Ok(Value::decode(message.as_slice()).unwrap().value),
        Answer::Status { code, message } => Err((code, message)),
    }
}

async fn call<Q, A>(channel: Channel, path: &'static str, request: Q) -> A
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut client = client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    let codec = ProstCodec::<Q, A>::default();
    client.unary(tonic::Request::new(request), path, codec).await.unwrap().into_inner()
}

/// What a storage has, wherever it is served.
pub async fn get(channel: Channel, key: &str) -> i64 {
    call::<_, Value>(channel, GET, Key { key: key.to_owned() }).await.value
}

/// Changes what a storage has, wherever it is served.
pub async fn put(channel: Channel, key: &str, value: i64) {
    call::<_, ()>(channel, PUT, KeyAndValue { key: key.to_owned(), value }).await;
}
