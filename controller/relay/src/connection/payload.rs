//! The payloads of the small frames.

use crate::{
    frame::{ErrorCode, Frame, MAX_STREAM_ID, Output, number},
    violation::Violation,
};

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
    } else if number(frame.payload) & MAX_STREAM_ID == frame.stream {
        output.reset(frame.stream, ErrorCode::PROTOCOL_ERROR);
    }
    Ok(())
}
