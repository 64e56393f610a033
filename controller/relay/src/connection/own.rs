//! Streams that the program serves.

use std::fmt;

use bytes::Bytes;

use super::{Connection, StreamId, calls::status_block};
use crate::{
    grpc::Status,
    policy::{Outcome, Policy},
    stream::Stream,
};

/// What a host sent on a stream that the program serves.
#[derive(Clone, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Bytes),
    /// Nothing yet.
    Nothing,
    /// Nothing more will come. The program may go on sending.
    End,
    /// The stream is over.
    Gone,
}

/// Without the message.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "Message({} bytes)", message.len()),
            Self::Nothing => f.write_str("Nothing"),
            Self::End => f.write_str("End"),
            Self::Gone => f.write_str("Gone"),
        }
    }
}

impl<P: Policy> Connection<P> {
    /// The next stream that is to be served and was not given out here: its id, its call, and the program's part.
    pub fn opened(&mut self) -> Option<(StreamId, &mut P::Call, &mut P)> {
        let id = loop {
            let id = self.opened.pop_front()?;
            if self.streams.contains_key(&id) {
                break id;
            }
        };
        let stream = self.streams.get_mut(&id)?;
        Some((id, &mut stream.account().call, &mut self.policy))
    }

    /// Takes what the host sent next. A message that is not taken keeps the host from sending more.
    pub fn receive(&mut self, id: StreamId) -> Received {
        let Some(Stream::Served(stream)) = self.streams.get_mut(&id) else { return Received::Gone };
        let Some(message) = stream.served.take() else {
            return if stream.account.host_done { Received::End } else { Received::Nothing };
        };
        if !stream.account.host_done {
            let credit = stream.served.credit();
            self.host.output.window_update(id, credit);
        }
        Received::Message(message)
    }

    /// Whether [`send`](Self::send) may be called: the host reads what it was sent. `None` if the stream is over.
    pub fn has_room(&self, id: StreamId) -> Option<bool> {
        match self.streams.get(&id) {
            Some(Stream::Served(stream)) => Some(stream.served.has_room()),
            _ => None,
        }
    }

    /// Sends a message. It waits until the host's windows allow it.
    pub fn send(&mut self, id: StreamId, message: &[u8]) {
        if let Some(Stream::Served(stream)) = self.streams.get_mut(&id) {
            stream.served.send(message);
            self.flush_own();
        }
    }

    /// Ends a stream with `status`, after what was sent.
    pub fn finish(&mut self, id: StreamId, status: Status) {
        if let Some(Stream::Served(stream)) = self.streams.get_mut(&id) {
            stream.served.finish(status);
            self.after();
        }
    }

    pub(super) fn end_own(&mut self, id: StreamId, status: &Status) {
        let Some(Stream::Served(stream)) = self.streams.get(&id) else { return };
        let host_done = stream.account.host_done;
        let trailers = status_block(&mut self.scratch.block, status, false);
        self.host.write_headers(id, trailers, true);
        self.remove(id, Outcome::Answered(status.code));
        self.stop_host(id, host_done);
    }
}
