//! What a peer can do that ends its connection.

use std::fmt;

use crate::frame::ErrorCode;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The client of the relayed calls.
    Host,
    /// Their server.
    Plugin,
}

/// Why a connection was ended that a peer broke: a closed set, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// It does not begin as HTTP/2 does.
    Preface,
    /// It did not begin, or left a header block unfinished, for too long.
    TooSlow,
    /// A frame of a wrong length.
    FrameSize,
    /// Padding longer than its frame.
    Padding,
    /// A frame where it may not be.
    UnexpectedFrame,
    /// A stream id that went backwards, or is not the peer's to use.
    StreamId,
    /// A frame for a stream after its end.
    StreamClosed,
    /// A setting with a value that it cannot have.
    SettingValue,
    /// An initial window, or credit, beyond 2^31 - 1.
    WindowOverflow,
    /// DATA beyond the window.
    WindowExceeded,
    /// A header block that cannot be decoded.
    Compression,
    /// A header block in too many pieces, or of too many bytes.
    HeaderFlood,
    /// A header list beyond what is decoded for the sake of the connection.
    HeaderBomb,
    /// Streams opened and reset.
    RapidReset,
    /// More control frames than the DATA they could be about.
    ControlFlood,
    /// It does not read what it is sent.
    NotReading,
}

// === impl Peer ===

impl Peer {
    /// A word for a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Peer::Host => "host",
            Peer::Plugin => "plugin",
        }
    }
}

// === impl Violation ===

impl Violation {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Preface,
        Self::TooSlow,
        Self::FrameSize,
        Self::Padding,
        Self::UnexpectedFrame,
        Self::StreamId,
        Self::StreamClosed,
        Self::SettingValue,
        Self::WindowOverflow,
        Self::WindowExceeded,
        Self::Compression,
        Self::HeaderFlood,
        Self::HeaderBomb,
        Self::RapidReset,
        Self::ControlFlood,
        Self::NotReading,
    ];

    /// The code of the GOAWAY that says so.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Preface | Self::Padding | Self::UnexpectedFrame | Self::StreamId | Self::SettingValue => {
                ErrorCode::PROTOCOL_ERROR
            }
            Self::FrameSize => ErrorCode::FRAME_SIZE_ERROR,
            Self::StreamClosed => ErrorCode::STREAM_CLOSED,
            Self::WindowOverflow | Self::WindowExceeded => ErrorCode::FLOW_CONTROL_ERROR,
            Self::Compression => ErrorCode::COMPRESSION_ERROR,
            Self::TooSlow
            | Self::HeaderFlood
            | Self::HeaderBomb
            | Self::RapidReset
            | Self::ControlFlood
            | Self::NotReading => ErrorCode::ENHANCE_YOUR_CALM,
        }
    }

    /// Whether it says that the peer does not speak HTTP/2 as it should. The others may be of a peer that is only stopped.
    pub const fn is_broken_protocol(self) -> bool {
        !matches!(self, Self::TooSlow | Self::NotReading)
    }

    /// A word for a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preface => "preface",
            Self::TooSlow => "too_slow",
            Self::FrameSize => "frame_size",
            Self::Padding => "padding",
            Self::UnexpectedFrame => "unexpected_frame",
            Self::StreamId => "stream_id",
            Self::StreamClosed => "stream_closed",
            Self::SettingValue => "setting_value",
            Self::WindowOverflow => "window_overflow",
            Self::WindowExceeded => "window_exceeded",
            Self::Compression => "compression",
            Self::HeaderFlood => "header_flood",
            Self::HeaderBomb => "header_bomb",
            Self::RapidReset => "rapid_reset",
            Self::ControlFlood => "control_flood",
            Self::NotReading => "not_reading",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_violation_has_a_word_of_its_own() {
        let words: HashSet<&str> = Violation::ALL.iter().map(|violation| violation.as_str()).collect();
        assert_eq!(words.len(), Violation::ALL.len());
    }
}
