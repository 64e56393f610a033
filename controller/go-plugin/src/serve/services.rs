//! The services that every plugin has.

use std::{fmt, pin::Pin, sync::Arc};

use futures::{Stream, stream};
use hyper::body::Bytes;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tonic::{Request, Response, Status};

use crate::{
    StdioChannel,
    plugin::SERVICE,
    proto::{
        health::{
            HealthCheckRequest, HealthCheckResponse,
            health_check_response::ServingStatus,
            health_server::{Health, HealthServer},
        },
        plugin::{
            Empty, StdioData,
            grpc_controller_server::{GrpcController, GrpcControllerServer},
            grpc_stdio_server::{GrpcStdio, GrpcStdioServer},
            stdio_data,
        },
    },
};

/// How much a piece of output holds at most, in bytes, as go-plugin cuts it.
const PIECE: usize = 1024;

/// How many pieces wait for a host that is not reading.
const PIECES: usize = 64;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Writes to the output that the host reads by `GRPCStdio`. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    pieces: mpsc::Sender<StdioData>,
    /// Where the service takes them from; between readers a piece goes to one of them.
    written: Arc<Mutex<mpsc::Receiver<StdioData>>>,
}

/// Says whether the plugin is healthy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HealthReporter {
    serving: watch::Sender<bool>,
}

struct Controller {
    shutdown: Arc<Notify>,
}

/// The service `GRPCController`, which reports a call of `Shutdown` once.
pub(super) fn controller(shutdown: Arc<Notify>) -> GrpcControllerServer<impl GrpcController> {
    GrpcControllerServer::new(Controller { shutdown })
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.shutdown.notify_one();
        Ok(Response::new(Empty {}))
    }
}

// === impl Output ===

impl Default for Output {
    fn default() -> Self {
        let (pieces, written) = mpsc::channel(PIECES);
        Self { pieces, written: Arc::new(Mutex::new(written)) }
    }
}

impl Output {
    /// Writes it all. Waits while the host does not read, as a Go plugin does.
    pub async fn write(&self, channel: StdioChannel, data: impl Into<Bytes>) {
        let mut data: Bytes = data.into();
        let channel = match channel {
            StdioChannel::Stdout => stdio_data::Channel::Stdout,
            StdioChannel::Stderr => stdio_data::Channel::Stderr,
        };
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            // It cannot fail: the receiver is ours.
            let _ = self.pieces.send(StdioData { channel: channel.into(), data: piece }).await;
        }
    }

    pub(super) fn service(&self) -> GrpcStdioServer<impl GrpcStdio> {
        GrpcStdioServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl GrpcStdio for Output {
    type StreamStdioStream = Answers<StdioData>;

    async fn stream_stdio(&self, _: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        let pieces = stream::unfold(Arc::clone(&self.written), |written| async {
            let piece = written.lock().await.recv().await?;
            Some((Ok(piece), written))
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

// === impl HealthReporter ===

impl Default for HealthReporter {
    fn default() -> Self {
        Self { serving: watch::Sender::new(true) }
    }
}

impl HealthReporter {
    /// Says it, to whoever asks from now on and to whoever watches.
    pub fn set_serving(&self, serving: bool) {
        self.serving.send_replace(serving);
    }

    pub(super) fn service(&self) -> HealthServer<impl Health> {
        HealthServer::new(self.clone())
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn status_of(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// The empty name is the whole server, by gRPC's convention.
fn is_known(request: &HealthCheckRequest) -> bool {
    request.service.is_empty() || request.service == SERVICE
}

#[tonic::async_trait]
impl Health for HealthReporter {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if is_known(request.get_ref()) {
            Ok(Response::new(answer(status_of(*self.serving.borrow()))))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !is_known(request.get_ref()) {
            // It might become known: a watcher is told so and kept, says the specification.
            let told = stream::iter([Ok(answer(ServingStatus::ServiceUnknown))]);
            return Ok(Response::new(Box::pin(stream::StreamExt::chain(told, stream::pending()))));
        }
        let mut serving = self.serving.subscribe();
        serving.mark_changed();
        let changes = stream::unfold(serving, |mut serving| async {
            serving.changed().await.ok()?;
            let now = *serving.borrow_and_update();
            Some((Ok(answer(status_of(now))), serving))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
