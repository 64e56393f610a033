//! What carries one connection: a socket of its own, or a stream of a session.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

use crate::mux::MuxStream;

/// A connection without the TLS on it.
#[derive(Debug)]
pub(crate) enum Raw {
    Socket(UnixStream),
    Stream(MuxStream),
}

impl Raw {
    /// Whether the other side has its end still open, by what is known at this moment. What it wrote and was not read yet is no
    /// excuse.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Socket(socket) => {
                events_now(socket, PollFlags::RDHUP).is_ok_and(|events| events.is_empty())
            }
            Self::Stream(stream) => stream.is_open(),
        }
    }
}

/// What there is to be told of a socket at this moment: of what is asked for, and in any case that it was cut or has failed.
pub(crate) fn events_now(socket: impl AsFd, asked: PollFlags) -> io::Result<PollFlags> {
    let mut polled = [PollFd::new(&socket, asked)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&at_once))?;
    Ok(polled[0].revents())
}

impl From<UnixStream> for Raw {
    fn from(socket: UnixStream) -> Self {
        Self::Socket(socket)
    }
}

impl From<MuxStream> for Raw {
    fn from(stream: MuxStream) -> Self {
        Self::Stream(stream)
    }
}

impl AsyncRead for Raw {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Stream(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Stream(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
            Self::Stream(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_write_vectored(),
            Self::Stream(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_flush(context),
            Self::Stream(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Stream(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
