//! Pieces of a log put together to lines.

use std::future::ready;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use jiff::Timestamp;
use plugward_engine::{EngineError, LogChannel, LogChunk};

use super::LogLine;

/// A longer line becomes several: somebody who reads is not to hold what a plugin writes without end.
const LONGEST_LINE: usize = 64 * 1024;

/// The lines of a log whose pieces are stamped, each with the time of its first piece. Of each of the two streams at most
/// 64 KiB and a piece are held.
pub fn lines(
    log: BoxStream<'static, Result<LogChunk, EngineError>>,
) -> impl Stream<Item = Result<LogLine, EngineError>> + Send + 'static {
    let end = stream::once(ready(None));
    log.map(Some)
        .chain(end)
        .scan(Unfinished::default(), |unfinished, piece| ready(Some(unfinished.take(piece))))
        .flat_map(stream::iter)
}

/// What was read of lines that have not ended.
#[derive(Default)]
struct Unfinished {
    stdout: Option<Line>,
    stderr: Option<Line>,
}

struct Line {
    at: Timestamp,
    bytes: Vec<u8>,
}

impl Unfinished {
    /// Takes a piece, or the end of the log: the lines that are whole now.
    fn take(&mut self, piece: Option<Result<LogChunk, EngineError>>) -> Vec<Result<LogLine, EngineError>> {
        let Some(piece) = piece else {
            let rest = [(LogChannel::Stdout, self.stdout.take()), (LogChannel::Stderr, self.stderr.take())];
            let rest = rest.into_iter().filter_map(|(stream, line)| Some(Ok(finished(stream, &line?))));
            return rest.collect();
        };
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return vec![Err(error)],
        };
        let unfinished = match piece.channel {
            LogChannel::Stdout => &mut self.stdout,
            LogChannel::Stderr => &mut self.stderr,
        };
        let at = piece.at.unwrap_or(Timestamp::UNIX_EPOCH);
        let mut line = unfinished.take().unwrap_or_else(|| Line { at, bytes: Vec::new() });
        line.bytes.extend_from_slice(&piece.bytes);
        if line.bytes.ends_with(b"\n") || line.bytes.len() >= LONGEST_LINE {
            return vec![Ok(finished(piece.channel, &line))];
        }
        *unfinished = Some(line);
        Vec::new()
    }
}

fn finished(stream: LogChannel, line: &Line) -> LogLine {
    let text = String::from_utf8_lossy(&line.bytes);
    LogLine { at: line.at, stream, text: text.trim_end_matches(['\r', '\n']).to_owned() }
}

#[cfg(test)]
mod tests {
    use plugward_engine::{ErrorKind, Operation};

    use super::*;

    const OUT: LogChannel = LogChannel::Stdout;
    const ERR: LogChannel = LogChannel::Stderr;

    fn piece(channel: LogChannel, second: i64, bytes: &[u8]) -> LogChunk {
        let at = Timestamp::from_second(second).ok();
        LogChunk { channel, at, bytes: bytes.to_vec() }
    }

    async fn read(pieces: Vec<Result<LogChunk, EngineError>>) -> Vec<Result<(i64, String), String>> {
        let read = lines(stream::iter(pieces).boxed());
        read.map(|line| match line {
            Ok(line) => Ok((line.at.as_second(), format!("{:?} {}", line.stream, line.text))),
            Err(error) => Err(error.message),
        })
        .collect()
        .await
    }

    #[tokio::test]
    async fn a_line_that_comes_in_pieces_is_one_and_streams_are_not_mixed() {
        let pieces = vec![
            Ok(piece(ERR, 1, b"one ")),
            Ok(piece(OUT, 2, b"out\r\n")),
            Ok(piece(ERR, 1, b"line\n")),
            Ok(piece(ERR, 3, b"\n")),
            Ok(piece(OUT, 4, b"unfinished \xff")),
        ];
        let told = ["Stdout out", "Stderr one line", "Stderr ", "Stdout unfinished \u{fffd}"];
        let expected = [2, 1, 3, 4].into_iter().zip(told).map(|(at, text)| Ok((at, text.to_owned())));
        assert_eq!(read(pieces).await, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_and_a_log_that_breaks_off_says_so() {
        let mut pieces: Vec<_> = (0..9).map(|_| Ok(piece(ERR, 1, &[b'x'; 16 * 1024]))).collect();
        pieces.push(Err(EngineError {
            operation: Operation::Logs,
            subject: String::new(),
            kind: ErrorKind::Unreachable,
            message: "the log broke off".to_owned(),
        }));
        let read = read(pieces).await;
        let lengths: Vec<_> = read.iter().map(|line| line.as_ref().map(|(_, text)| text.len())).collect();
        let words = "Stderr ".len();
        assert_eq!(
            lengths,
            [
                Ok(words + LONGEST_LINE),
                Ok(words + LONGEST_LINE),
                Err(&"the log broke off".to_owned()),
                Ok(words + 16 * 1024)
            ]
        );
    }
}
