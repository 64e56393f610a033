//! A container's log: what is asked of the engine, and what its frames say.
//!
//! The engine takes whole seconds for a beginning, and says when a piece was written only in the piece's own bytes. Both are mended
//! here, so that a reader can go on where it ended, to the nanosecond.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use jiff::Timestamp;

use crate::error::ErrorKind;
use crate::log::{LogChannel, LogChunk, LogQuery};

/// A frame that is none of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the log broke off")]
    Off,
    #[error("not a Docker Engine's answer: a line of a log lacks its time")]
    Unstamped,
}

impl Broken {
    pub(super) const fn kind(self) -> ErrorKind {
        match self {
            Self::Off => ErrorKind::Unreachable,
            Self::Unstamped => ErrorKind::Incompatible,
        }
    }
}

/// What the engine is asked for. What is too early by less than a second [`chunk`] leaves out.
pub(super) fn options(query: LogQuery) -> LogsOptions {
    // Nothing was written before 1970; and what is after 2038 is found from there, too.
    let since = query.since.map_or(0, |since| since.as_second().max(0));
    LogsOptions {
        follow: query.follow,
        stdout: query.stdout,
        stderr: query.stderr,
        since: i32::try_from(since).unwrap_or(i32::MAX),
        timestamps: stamped(query),
        tail: query.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
        ..LogsOptions::default()
    }
}

/// A frame as a piece of output; `None` when it is not of what was asked for.
pub(super) fn chunk(query: LogQuery, output: LogOutput) -> Result<Option<LogChunk>, Broken> {
    let (channel, message) = match output {
        LogOutput::StdOut { message } => (LogChannel::Stdout, message),
        LogOutput::StdErr { message } => (LogChannel::Stderr, message),
        // A container without a terminal has no other output; this is a frame that broke off.
        LogOutput::StdIn { .. } | LogOutput::Console { .. } => return Err(Broken::Off),
    };
    if !stamped(query) {
        return Ok(Some(LogChunk { channel, at: None, bytes: message.into() }));
    }
    let (at, bytes) = split(&message).ok_or(Broken::Unstamped)?;
    let wanted = query.since.is_none_or(|since| at >= since);
    let at = Some(at).filter(|_| query.stamped);
    Ok(wanted.then(|| LogChunk { channel, at, bytes: bytes.to_owned() }))
}

/// Whether the engine is to say when things were written.
const fn stamped(query: LogQuery) -> bool {
    query.stamped || query.since.is_some()
}

/// `2026-11-27T10:00:00.000000001Z to err`
fn split(message: &[u8]) -> Option<(Timestamp, &[u8])> {
    let end = message.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&message[..end]).ok()?.parse().ok()?;
    Some((at, &message[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: LogQuery =
        LogQuery { follow: false, tail: None, since: None, stamped: false, stdout: true, stderr: true };

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn frame(message: &'static str) -> LogOutput {
        LogOutput::StdErr { message: message.into() }
    }

    #[test]
    fn a_pieces_time_is_no_part_of_it() {
        let query = LogQuery { stamped: true, ..ALL };
        let read = chunk(query, frame("2026-11-27T10:00:00.000000001Z to err\n")).unwrap().unwrap();
        assert_eq!(read.at, Some(time("2026-11-27T10:00:00.000000001Z")));
        assert_eq!(read.bytes, b"to err\n");
        assert_eq!(chunk(query, frame("to err\n")), Err(Broken::Unstamped));
        assert_eq!(chunk(ALL, frame("to err\n")).unwrap().unwrap().bytes, b"to err\n");
    }

    #[test]
    fn what_is_too_early_by_less_than_a_second_is_left_out() {
        let query = LogQuery { since: Some(time("2026-11-27T10:00:00.5Z")), ..ALL };
        assert_eq!(options(query).since, 1_795_773_600);
        let early = chunk(query, frame("2026-11-27T10:00:00.499999999Z early\n")).unwrap();
        assert_eq!(early, None);
        let read = chunk(query, frame("2026-11-27T10:00:00.500000000Z in time\n")).unwrap().unwrap();
        assert_eq!((read.at, read.bytes.as_slice()), (None, &b"in time\n"[..]), "its time was not asked for");
        let ancient = LogQuery { since: Some(time("1960-01-01T00:00:00Z")), ..ALL };
        assert_eq!(options(ancient).since, 0);
    }
}
