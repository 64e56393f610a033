//! A socket that is read in large pieces, by whoever asks for small ones.
//!
//! rustls asks for 4 KiB at a time, of records that may have 16: a system call for each is what most of a large transfer's time would
//! go to. What was read and not asked for yet lies here, and costs nothing when there is none.

use std::{
    cell::Cell,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// Bytes of one read.
const READ: usize = 64 << 10;

thread_local! {
    /// Where bytes are read to, for all sockets of a thread: between two reads nothing is in it.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// A socket, and what of it was read ahead.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    socket: UnixStream,
    /// Less than [`READ`].
    ahead: Vec<u8>,
    /// How much of that was taken already.
    taken: usize,
}

// === impl ReadAhead ===

impl ReadAhead {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { socket, ahead: Vec::new(), taken: 0 }
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    fn take(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = &self.ahead[self.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.ahead.len() {
            self.taken = 0;
            mem::take(&mut self.ahead);
        }
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            self.take(buffer);
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() >= READ {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; READ].into_boxed_slice());
        let mut piece = ReadBuf::new(&mut scratch);
        let read = Pin::new(&mut self.socket).poll_read(context, &mut piece);
        let read = read.map_ok(|()| {
            let (now, later) = piece.filled().split_at(piece.filled().len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.ahead.extend_from_slice(later);
        });
        SCRATCH.set(Some(scratch));
        ready!(read)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn all_is_read_in_order_however_it_is_asked_for(
            written in proptest::collection::vec(1usize..100_000, 1..6),
            asked in proptest::collection::vec(1usize..70_000, 1..8),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (ours, mut theirs) = UnixStream::pair().unwrap();
                let total: usize = written.iter().sum();
                let sent: Vec<u8> = (0..total).map(|at| (at * 31 % 251) as u8).collect();
                let all = sent.clone();
                let writing = tokio::spawn(async move {
                    let mut rest = all.as_slice();
                    for count in written {
                        theirs.write_all(&rest[..count]).await.unwrap();
                        rest = &rest[count..];
                    }
                });
                let mut socket = ReadAhead::new(ours);
                let mut read = Vec::new();
                for size in asked.iter().cycle() {
                    let mut piece = vec![0; *size];
                    let count = socket.read(&mut piece).await.unwrap();
                    if count == 0 {
                        break;
                    }
                    read.extend_from_slice(&piece[..count]);
                }
                writing.await.unwrap();
                assert!(read == sent);
                assert_eq!(socket.ahead.capacity(), 0, "nothing is kept for what is not there");
            });
        }
    }
}
