//! Frames: their heads, how they are cut from a stream of bytes, and how they are written (RFC 9113, section 4).

mod output;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::output::Output;
use crate::violation::Violation;

/// What a client sends before its first frame.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub const HEAD: usize = 9;
/// Bytes of the longest payload: the relay announces no other, and so sees and writes none that is longer.
pub const MAX_PAYLOAD: usize = 16_384;
/// The last stream id there is: in a GOAWAY it says "no new streams, and I do not know yet which was the last".
pub const MAX_STREAM_ID: u32 = (1 << 31) - 1;
/// A window before anybody changed it, and the window of each new connection.
pub const DEFAULT_WINDOW: u32 = 65_535;
/// The largest window.
pub const MAX_WINDOW: i64 = (1 << 31) - 1;

/// Flags, which mean different things on different frames.
pub mod flag {
    /// The last frame of its sender on this stream (DATA, HEADERS).
    pub const END_STREAM: u8 = 0x1;
    /// An answer (SETTINGS, PING).
    pub const ACK: u8 = 0x1;
    /// No CONTINUATION follows (HEADERS, CONTINUATION).
    pub const END_HEADERS: u8 = 0x4;
    /// The payload begins with the length of the padding at its end (DATA, HEADERS).
    pub const PADDED: u8 = 0x8;
    /// The payload has a priority (HEADERS).
    pub const PRIORITY: u8 = 0x20;
}

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A piece of a body.
    Data,
    /// The head of a request or an answer, or trailers.
    Headers,
    /// An obsolete hint.
    Priority,
    /// The end of a stream by force: `RST_STREAM`.
    Reset,
    /// Parameters of the connection.
    Settings,
    /// A promise of an answer that nobody asked for.
    PushPromise,
    /// A question for a sign of life.
    Ping,
    /// No new streams.
    GoAway,
    /// Credit for DATA.
    WindowUpdate,
    /// More of a header block.
    Continuation,
    /// A type that RFC 9113 does not define: to be ignored.
    Unknown(u8),
}

/// An error code of `RST_STREAM` and GOAWAY (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

/// One frame, cut from its connection.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: Kind,
    /// Its [flags](flag).
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What follows its head.
    pub payload: &'a [u8],
}

/// Cuts frames out of bytes that arrive in pieces of any size. What is complete is not copied.
#[derive(Default)]
pub struct Reader {
    /// The beginning of a frame whose end has not arrived.
    partial: Vec<u8>,
    /// Whether `partial` was a whole frame and was given out.
    given: bool,
}

// === impl Kind ===

impl From<u8> for Kind {
    fn from(byte: u8) -> Self {
        match byte {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            other => Kind::Unknown(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Data => 0,
            Kind::Headers => 1,
            Kind::Priority => 2,
            Kind::Reset => 3,
            Kind::Settings => 4,
            Kind::PushPromise => 5,
            Kind::Ping => 6,
            Kind::GoAway => 7,
            Kind::WindowUpdate => 8,
            Kind::Continuation => 9,
            Kind::Unknown(other) => other,
        }
    }
}

// === impl ErrorCode ===

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something of ours broke.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// The peer sent more than its window.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// A frame for a stream whose sender had ended it.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a wrong length.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// Nothing of the stream was processed: it may be tried again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is no longer wanted.
    pub const CANCEL: Self = Self(0x8);
    /// A header block that cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The peer makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
}

// === impl Frame ===

impl<'a> Frame<'a> {
    /// Whether a [flag] is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without padding and, of HEADERS, without the priority; and the stream that the priority depends on.
    ///
    /// # Errors
    ///
    /// [`Violation::Padding`] if the padding is longer than the frame, [`Violation::FrameSize`] if a field is missing.
    pub fn content(&self) -> Result<(&'a [u8], Option<u32>), Violation> {
        let mut content = self.payload;
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (&length, rest) = content.split_first().ok_or(Violation::FrameSize)?;
            padding = usize::from(length);
            content = rest;
        }
        let mut depends_on = None;
        if self.kind == Kind::Headers && self.has(flag::PRIORITY) {
            let (priority, rest) = content.split_at_checked(5).ok_or(Violation::FrameSize)?;
            depends_on = Some(number(priority) & MAX_STREAM_ID);
            content = rest;
        }
        let end = content.len().checked_sub(padding).ok_or(Violation::Padding)?;
        Ok((&content[..end], depends_on))
    }
}

/// Without the payload.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("kind", &self.kind)
            .field("flags", &self.flags)
            .field("stream", &self.stream)
            .field("length", &self.payload.len())
            .finish()
    }
}

/// The number in the first four bytes of `bytes`, 0 if there are fewer.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

// === impl Reader ===

impl Reader {
    /// The next frame of what arrived, `None` when more has to arrive. `bytes` is moved on past what was taken.
    ///
    /// # Errors
    ///
    /// [`Violation::FrameSize`] at the head of a frame that is longer than [`MAX_PAYLOAD`].
    pub fn next<'r, 'b: 'r>(&'r mut self, bytes: &mut &'b [u8]) -> Result<Option<Frame<'r>>, Violation> {
        if self.given {
            self.partial.clear();
            self.given = false;
        }
        if self.partial.is_empty() {
            let Some(length) = payload_length(bytes)? else {
                self.partial.extend_from_slice(bytes);
                *bytes = &[];
                return Ok(None);
            };
            let Some((frame, rest)) = bytes.split_at_checked(HEAD + length) else {
                self.partial.reserve_exact(HEAD + length);
                self.partial.extend_from_slice(bytes);
                *bytes = &[];
                return Ok(None);
            };
            *bytes = rest;
            return Ok(Some(cut(frame)));
        }
        self.fill(bytes, HEAD);
        let Some(length) = payload_length(&self.partial)? else { return Ok(None) };
        self.fill(bytes, HEAD + length);
        if self.partial.len() < HEAD + length {
            return Ok(None);
        }
        self.given = true;
        Ok(Some(cut(&self.partial)))
    }

    /// Whether a frame has begun to arrive that is not complete.
    pub fn is_in_frame(&self) -> bool {
        !self.given && !self.partial.is_empty()
    }

    /// Moves bytes over until there are `wanted`.
    fn fill(&mut self, bytes: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.partial.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(missing);
        self.partial.extend_from_slice(taken);
        *bytes = rest;
    }
}

/// Without the bytes.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("partial", &self.partial.len()).finish_non_exhaustive()
    }
}

/// The length of the payload that a frame's head announces, if so much of the head is there.
fn payload_length(bytes: &[u8]) -> Result<Option<usize>, Violation> {
    let &[high, middle, low, ..] = bytes else { return Ok(None) };
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    if length > MAX_PAYLOAD {
        return Err(Violation::FrameSize);
    }
    Ok((bytes.len() >= HEAD).then_some(length))
}

/// The frame in `bytes`, of which at least the head is there.
fn cut(bytes: &[u8]) -> Frame<'_> {
    let (head, payload) = bytes.split_at(HEAD);
    Frame { kind: head[3].into(), flags: head[4], stream: number(&head[5..]) & MAX_STREAM_ID, payload }
}
