//! Frames as they are written, and how much of them the transport took.

use std::fmt;

use super::{ErrorCode, Kind, MAX_PAYLOAD, flag};

/// Bytes on their way to a transport.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Bytes given to the transport before those in `bytes`.
    before: u64,
}

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
