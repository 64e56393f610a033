//! A served stream as the program has it: two channels of messages.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::{
    connection::{Connection, Received, StreamId},
    grpc::Status,
    policy::Policy,
};

/// Messages that wait in either channel.
const WAITING: usize = 16;

/// A stream whose server is the program.
///
/// Dropped without a [`finish`](Self::finish), it ends with `UNAVAILABLE`.
#[derive(Debug)]
pub struct ServedStream {
    incoming: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Outgoing>,
}

/// The stream is over: the host reset it, or its connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is over")]
pub struct Gone;

enum Outgoing {
    Message(Bytes),
    Finish(Status),
}

/// The driver's end of it.
pub(super) struct Serving {
    id: StreamId,
    /// `None` when the host sends no more, or the program takes no more.
    incoming: Option<PollSender<Bytes>>,
    outgoing: mpsc::Receiver<Outgoing>,
    finished: bool,
}

/// What a poll found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Polled {
    pub(super) moved: bool,
    pub(super) over: bool,
}

// === impl ServedStream ===

impl ServedStream {
    /// The next message of the host. `None` when it sends no more, or the stream is over.
    pub async fn message(&mut self) -> Option<Bytes> {
        self.incoming.recv().await
    }

    /// Sends a message, when those before it are on their way.
    ///
    /// # Errors
    ///
    /// [`Gone`] if the stream is over.
    pub async fn send(&self, message: Bytes) -> Result<(), Gone> {
        self.outgoing.send(Outgoing::Message(message)).await.map_err(|_| Gone)
    }

    /// Sends a message if there is room for it now: else gives it back, as `Some`.
    ///
    /// # Errors
    ///
    /// [`Gone`] if the stream is over.
    pub fn try_send(&self, message: Bytes) -> Result<Option<Bytes>, Gone> {
        match self.outgoing.try_send(Outgoing::Message(message)) {
            Err(mpsc::error::TrySendError::Full(Outgoing::Message(message))) => Ok(Some(message)),
            Err(_) => Err(Gone),
            Ok(()) => Ok(None),
        }
    }

    /// Ends the stream with `status`, after what was sent.
    pub async fn finish(self, status: Status) {
        // A stream that is over has no use for a status.
        let _ = self.outgoing.send(Outgoing::Finish(status)).await;
    }

    /// Waits until the stream is over.
    pub async fn gone(&self) {
        self.outgoing.closed().await;
    }
}

// === impl Serving ===

impl Serving {
    pub(super) fn new(id: StreamId) -> (Self, ServedStream) {
        let (to_program, incoming) = mpsc::channel(WAITING);
        let (outgoing, from_program) = mpsc::channel(WAITING);
        let incoming_end = Some(PollSender::new(to_program));
        let serving = Self { id, incoming: incoming_end, outgoing: from_program, finished: false };
        (serving, ServedStream { incoming, outgoing })
    }

    /// Moves messages both ways.
    pub(super) fn poll<P: Policy>(
        &mut self,
        context: &mut Context<'_>,
        connection: &mut Connection<P>,
    ) -> Polled {
        let mut moved = false;
        while self.poll_incoming(context, connection) {
            moved = true;
        }
        while !self.finished && connection.has_room(self.id) == Some(true) {
            match self.outgoing.poll_recv(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Outgoing::Message(message))) => connection.send(self.id, &message),
                Poll::Ready(Some(Outgoing::Finish(status))) => {
                    self.finished = true;
                    connection.finish(self.id, status);
                }
                Poll::Ready(None) => {
                    self.finished = true;
                    connection.finish(self.id, Status::unavailable("the stream was given up"));
                }
            }
            moved = true;
        }
        Polled { moved, over: connection.has_room(self.id).is_none() }
    }

    fn poll_incoming<P: Policy>(
        &mut self,
        context: &mut Context<'_>,
        connection: &mut Connection<P>,
    ) -> bool {
        let Some(sender) = &mut self.incoming else { return false };
        let received = match sender.poll_reserve(context) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => connection.receive(self.id),
            Poll::Ready(Err(_)) => Received::End,
        };
        match received {
            Received::Message(message) => {
                // Its place is reserved.
                let _ = sender.send_item(message);
            }
            Received::Nothing => return false,
            Received::End | Received::Gone => self.incoming = None,
        }
        true
    }
}
