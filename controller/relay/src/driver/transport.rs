//! One end of a relay: a transport that is read at all times, written as it takes bytes, and closed without losing what was written.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::LINGER;
use crate::limits::Limits;

/// Bytes of one read.
const READ: usize = 64 << 10;

thread_local! {
    /// Where bytes are read to. They are handed on before anything else is read: one place does for all connections of a thread, so that
    /// an idle one costs none.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// A transport and how far its end is.
pub(super) struct Transport<T> {
    io: T,
    /// Whether more may arrive.
    readable: bool,
    writing: Writing,
    unflushed: bool,
}

enum Writing {
    Open,
    /// Nothing is to be written beyond what waits: until the timer ends.
    Last(Pin<Box<Sleep>>),
    /// Shut down. The peer may still be sending: what it sends is read, so that closing does not take away what it was sent.
    Lingering(Pin<Box<Sleep>>),
    Broken,
    Closed,
}

/// What a read gave.
pub(super) enum Read {
    Nothing,
    Bytes,
    /// The end: once.
    End,
}

/// What a write took.
pub(super) enum Written {
    Nothing,
    Bytes(usize),
    Broken,
}

// === impl Transport ===

impl<T: AsyncRead + AsyncWrite + Unpin> Transport<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, readable: true, writing: Writing::Open, unflushed: false }
    }

    /// Reads once, and hands on what arrived.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, hand_on: impl FnOnce(&[u8])) -> Read {
        if !self.readable {
            return Read::Nothing;
        }
        let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; READ].into_boxed_slice());
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
            Poll::Pending => Read::Nothing,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                hand_on(buffer.filled());
                Read::Bytes
            }
            Poll::Ready(_) => Read::End,
        };
        SCRATCH.set(Some(scratch));
        self.readable = !matches!(read, Read::End);
        read
    }

    /// Writes what it takes of `bytes`, and sees to it that what it took leaves.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Written {
        if !matches!(self.writing, Writing::Open | Writing::Last(_)) {
            return Written::Nothing;
        }
        let io = Pin::new(&mut self.io);
        let polled = if bytes.is_empty() {
            if !self.unflushed {
                return Written::Nothing;
            }
            io.poll_flush(context).map_ok(|()| {
                self.unflushed = false;
                0
            })
        } else {
            io.poll_write(context, bytes)
        };
        match polled {
            Poll::Pending => Written::Nothing,
            Poll::Ready(Ok(0)) if bytes.is_empty() => Written::Nothing,
            Poll::Ready(Ok(count)) if count > 0 => {
                self.unflushed = true;
                Written::Bytes(count)
            }
            Poll::Ready(_) => {
                self.writing = Writing::Broken;
                Written::Broken
            }
        }
    }

    /// Closes when `written` says that nothing is left to be written: shuts down, then waits for the peer's end, not for long. True if
    /// that went on.
    pub(super) fn poll_close(&mut self, context: &mut Context<'_>, written: bool, limits: &Limits) -> bool {
        match &mut self.writing {
            Writing::Open => self.writing = Writing::Last(Box::pin(sleep(limits.patience))),
            Writing::Last(_) if written => match Pin::new(&mut self.io).poll_shutdown(context) {
                Poll::Ready(Ok(())) => self.writing = Writing::Lingering(Box::pin(sleep(LINGER))),
                Poll::Ready(Err(_)) => self.writing = Writing::Closed,
                Poll::Pending => return self.closed_by_timer(context),
            },
            Writing::Lingering(_) if !self.readable => self.writing = Writing::Closed,
            Writing::Broken => self.writing = Writing::Closed,
            Writing::Last(_) | Writing::Lingering(_) => return self.closed_by_timer(context),
            Writing::Closed => return false,
        }
        true
    }

    fn closed_by_timer(&mut self, context: &mut Context<'_>) -> bool {
        let (Writing::Last(timer) | Writing::Lingering(timer)) = &mut self.writing else { return false };
        let over = timer.as_mut().poll(context).is_ready();
        if over {
            self.close();
        }
        over
    }

    /// Nothing more is done with it.
    pub(super) fn close(&mut self) {
        self.writing = Writing::Closed;
        self.readable = false;
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.writing, Writing::Closed)
    }
}
