//! A header block on its way in: HEADERS and its CONTINUATIONs, joined and bounded.

use std::time::Instant;

use crate::{
    frame::{ErrorCode, Frame, Kind, Output, flag},
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

/// A SETTINGS parameter, of those that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    MaxConcurrentStreams(u32),
    InitialWindow(u32),
    MaxHeaderList(u32),
}

/// What a SETTINGS frame says that is to be passed on.
pub(super) fn settings(frame: &Frame<'_>) -> Result<Vec<Setting>, Violation> {
    if frame.stream != 0 {
        return Err(Violation::UnexpectedFrame);
    }
    let (settings, rest) = frame.payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Violation::FrameSize);
    }
    let mut passed = Vec::new();
    for &[high, low, a, b, c, d] in settings {
        let value = u32::from_be_bytes([a, b, c, d]);
        match u16::from_be_bytes([high, low]) {
            2 if value > 1 => return Err(Violation::SettingValue),
            3 => passed.push(Setting::MaxConcurrentStreams(value)),
            4 if value > i32::MAX as u32 => return Err(Violation::WindowOverflow),
            4 => passed.push(Setting::InitialWindow(value)),
            5 if !(1 << 14..1 << 24).contains(&value) => return Err(Violation::SettingValue),
            6 => passed.push(Setting::MaxHeaderList(value)),
            _ => {}
        }
    }
    Ok(passed)
}

impl Setting {
    /// As it is written.
    pub(super) fn pair(self) -> (u16, u32) {
        match self {
            Self::MaxConcurrentStreams(value) => (3, value),
            Self::InitialWindow(value) => (4, value),
            Self::MaxHeaderList(value) => (6, value),
        }
    }
}

/// The last initial window that a SETTINGS frame has.
pub(super) fn initial_window(settings: &[Setting]) -> Option<u32> {
    settings.iter().rev().find_map(|setting| match setting {
        Setting::InitialWindow(window) => Some(*window),
        _ => None,
    })
}

/// The credit of a `WINDOW_UPDATE`.
pub(super) fn credit(frame: &Frame<'_>) -> Result<u32, Violation> {
    let credit: [u8; 4] = frame.payload.try_into().map_err(|_| Violation::FrameSize)?;
    Ok(u32::from_be_bytes(credit) & (u32::MAX >> 1))
}

/// The code of an `RST_STREAM`.
pub(super) fn reset_code(frame: &Frame<'_>) -> Result<ErrorCode, Violation> {
    let code: [u8; 4] = frame.payload.try_into().map_err(|_| Violation::FrameSize)?;
    if frame.stream == 0 {
        return Err(Violation::UnexpectedFrame);
    }
    Ok(ErrorCode(u32::from_be_bytes(code)))
}

/// The eight bytes of a PING.
pub(super) fn ping(frame: &Frame<'_>) -> Result<[u8; 8], Violation> {
    if frame.stream != 0 {
        return Err(Violation::UnexpectedFrame);
    }
    frame.payload.try_into().map_err(|_| Violation::FrameSize)
}

/// Whether a PRIORITY frame is one; it says nothing that we heed. A stream that depends on itself is reset.
pub(super) fn priority(frame: &Frame<'_>, output: &mut Output) -> Result<(), Violation> {
    if frame.stream == 0 {
        return Err(Violation::UnexpectedFrame);
    }
    if frame.payload.len() != 5 {
        // An error of that stream alone.
        output.reset(frame.stream, ErrorCode::FRAME_SIZE_ERROR);
    } else if crate::frame::number(frame.payload) & crate::frame::MAX_STREAM_ID == frame.stream {
        output.reset(frame.stream, ErrorCode::PROTOCOL_ERROR);
    }
    Ok(())
}
