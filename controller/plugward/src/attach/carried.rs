//! A connection that a launcher made, as one of ours alone.
//!
//! The launcher has it, too, and could make it block at any moment, and with it the thread that reads or writes: so it is only read and
//! written in a way that never waits, whatever its flags say, and what comes of it is carried to a connection that nobody else has.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf, copy, split};
use tokio::net::UnixStream;
use tokio::time::sleep;

/// How long a server may go on saying something to whom it hears no more.
const LINGER: Duration = Duration::from_secs(10);

/// A stream that another process has, too.
struct Shared(UnixStream);

/// The same bytes in both directions, over a connection that nobody else has.
///
/// # Errors
/// When the system gives none.
pub(super) fn carried(stream: OwnedFd) -> io::Result<UnixStream> {
    // The runtime wants it so.
    ioctl_fionbio(&stream, true)?;
    let theirs = Shared(UnixStream::from_std(stream.into())?);
    let (ours, far) = UnixStream::pair()?;
    tokio::spawn(carry(theirs, far));
    Ok(ours)
}

async fn carry(theirs: Shared, far: UnixStream) {
    let (mut from_them, mut to_them) = split(theirs);
    let (mut from_us, mut to_us) = far.into_split();
    let saying = async {
        let _ = copy(&mut from_us, &mut to_them).await;
        let _ = to_them.shutdown().await;
        sleep(LINGER).await;
    };
    let hearing = async {
        let _ = copy(&mut from_them, &mut to_us).await;
        let _ = to_us.shutdown().await;
    };
    tokio::pin!(saying);
    tokio::select! {
        () = &mut saying => {}
        () = hearing => saying.await,
    }
}

/// What a call that never waits came to, for the runtime.
fn done<T>(result: Result<T, Errno>) -> io::Result<T> {
    result.map_err(io::Error::from)
}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            let read = self.0.try_io(Interest::READABLE, || {
                done(recv(&self.0, buffer.initialize_unfilled(), RecvFlags::DONTWAIT))
            });
            match read {
                Ok((length, _)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            let written = self.0.try_io(Interest::WRITABLE, || {
                done(send(&self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
            });
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(done(shutdown(&self.0, Shutdown::Write)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Theirs;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_said_arrives_and_so_does_its_end_whatever_the_other_process_does() {
        let (server, dialled) = Theirs::pair().unwrap();
        let launchers = dialled.try_clone().unwrap();
        let mut ours = carried(dialled.into()).unwrap();
        launchers.set_nonblocking(false).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut server = UnixStream::from_std(server).unwrap();
        let long: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut heard = Vec::new();
        let (said, read) = tokio::join!(
            async {
                ours.write_all(&long).await.unwrap();
                ours.shutdown().await
            },
            server.read_to_end(&mut heard)
        );
        said.unwrap();
        assert_eq!(read.unwrap(), long.len());
        assert!(heard == long);
        // The other direction is still open.
        server.write_all(b"answer").await.unwrap();
        drop(server);
        drop(launchers);
        let mut answer = String::new();
        ours.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }
}
