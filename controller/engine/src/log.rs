//! A container's output.

use jiff::Timestamp;

/// Which part of a container's output is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, as the engine has it")]
pub struct LogQuery {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only this many of the last lines of both channels together; `None` is all that was kept.
    pub tail: Option<u32>,
    /// Only what was written at this time or later, by the engine's clock.
    pub since: Option<Timestamp>,
    /// Say of each piece when it was written.
    pub stamped: bool,
    /// Include standard output.
    pub stdout: bool,
    /// Include standard error.
    pub stderr: bool,
}

/// A piece of output, in the order of writing per channel. A piece is not a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it was written.
    pub channel: LogChannel,
    /// When it was written, if that was asked for ([`LogQuery::stamped`]): then a piece is at most one line.
    pub at: Option<Timestamp>,
    /// What was written.
    pub bytes: Vec<u8>,
}

/// A standard stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogChannel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
