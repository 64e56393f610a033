//! One stream of a session.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::Request;

/// A stream, opened by either side. Dropped before it was [shut down](AsyncWrite::poll_shutdown), it is reset.
#[derive(Debug)]
pub(crate) struct MuxStream {
    stream: Compat<yamux::Stream>,
    /// Whether our end was closed. Saying so twice is an error that ends a Go program's session.
    closed: bool,
    _place: Place,
}

/// What a stream has of its session.
#[derive(Debug)]
pub(super) struct Place {
    /// Is counted.
    pub(super) _count: Arc<()>,
    /// Keeps the session from ending.
    pub(super) _opener: mpsc::Sender<Request>,
}

impl MuxStream {
    pub(super) fn new(stream: yamux::Stream, place: Place) -> Self {
        Self { stream: stream.compat(), closed: false, _place: place }
    }

    /// Says to the other side that this stream exists, or that it has arrived, with a frame that has nothing in it: else the first
    /// word of ours would.
    pub(super) fn begin(&mut self, context: &mut Context<'_>) {
        // It is ready: nothing was sent before. If it is not, the first word will say it after all.
        let _ = Pin::new(&mut self.stream).poll_write(context, &[]);
    }

    /// Whether it was not reset, and not closed by both sides.
    pub(crate) fn is_open(&self) -> bool {
        !self.stream.get_ref().is_closed()
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.closed = matches!(closed, Poll::Ready(Ok(())));
        closed
    }
}
