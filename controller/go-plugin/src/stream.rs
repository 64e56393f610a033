//! A connected byte stream between a host and a plugin.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustls::{HandshakeKind, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::{ConnectError, identity::NAME, raw::Raw};

/// How much a plugin may send before a word of ours, in bytes. The settings with which HTTP/2 begins are 9 bytes and 6 for each.
const EARLY_LIMIT: usize = 4096;

/// A connection to a plugin, TLS and all: what is written here is what the plugin reads. Or, in a plugin, to its host.
pub struct PluginStream {
    transport: Transport,
    /// What was read while nobody had taken the connection yet, and has to be read first.
    early: Vec<u8>,
}

enum Transport {
    Plain(Raw),
    Tls(Box<TlsStream<Raw>>),
}

// === impl PluginStream ===

impl PluginStream {
    /// The side that made the connection, and that is the TLS client on it, whichever of the two it is.
    pub(crate) async fn dialled(
        raw: impl Into<Raw>,
        tls: Option<&TlsConnector>,
    ) -> Result<Self, ConnectError> {
        let Some(tls) = tls else { return Ok(Self::plain(raw)) };
        let name = ServerName::try_from(NAME).map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
        let stream = tls.connect(name, raw.into()).await.map_err(ConnectError::Tls)?;
        Ok(Self::tls(stream))
    }

    /// The side that the connection was made to.
    pub(crate) async fn accepted(raw: Raw, tls: Option<&TlsAcceptor>) -> Result<Self, ConnectError> {
        let Some(tls) = tls else { return Ok(Self::plain(raw)) };
        let stream = tls.accept(raw).await.map_err(ConnectError::Tls)?;
        Ok(Self::tls(stream))
    }

    pub(crate) fn plain(stream: impl Into<Raw>) -> Self {
        Self { transport: Transport::Plain(stream.into()), early: Vec::new() }
    }

    fn tls(stream: impl Into<TlsStream<Raw>>) -> Self {
        Self { transport: Transport::Tls(Box::new(stream.into())), early: Vec::new() }
    }

    /// Waits for the other side's first word, and keeps it for whoever reads. Without TLS nothing else says that it has
    /// the connection.
    pub(crate) async fn greeted(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            let mut piece = [0; 512];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(self.transport.poll_read(context, &mut piece))?;
            self.early.extend_from_slice(piece.filled());
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// How the TLS handshake went, in particular whether it resumed an earlier session. `None` without TLS.
    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.get_ref().1.handshake_kind(),
        }
    }

    /// Whether the plugin has its end still open, by what the system knows at this moment. What the plugin wrote and was
    /// not read yet is no excuse.
    pub(crate) fn is_open(&self) -> bool {
        match &self.transport {
            Transport::Plain(raw) => raw.is_open(),
            Transport::Tls(stream) => stream.get_ref().0.is_open(),
        }
    }

    /// Resolves when this is no connection that HTTP/2 could begin on any more: the plugin has ended it, or talks
    /// out of turn. Reads meanwhile what comes, for whoever takes the connection: among it are the tickets by which
    /// later ones resume this one's TLS session.
    pub(crate) fn poll_spoilt(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; 512];
        while self.early.len() < EARLY_LIMIT {
            let mut piece = ReadBuf::new(&mut piece);
            let read = self.transport.poll_read(context, &mut piece);
            match ready!(read) {
                Ok(()) if !piece.filled().is_empty() => self.early.extend_from_slice(piece.filled()),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for PluginStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return self.transport.poll_read(context, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..count]);
        self.early.drain(..count);
        if self.early.is_empty() {
            // Most live long from here.
            self.early = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PluginStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl fmt::Debug for PluginStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginStream").field("handshake", &self.handshake_kind()).finish_non_exhaustive()
    }
}

// === impl Transport ===

impl Transport {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

#[cfg(test)]
mod tests;
