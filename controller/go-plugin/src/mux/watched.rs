//! The connection under a session, with an eye on the frames.
//!
//! The yamux library keeps every frame that nobody has read as a piece of its own, and tells one who breaks the rules to go, but
//! listens to him further. Here one who sends his data in crumbs, which would cost many times their size, is not
//! listened to, nor is one who was told to go.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The size of a frame's head: version, type, flags, stream and length.
const HEAD: usize = 12;

const DATA: u8 = 0;
const GO_AWAY: u8 = 3;

/// The largest frame that is a crumb, in bytes. TLS has no smaller one, nor has HTTP/2: only a cut leaves one.
const CRUMB: u32 = 8;

/// How many crumbs are forgiven.
const CRUMBS: u64 = 4096;

/// And another for so many bytes of data.
const CRUMB_PER: u64 = 4096;

pub(super) struct Watched<T> {
    connection: T,
    received: Frames,
    sent: Frames,
    bytes: u64,
    crumbs: u64,
    /// The other side was told to go.
    over: bool,
    /// Too much of what it sent were crumbs.
    crumbled: bool,
}

/// Finds the heads of frames in pieces of any size.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD],
    filled: usize,
    /// How much of a frame's body is still to come.
    body: u32,
}

impl<T> Watched<T> {
    pub(super) fn new(connection: T) -> Self {
        Self {
            connection,
            received: Frames::default(),
            sent: Frames::default(),
            bytes: 0,
            crumbs: 0,
            over: false,
            crumbled: false,
        }
    }

    fn look_at(&mut self, bytes: &[u8]) {
        let (total, crumbs) = (&mut self.bytes, &mut self.crumbs);
        self.received.read(bytes, |kind, length| {
            if kind == DATA {
                *total = total.saturating_add(length.into());
                *crumbs += u64::from((1..=CRUMB).contains(&length));
            }
        });
        self.crumbled = self.crumbs > CRUMBS + self.bytes / CRUMB_PER;
    }
}

impl Frames {
    /// Calls `found` with the type and the length of every frame that begins in these bytes.
    fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, u32)) {
        while !bytes.is_empty() {
            if self.body > 0 {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(self.body);
                self.body -= length;
                // It is at most as long as the piece.
                bytes = &bytes[length as usize..];
                continue;
            }
            let length = bytes.len().min(HEAD - self.filled);
            self.head[self.filled..][..length].copy_from_slice(&bytes[..length]);
            self.filled += length;
            bytes = &bytes[length..];
            if self.filled == HEAD {
                self.filled = 0;
                let [_, kind, _, _, _, _, _, _, length @ ..] = self.head;
                let length = u32::from_be_bytes(length);
                if kind == DATA {
                    self.body = length;
                }
                found(kind, length);
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        if self.crumbled {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the other side sends its data in crumbs");
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(context, buffer))?;
        self.look_at(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.connection).poll_write(context, bytes))?;
        let Self { sent, over, .. } = &mut *self;
        sent.read(&bytes[..written], |kind, _| *over |= kind == GO_AWAY);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, length: u32) -> Vec<u8> {
        let mut frame = vec![0, kind, 0, 0, 0, 0, 0, 2];
        frame.extend(length.to_be_bytes());
        if kind == DATA {
            frame.resize(HEAD + length as usize, 0xaa);
        }
        frame
    }

    proptest! {
        #[test]
        fn frames_are_found_however_they_are_cut(
            frames in prop::collection::vec((0..4u8, 0..50u32), 0..20),
            cut in 1..40usize,
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, length)| frame(*kind, *length)).collect();
            let (mut reader, mut found) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                reader.read(piece, |kind, length| found.push((kind, length)));
            }
            prop_assert_eq!(found, frames);
        }
    }

    #[tokio::test]
    async fn crumbs_are_forgiven_up_to_a_number_that_grows_with_what_is_sent() {
        let crumbs = |count: u64| frame(DATA, CRUMB).repeat(usize::try_from(count).unwrap());
        let whole = frame(DATA, 1 << 20);
        let read = async |bytes: &[u8]| {
            let mut watched = Watched::new(bytes);
            watched.read_to_end(&mut Vec::new()).await
        };
        read(&crumbs(CRUMBS)).await.unwrap();
        read(&crumbs(CRUMBS + 50)).await.unwrap_err();
        read(&[whole, crumbs(CRUMBS + 200)].concat()).await.unwrap();
        read(&frame(DATA, 0).repeat(10_000)).await.unwrap();
    }

    #[tokio::test]
    async fn one_who_was_told_to_go_is_not_listened_to() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut watched = Watched::new(ours);
        theirs.write_all(&frame(2, 0)).await.unwrap();
        watched.read_exact(&mut [0; HEAD]).await.unwrap();
        watched.write_all(&frame(GO_AWAY, 1)).await.unwrap();
        theirs.write_all(&frame(2, 0)).await.unwrap();
        assert_eq!(watched.read(&mut [0; HEAD]).await.unwrap(), 0);
    }
}
