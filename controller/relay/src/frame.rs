//! Frames: their heads, how they are cut from a stream of bytes, and how they are written (RFC 9113, section 4).

use std::fmt;

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

/// Bytes on their way to a transport.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Bytes given to the transport before those in `bytes`.
    before: u64,
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
        f.debug_struct("Reader").field("partial", &self.partial.len()).finish()
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

// === impl Output ===

impl Output {
    /// What is to be written next.
    pub fn chunk(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Says that the transport took the first `count` bytes of [`chunk`](Self::chunk).
    pub fn advance(&mut self, count: usize) {
        self.written = (self.written + count).min(self.bytes.len());
        if self.written == self.bytes.len() {
            self.before += self.written as u64;
            if self.written < self.bytes.capacity() / 4 {
                // A quiet connection does not keep what a busy hour needed.
                self.bytes.clear();
                self.bytes.shrink_to(self.bytes.capacity() / 2);
            }
            self.written = 0;
            self.bytes.clear();
        } else if self.written >= 4 * MAX_PAYLOAD && self.written >= self.bytes.len() / 2 {
            self.before += self.written as u64;
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the transport took, ever.
    pub fn taken(&self) -> u64 {
        self.before + self.written as u64
    }

    /// Where in all that was ever put in the next byte will be: what has a place below [`taken`](Self::taken) was given to the
    /// transport.
    pub fn place(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }

    /// Puts bytes in that are no frame.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a frame.
    pub fn frame(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        self.head(payload.len(), kind, flags, stream);
        self.bytes.extend_from_slice(payload);
    }

    fn head(&mut self, length: usize, kind: Kind, flags: u8, stream: u32) {
        debug_assert!(length <= MAX_PAYLOAD, "a frame of {length} bytes");
        #[expect(clippy::cast_possible_truncation, reason = "no payload is longer than 2^14")]
        let [_, high, middle, low] = (length as u32).to_be_bytes();
        let [a, b, c, d] = stream.to_be_bytes();
        self.bytes.extend_from_slice(&[high, middle, low, kind.into(), flags, a, b, c, d]);
    }

    /// Writes a header block as HEADERS and as many CONTINUATIONs as it needs.
    pub fn headers(&mut self, stream: u32, block: &[u8], end_stream: bool) {
        let mut flags = if end_stream { flag::END_STREAM } else { 0 };
        let mut kind = Kind::Headers;
        let mut rest = block;
        while let Some((now, later)) =
            rest.split_at_checked(MAX_PAYLOAD).filter(|(_, later)| !later.is_empty())
        {
            self.frame(kind, flags, stream, now);
            (kind, flags, rest) = (Kind::Continuation, 0, later);
        }
        self.frame(kind, flags | flag::END_HEADERS, stream, rest);
    }

    /// Writes DATA, in as many frames as it needs. Nothing is written for no bytes without an end.
    pub fn data(&mut self, stream: u32, bytes: &[u8], end_stream: bool) {
        let mut rest = bytes;
        while let Some((now, later)) =
            rest.split_at_checked(MAX_PAYLOAD).filter(|(_, later)| !later.is_empty())
        {
            self.frame(Kind::Data, 0, stream, now);
            rest = later;
        }
        if end_stream || !rest.is_empty() {
            self.frame(Kind::Data, if end_stream { flag::END_STREAM } else { 0 }, stream, rest);
        }
    }

    /// Writes `RST_STREAM`.
    pub fn reset(&mut self, stream: u32, code: ErrorCode) {
        self.frame(Kind::Reset, 0, stream, &code.0.to_be_bytes());
    }

    /// Writes `WINDOW_UPDATE`. Nothing is written for no credit.
    pub fn window_update(&mut self, stream: u32, credit: u32) {
        if credit > 0 {
            self.frame(Kind::WindowUpdate, 0, stream, &credit.to_be_bytes());
        }
    }

    /// Writes `SETTINGS`.
    pub fn settings(&mut self, settings: impl IntoIterator<Item = (u16, u32)>) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.frame(Kind::Settings, 0, 0, &payload);
    }

    /// Writes the answer to SETTINGS.
    pub fn settings_ack(&mut self) {
        self.frame(Kind::Settings, flag::ACK, 0, &[]);
    }

    /// Writes PING, or the answer to one.
    pub fn ping(&mut self, opaque: &[u8], ack: bool) {
        self.frame(Kind::Ping, if ack { flag::ACK } else { 0 }, 0, opaque);
    }

    /// Writes GOAWAY. `debug` is for people.
    pub fn go_away(&mut self, last: u32, code: ErrorCode, debug: &str) {
        let mut payload = Vec::with_capacity(8 + debug.len());
        payload.extend_from_slice(&last.to_be_bytes());
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(debug.as_bytes());
        self.frame(Kind::GoAway, 0, 0, &payload);
    }
}

/// Without the bytes.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("waiting", &self.len()).field("taken", &self.taken()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All frames of `bytes`, read in the given pieces.
    fn frames(pieces: &[&[u8]]) -> Vec<(Kind, u8, u32, Vec<u8>)> {
        let mut reader = Reader::default();
        let mut frames = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while let Some(frame) = reader.next(&mut rest).unwrap() {
                frames.push((frame.kind, frame.flags, frame.stream, frame.payload.to_vec()));
            }
            assert!(rest.is_empty());
        }
        assert!(!reader.is_in_frame());
        frames
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_they_are_cut(
            written in proptest::collection::vec((any::<u8>(), any::<u8>(), 0..=MAX_STREAM_ID, 0usize..300), 1..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut output = Output::default();
            let mut expected = Vec::new();
            for (kind, flags, stream, length) in written {
                let payload = vec![kind; length];
                output.frame(kind.into(), flags, stream, &payload);
                expected.push((Kind::from(kind), flags, stream, payload));
            }
            let bytes = output.chunk();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            prop_assert_eq!(frames(&pieces), expected);
        }

        #[test]
        fn what_was_written_and_what_waits_make_up_the_place(
            steps in proptest::collection::vec((0usize..100_000, 0usize..150_000), 0..20),
        ) {
            let mut output = Output::default();
            let (mut put, mut taken) = (0u64, 0u64);
            for (length, advance) in steps {
                output.raw(&vec![7; length]);
                put += length as u64;
                let advance = advance.min(output.len());
                output.advance(advance);
                taken += advance as u64;
                prop_assert_eq!((output.place(), output.taken()), (put, taken));
                prop_assert_eq!(output.chunk().len() as u64, put - taken);
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_told_by_its_first_three_bytes() {
        let mut bytes: &[u8] = &[0, 0x40, 1];
        assert_eq!(Reader::default().next(&mut bytes).unwrap_err(), Violation::FrameSize);
    }

    #[test]
    fn a_long_header_block_goes_on_in_continuations() {
        let mut output = Output::default();
        let block = vec![1; 2 * MAX_PAYLOAD];
        output.headers(5, &block, true);
        let frames = frames(&[output.chunk()]);
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].0, frames[0].1), (Kind::Headers, flag::END_STREAM));
        assert_eq!((frames[1].0, frames[1].1), (Kind::Continuation, flag::END_HEADERS));
    }

    #[test]
    fn padding_longer_than_its_frame_is_a_violation() {
        let frame = Frame { kind: Kind::Data, flags: flag::PADDED, stream: 1, payload: &[3, 0, 0] };
        assert_eq!(frame.content(), Err(Violation::Padding));
        let frame = Frame { payload: &[2, 0, 0], ..frame };
        assert_eq!(frame.content(), Ok((&[][..], None)));
        let frame = Frame { payload: &[], ..frame };
        assert_eq!(frame.content(), Err(Violation::FrameSize));
    }
}
