//! Finding the first line of a plugin's standard output.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time,
};

use crate::Excerpt;

/// The longest line that go-plugin reads, its line feed included, in bytes.
pub const LINE_LIMIT: usize = 64 * 1024;

/// Collects a line from pieces as they come: of a pipe, of an engine's log stream, of anything.
///
/// The handshake is the first line or nothing: go-plugin skips no garbage before it. What comes after it is
/// ordinary output and has to be read for ever, or the plugin blocks when the pipe is full.
#[derive(Debug, Default)]
pub struct LineReader {
    /// What was read of the line, below [`LINE_LIMIT`].
    read: Vec<u8>,
}

/// What a [`LineReader`] has after another piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Fed<'a> {
    /// The line goes on.
    More,
    /// The line is complete.
    Line {
        /// It, without its line feed.
        line: Vec<u8>,
        /// What came after it in the same piece.
        rest: &'a [u8],
    },
}

/// Why there is no line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// More than [`LINE_LIMIT`] bytes without a line feed.
    #[error(
        "the plugin's first line is longer than 64 KiB (it begins: {0}); the first line on standard output must be \
         the handshake: does the command start a go-plugin plugin?"
    )]
    TooLong(Excerpt),
    /// The output ended within the line.
    #[error(
        "the plugin's output ended within its first line ({0}); it probably died while it wrote it: look at its standard error"
    )]
    Incomplete(Excerpt),
    /// The output ended before it began.
    #[error(
        "the plugin ended its output without a line; look at its standard error, and check that the cookie is the one it \
         expects and that it can write to its socket directory"
    )]
    NoLine,
}

/// Why [`read_line`] has no line.
#[derive(Debug, thiserror::Error)]
pub enum ReadLineError {
    /// The output was no line.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Nothing that ends a line came in time.
    #[error(
        "no handshake line within {limit:?} (it printed: {read}); is it still starting, or is it no go-plugin plugin?"
    )]
    TimedOut {
        /// The time it had.
        limit: Duration,
        /// What came until then.
        read: Excerpt,
    },
    /// The output could not be read.
    #[error("the plugin's output cannot be read")]
    Read(#[source] std::io::Error),
}

/// A first line, and what was read beyond it.
#[derive(Debug, PartialEq, Eq)]
pub struct FirstLine {
    /// The line, without its line feed.
    pub line: Vec<u8>,
    /// What came together with it. It is ordinary output.
    pub rest: Vec<u8>,
}

/// Reads the first line, for at most `limit`.
///
/// Not cancel safe: what was read is lost with the future. The limit is one of the whole line, however
/// slowly it comes.
///
/// # Errors
///
/// When the output ends, fails or exceeds [`LINE_LIMIT`] before the line does, or when the time is over.
pub async fn read_line(
    output: &mut (impl AsyncRead + Unpin),
    limit: Duration,
) -> Result<FirstLine, ReadLineError> {
    let mut reader = LineReader::default();
    let mut piece = vec![0; 4096];
    let collect = async {
        loop {
            match output.read(&mut piece).await.map_err(ReadLineError::Read)? {
                0 => return Err(reader.end().into()),
                length => {
                    if let Fed::Line { line, rest } = reader.feed(&piece[..length])? {
                        return Ok(FirstLine { line, rest: rest.to_vec() });
                    }
                }
            }
        }
    };
    match time::timeout(limit, collect).await {
        Ok(result) => result,
        Err(_) => Err(ReadLineError::TimedOut { limit, read: reader.excerpt() }),
    }
}

// === impl LineReader ===

impl LineReader {
    /// Takes another piece. After a line or an error it is empty again.
    ///
    /// # Errors
    ///
    /// [`LineError::TooLong`].
    pub fn feed<'a>(&mut self, piece: &'a [u8]) -> Result<Fed<'a>, LineError> {
        let (head, rest) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&piece[..end], Some(&piece[end + 1..])),
            None => (piece, None),
        };
        if self.read.len() + head.len() >= LINE_LIMIT {
            self.read.extend_from_slice(&head[..head.len().min(4 * Excerpt::LIMIT)]);
            let excerpt = self.excerpt();
            self.read = Vec::new();
            return Err(LineError::TooLong(excerpt));
        }
        self.read.extend_from_slice(head);
        Ok(match rest {
            Some(rest) => Fed::Line { line: std::mem::take(&mut self.read), rest },
            None => Fed::More,
        })
    }

    /// Says why there is no line when the output has ended.
    pub fn end(&self) -> LineError {
        if self.read.is_empty() { LineError::NoLine } else { LineError::Incomplete(self.excerpt()) }
    }

    /// What was read of the line so far.
    pub fn excerpt(&self) -> Excerpt {
        Excerpt::of_line(&self.read)
    }
}

// === impl LineError ===

impl LineError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "line_too_long",
            Self::Incomplete(_) => "line_incomplete",
            Self::NoLine => "no_line",
        }
    }
}

// === impl ReadLineError ===

impl ReadLineError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Line(error) => error.as_str(),
            Self::TimedOut { .. } => "line_timed_out",
            Self::Read(_) => "line_unreadable",
        }
    }
}

#[cfg(test)]
mod tests;
