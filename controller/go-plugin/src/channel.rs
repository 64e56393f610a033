//! One HTTP/2 connection to a plugin.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::BodyExt;
use hyper::{
    Request, Response, Uri,
    client::conn::http2::{Builder, SendRequest},
    http::uri::{Authority, PathAndQuery, Scheme},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tonic::{Status, body::Body};
use tower::Service;
use tracing::debug;

use crate::{ConnectError, PluginStream, call::Lost, identity::NAME};

/// The largest message that go-plugin's host sends and accepts, in bytes. A generated client has to be told
/// (`max_decoding_message_size`), else it accepts 4 MiB.
pub const MAX_MESSAGE_SIZE: usize = i32::MAX as usize;

/// A gRPC channel over the one connection to a plugin, for the clients that tonic generates. Cheap to clone.
///
/// When the connection has ended, every call fails with `UNAVAILABLE`; nothing reconnects. It is closed when
/// the last clone is dropped and the last call has ended.
///
/// Calls have no time limit of their own.
#[derive(Debug, Clone)]
pub struct Channel {
    requests: SendRequest<Body>,
    /// Has a sender as long as the connection takes calls. It never sends anything.
    open: watch::Receiver<()>,
}

impl Channel {
    /// A channel over a connection that nothing was sent on yet, as to a brokered server. Must be called within a tokio runtime,
    /// in which a task drives it.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Http2`], when the connection has ended already.
    pub async fn over(stream: PluginStream) -> Result<Self, ConnectError> {
        Self::start(stream).await.map_err(ConnectError::Http2)
    }

    /// Starts HTTP/2 on a connected stream. A task of its own drives the connection.
    pub(crate) async fn start(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> hyper::Result<Self> {
        let (requests, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await?;
        let (sender, open) = watch::channel(());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(error = &error as &dyn std::error::Error, "connection to the plugin failed");
            }
            drop(sender);
        });
        Ok(Self { requests, open })
    }

    /// Waits until the connection takes no more calls.
    pub(crate) async fn closed(&self) {
        // An error, which is what comes here, says that the sender is gone.
        while self.open.clone().changed().await.is_ok() {}
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Always: HTTP/2 queues what it can't send yet. That the connection has ended is for the call to say, since generated
    /// clients turn an error of this function into an unknown one.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        *request.uri_mut() = absolute(request.uri());
        let response = self.requests.send_request(request);
        Box::pin(async move {
            let response = response.await.map_err(Lost::status)?;
            Ok(response.map(|body| Body::new(body.map_err(Lost::status))))
        })
    }
}

/// HTTP/2 wants a scheme and an authority, of which a generated client knows nothing. Plugins don't look at
/// them.
fn absolute(uri: &Uri) -> Uri {
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(Authority::from_static(NAME))
        .path_and_query(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
        .unwrap_or_default()
}
