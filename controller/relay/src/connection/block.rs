//! A header block on its way in: HEADERS and its CONTINUATIONs, joined and bounded.

use std::time::Instant;

use crate::{
    frame::{Frame, Kind, flag},
    limits::Limits,
    violation::Violation,
};

/// A header block whose end has not arrived.
pub(super) struct Block {
    pub(super) head: Head,
    pub(super) octets: Vec<u8>,
    /// When it began.
    pub(super) begun: Instant,
    pieces: u32,
}

/// What a HEADERS frame says beside its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    /// The stream was said to depend on itself.
    pub(super) depends_on_itself: bool,
}

impl Head {
    /// Of a HEADERS frame, with its part of the block.
    pub(super) fn of<'a>(frame: &Frame<'a>) -> Result<(Self, &'a [u8]), Violation> {
        let (content, depends_on) = frame.content()?;
        let head = Self {
            stream: frame.stream,
            end_stream: frame.has(flag::END_STREAM),
            depends_on_itself: depends_on == Some(frame.stream),
        };
        Ok((head, content))
    }
}

impl Block {
    /// The block that begins with `content`.
    pub(super) fn begin(head: Head, content: &[u8], now: Instant) -> Self {
        Self { head, octets: content.to_vec(), begun: now, pieces: 0 }
    }

    /// Goes on with the only frame that may follow. True if that was the last.
    pub(super) fn go_on(&mut self, frame: &Frame<'_>, limits: &Limits) -> Result<bool, Violation> {
        if frame.kind != Kind::Continuation || frame.stream != self.head.stream {
            return Err(Violation::UnexpectedFrame);
        }
        self.pieces += 1;
        if self.pieces > limits.continuations || self.octets.len() + frame.payload.len() > limits.header_bomb
        {
            return Err(Violation::HeaderFlood);
        }
        self.octets.extend_from_slice(frame.payload);
        Ok(frame.has(flag::END_HEADERS))
    }
}
