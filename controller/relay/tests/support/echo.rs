//! The server: one method for each thing that a call can be.
#![allow(clippy::unused_async, reason = "methods are async, whether or not they wait")]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
    sync::watch,
    task::JoinHandle,
};
use tonic::{Request, Response, Status, Streaming, codegen::http, metadata::MetadataMap, server::Grpc};

use super::Octets;

/// A server on a Unix socket.
pub(crate) struct Echo {
    pub(crate) path: PathBuf,
    pub(crate) seen: Arc<Seen>,
    accepting: JoinHandle<()>,
    kill: watch::Sender<bool>,
}

/// What the server saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    /// Messages that `Repeat` gave.
    pub(crate) repeated: AtomicUsize,
    /// Calls of `Hang` that are in it.
    pub(crate) hanging: watch::Sender<usize>,
    pub(crate) metadata: std::sync::Mutex<Option<MetadataMap>>,
}

/// Counts a call while it hangs.
struct Hanging(Arc<Seen>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.hanging.send_modify(|count| *count -= 1);
    }
}

impl Echo {
    pub(crate) fn start(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let seen = Arc::new(Seen::default());
        let (kill, killed) = watch::channel(false);
        let accepting = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    let (seen, mut killed) = (Arc::clone(&seen), killed.clone());
                    tokio::spawn(async move {
                        let connection = serve(stream, seen);
                        tokio::select! {
                            () = connection => {}
                            _ = killed.wait_for(|killed| *killed) => {}
                        }
                    });
                }
            }
        });
        Self { path, seen, accepting, kill }
    }

    /// Cuts all connections, and takes no new ones.
    pub(crate) fn kill(&self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.path);
        self.kill.send_replace(true);
    }

    /// Waits until so many calls hang.
    pub(crate) async fn until_hanging(&self, count: usize) {
        self.seen.hanging.subscribe().wait_for(|hanging| *hanging == count).await.unwrap();
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Serves a transport to its end.
pub(crate) async fn serve<T>(transport: T, seen: Arc<Seen>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(Service(seen));
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // How it ends is the client's to see.
    let _ = builder.serve_connection(TokioIo::new(transport), service).await;
}

#[derive(Clone)]
struct Service(Arc<Seen>);

type Answers = BoxStream<'static, Result<Bytes, Status>>;

impl tower::Service<http::Request<hyper::body::Incoming>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let seen = Arc::clone(&self.0);
        seen.calls.fetch_add(1, Ordering::SeqCst);
        let grpc =
            || Grpc::new(Octets).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        Box::pin(async move {
            let answer = match method.as_str() {
                "Unary" => {
                    grpc()
                        .unary(tower::service_fn(move |request| unary(Arc::clone(&seen), request)), request)
                        .await
                }
                "Fail" => grpc().unary(tower::service_fn(fail), request).await,
                "Hang" => {
                    grpc()
                        .unary(tower::service_fn(move |request| hang(Arc::clone(&seen), request)), request)
                        .await
                }
                "Count" => grpc().client_streaming(tower::service_fn(count), request).await,
                "Repeat" => {
                    let repeat = tower::service_fn(move |request| repeat(Arc::clone(&seen), request));
                    grpc().server_streaming(repeat, request).await
                }
                "Chat" => grpc().streaming(tower::service_fn(chat), request).await,
                "Break" => {
                    grpc()
                        .streaming(
                            tower::service_fn(move |request| one_and_hang(Arc::clone(&seen), request)),
                            request,
                        )
                        .await
                }
                _ => Status::unimplemented("no such method").into_http(),
            };
            Ok(answer)
        })
    }
}

async fn unary(seen: Arc<Seen>, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let (metadata, _, message) = request.into_parts();
    let mut response = Response::new(message);
    if let Some(value) = metadata.get("echo") {
        response.metadata_mut().insert("echo", value.clone());
    }
    *seen.metadata.lock().unwrap() = Some(metadata);
    Ok(response)
}

async fn fail(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let mut metadata = MetadataMap::new();
    metadata.insert("why", "because".parse().unwrap());
    Err(Status::with_details_and_metadata(tonic::Code::Aborted, "süß 100 %", request.into_inner(), metadata))
}

async fn hang(seen: Arc<Seen>, _: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    seen.hanging.send_modify(|count| *count += 1);
    let _hanging = Hanging(seen);
    futures::future::pending().await
}

async fn count(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let mut messages = request.into_inner();
    let (mut count, mut length) = (0u64, 0u64);
    while let Some(message) = messages.message().await? {
        count += 1;
        length += message.len() as u64;
    }
    Ok(Response::new(Bytes::from(format!("{count} {length}"))))
}

/// `COUNT SIZE`
async fn repeat(seen: Arc<Seen>, request: Request<Bytes>) -> Result<Response<Answers>, Status> {
    let text = String::from_utf8(request.into_inner().to_vec()).unwrap();
    let (count, size) = text.split_once(' ').unwrap();
    let message = Bytes::from(vec![7; size.parse().unwrap()]);
    let messages = futures::stream::repeat(message).take(count.parse().unwrap()).map(move |message| {
        seen.repeated.fetch_add(1, Ordering::SeqCst);
        Ok(message)
    });
    Ok(Response::new(messages.boxed()))
}

async fn chat(request: Request<Streaming<Bytes>>) -> Result<Response<Answers>, Status> {
    Ok(Response::new(request.into_inner().boxed()))
}

/// One answer, and no end.
async fn one_and_hang(
    seen: Arc<Seen>,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Answers>, Status> {
    seen.hanging.send_modify(|count| *count += 1);
    let hanging = Hanging(seen);
    let answers =
        futures::stream::iter([Ok(Bytes::from_static(b"one"))]).chain(pending_with((hanging, request)));
    Ok(Response::new(answers.boxed()))
}

fn pending_with<T: Send + 'static>(kept: T) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    futures::stream::once(async move {
        let _kept = kept;
        futures::future::pending().await
    })
}
