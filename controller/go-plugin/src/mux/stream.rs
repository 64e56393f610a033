//! One stream of a session.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use rustix::event::PollFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::Request;
use crate::raw::events_now;

/// A stream, opened by either side. Dropped before it was [shut down](AsyncWrite::poll_shutdown), it is reset.
#[derive(Debug)]
pub(crate) struct MuxStream {
    stream: Compat<yamux::Stream>,
    /// Whether our end was closed. Saying so twice is an error that ends a Go program's session.
    closed: bool,
    place: Place,
}

/// What a stream has of its session.
#[derive(Debug)]
pub(super) struct Place {
    /// Is counted.
    pub(super) _count: Arc<()>,
    /// Keeps the session from ending.
    pub(super) _opener: mpsc::Sender<Request>,
    /// The session's connection, while there is one, and if it can be looked at.
    pub(super) line: Option<Weak<OwnedFd>>,
}

impl Place {
    /// Whether the other side has closed the session's connection, or we have.
    fn is_cut(&self) -> bool {
        let Some(line) = &self.line else { return false };
        let Some(line) = line.upgrade() else { return true };
        let cut = PollFlags::HUP | PollFlags::ERR;
        events_now(&line, PollFlags::empty()).is_ok_and(|events| events.intersects(cut))
    }
}

impl MuxStream {
    pub(super) fn new(stream: yamux::Stream, place: Place) -> Self {
        Self { stream: stream.compat(), closed: false, place }
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
        // Else it would go to a buffer of the session's, which may not have noticed yet: nobody could tell that it was seen by none.
        if self.place.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
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
