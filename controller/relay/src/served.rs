//! A stream that the program serves: messages in, messages out, and a status.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::grpc::{Code, MESSAGE_HEAD, Status};

/// Both directions of a served stream, between DATA and messages.
pub(crate) struct Served {
    largest: usize,
    partial: BytesMut,
    arrived: VecDeque<Bytes>,
    /// Bytes in `arrived`.
    waiting: usize,
    /// Credit that the host gets when the program has taken what arrived.
    owed: u32,
    leaving: BytesMut,
    status: Option<Status>,
}

// === impl Served ===

impl Served {
    /// `largest` bounds a message that arrives, and what arrived and was not taken, and what may wait to leave.
    pub(crate) fn new(largest: usize) -> Self {
        Self {
            largest,
            partial: BytesMut::new(),
            arrived: VecDeque::new(),
            waiting: 0,
            owed: 0,
            leaving: BytesMut::new(),
            status: None,
        }
    }

    /// A part of the body arrived, in a frame of `size` bytes.
    ///
    /// # Errors
    ///
    /// The status to end with if it is no message that can be taken.
    pub(crate) fn arrived(&mut self, content: &[u8], size: u32) -> Result<(), Status> {
        if self.status.is_some() {
            return Ok(());
        }
        self.owed = self.owed.saturating_add(size);
        self.partial.extend_from_slice(content);
        while let Some((&[compressed, a, b, c, d], _)) = self.partial.split_first_chunk::<MESSAGE_HEAD>() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if compressed != 0 {
                return Err(Status::new(Code::Unimplemented, "compressed messages are not supported"));
            }
            if length > self.largest || self.waiting > self.largest {
                let message = format!("messages of more than {} bytes are waiting", self.largest);
                return Err(Status::new(Code::ResourceExhausted, message));
            }
            if self.partial.len() < MESSAGE_HEAD + length {
                break;
            }
            self.partial.advance(MESSAGE_HEAD);
            // A copy: a small message does not hold on to a large buffer.
            let message = Bytes::copy_from_slice(&self.partial[..length]);
            self.partial.advance(length);
            self.waiting += MESSAGE_HEAD + length;
            self.arrived.push_back(message);
        }
        Ok(())
    }

    /// The messages that arrived and were not taken.
    pub(crate) fn untaken(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.arrived.iter()
    }

    /// The next message.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let message = self.arrived.pop_front()?;
        self.waiting -= MESSAGE_HEAD + message.len();
        Some(message)
    }

    /// The credit to give the host now.
    pub(crate) fn credit(&mut self) -> u32 {
        if self.arrived.is_empty() { std::mem::take(&mut self.owed) } else { 0 }
    }

    /// Whether the program may send: what it sent before has left, for the most part.
    pub(crate) fn has_room(&self) -> bool {
        self.status.is_none() && self.leaving.len() < self.largest
    }

    /// Puts a message on its way.
    pub(crate) fn send(&mut self, message: &[u8]) {
        self.leaving.put_u8(0);
        self.leaving.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        self.leaving.put_slice(message);
    }

    /// Ends the answer when all messages have left.
    pub(crate) fn finish(&mut self, status: Status) {
        self.status.get_or_insert(status);
    }

    /// What waits to leave.
    pub(crate) fn leaving(&self) -> &[u8] {
        &self.leaving
    }

    /// `count` bytes left.
    pub(crate) fn left(&mut self, count: usize) {
        self.leaving.advance(count);
        if self.leaving.is_empty() {
            self.leaving = BytesMut::new();
        }
    }

    /// The status, when nothing is left before it.
    pub(crate) fn end(&self) -> Option<&Status> {
        self.status.as_ref().filter(|_| self.leaving.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(messages: &[&[u8]]) -> Vec<u8> {
        let mut served = Served::new(1000);
        for message in messages {
            served.send(message);
        }
        served.leaving().to_vec()
    }

    #[test]
    fn messages_are_cut_from_a_body_in_any_pieces() {
        let body = body(&[b"one", b"", b"three"]);
        for cut in 0..=body.len() {
            let mut served = Served::new(1000);
            served.arrived(&body[..cut], 0).unwrap();
            served.arrived(&body[cut..], 0).unwrap();
            let messages: Vec<Bytes> = std::iter::from_fn(|| served.take()).collect();
            assert_eq!(messages, ["one", "", "three"]);
        }
    }

    #[test]
    fn a_message_that_is_not_taken_holds_the_credit_back() {
        let mut served = Served::new(1000);
        let body = body(&[b"one"]);
        served.arrived(&body[..4], 4).unwrap();
        assert_eq!(served.credit(), 4, "the rest has to come");
        served.arrived(&body[4..], 4).unwrap();
        assert_eq!(served.credit(), 0);
        assert!(served.take().is_some());
        assert_eq!(served.credit(), 4);
    }

    #[test]
    fn too_large_too_many_and_compressed_messages_have_a_status() {
        let code = |served: &mut Served, body: &[u8]| served.arrived(body, 0).unwrap_err().code;
        assert_eq!(code(&mut Served::new(2), &body(&[b"one"])), Code::ResourceExhausted);
        assert_eq!(code(&mut Served::new(6), &body(&[b"one", b"two", b"4"])), Code::ResourceExhausted);
        assert_eq!(code(&mut Served::new(100), &[1, 0, 0, 0, 0]), Code::Unimplemented);
    }
}
