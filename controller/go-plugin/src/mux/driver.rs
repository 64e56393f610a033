//! The task that reads and writes a session.

use std::{
    future::poll_fn,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{net::UnixStream, sync::mpsc, time};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use tracing::debug;
use yamux::{Config, Connection, ConnectionError, Mode};

use super::{MAX_STREAMS, MuxStream, Request, stream::Place, watched::Watched};
use crate::ConnectError;

/// How many streams the session itself knows, in both directions: those that were dropped a moment ago are still among them. One
/// more ends it.
const KNOWN_STREAMS: usize = 2 * MAX_STREAMS;

/// The window of every stream, which yamux prescribes, in bytes.
const WINDOW: usize = 256 << 10;

/// How long the last frames may take that the other side does not read.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    connection: Connection<Compat<Watched<UnixStream>>>,
    requests: mpsc::Receiver<Request>,
    /// Every stream has a sender of requests, so that there are none once nobody has a stream, or could open one.
    opener: mpsc::WeakSender<Request>,
    inbound: mpsc::Sender<MuxStream>,
    /// As many as there are streams, and this one.
    places: Arc<()>,
    /// The streams look at it, and do not keep it open.
    line: Option<Arc<OwnedFd>>,
}

/// Why it does not go on.
enum End {
    /// The connection has ended.
    Closed(Option<ConnectionError>),
    /// Nobody needs it any more.
    Unused,
}

impl Driver {
    pub(super) fn new(
        connection: UnixStream,
        mode: Mode,
        requests: mpsc::Receiver<Request>,
        opener: mpsc::WeakSender<Request>,
        inbound: mpsc::Sender<MuxStream>,
    ) -> Self {
        let mut config = Config::default();
        config.set_max_num_streams(KNOWN_STREAMS);
        // No more than what each stream has anyway: windows do not grow.
        config.set_max_connection_receive_window(Some(KNOWN_STREAMS * WINDOW));
        // Where the system gives no more files, streams learn later that it was cut.
        let line = connection.as_fd().try_clone_to_owned().ok().map(Arc::new);
        let connection = Connection::new(Watched::new(connection).compat(), config, mode);
        Self { connection, requests, opener, inbound, places: Arc::default(), line }
    }

    pub(super) async fn run(mut self) {
        match poll_fn(|context| self.poll(context)).await {
            End::Closed(None) => debug!("the other side ended its session"),
            End::Closed(Some(error)) => {
                debug!(error = &error as &dyn std::error::Error, "the session failed");
            }
            End::Unused => {
                let closing = poll_fn(|context| self.connection.poll_close(context));
                if !matches!(time::timeout(CLOSE_LIMIT, closing).await, Ok(Ok(()))) {
                    debug!("the other side did not read the end of its session");
                }
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.connection.poll_next_inbound(context) {
                Poll::Ready(Some(Ok(stream))) => {
                    self.arrived(stream, context);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(End::Closed(Some(error))),
                Poll::Ready(None) => return Poll::Ready(End::Closed(None)),
                Poll::Pending => (),
            }
            match self.requests.poll_recv(context) {
                // The session has to be looked at again: there is something to be sent.
                Poll::Ready(Some(request)) => {
                    // Who asked may have gone, and the stream with him.
                    let _ = request.send(self.open(context));
                }
                Poll::Ready(None) => return Poll::Ready(End::Unused),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes in a stream of the other side's. Dropped, it is reset.
    fn arrived(&self, stream: yamux::Stream, context: &mut Context<'_>) {
        let Some(place) = self.place() else {
            debug!("a stream of the other side's is one too many");
            return;
        };
        let mut stream = MuxStream::new(stream, place);
        stream.begin(context);
        if self.inbound.try_send(stream).is_err() {
            debug!("a stream of the other side's is accepted by nobody");
        }
    }

    fn open(&mut self, context: &mut Context<'_>) -> Result<MuxStream, ConnectError> {
        let place = self.place().ok_or(ConnectError::TooManyStreams)?;
        match self.connection.poll_new_outbound(context) {
            Poll::Ready(Ok(stream)) => {
                let mut stream = MuxStream::new(stream, place);
                stream.begin(context);
                Ok(stream)
            }
            Poll::Ready(Err(_)) => Err(ConnectError::SessionEnded),
            // As many were opened that the other side has not acknowledged.
            Poll::Pending => Err(ConnectError::TooManyStreams),
        }
    }

    /// Room for one more stream, if there is.
    fn place(&self) -> Option<Place> {
        let opener = self.opener.upgrade()?;
        let line = self.line.as_ref().map(Arc::downgrade);
        (Arc::strong_count(&self.places) <= MAX_STREAMS).then(|| Place {
            _count: Arc::clone(&self.places),
            _opener: opener,
            line,
        })
    }
}
