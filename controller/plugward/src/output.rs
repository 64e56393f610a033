//! A plugin's output, cut into lines.

use go_plugin::StdioChannel;

/// Lines longer than this are cut.
const MAX_LINE: usize = 8 * 1024;

/// Puts the pieces of two streams together to lines. Holds at most `MAX_LINE` bytes of each.
#[derive(Debug, Default)]
pub struct OutputLines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl OutputLines {
    /// Takes a piece, and hands on the lines that it completes.
    pub fn push(&mut self, channel: StdioChannel, piece: &[u8], mut each: impl FnMut(&str)) {
        let buffer = match channel {
            StdioChannel::Stdout => &mut self.stdout,
            StdioChannel::Stderr => &mut self.stderr,
        };
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            for part in part.chunks(MAX_LINE) {
                if buffer.len() + part.len() > MAX_LINE {
                    hand_on(buffer, &mut each);
                }
                buffer.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                hand_on(buffer, &mut each);
            }
        }
    }
}

fn hand_on(buffer: &mut Vec<u8>, each: &mut impl FnMut(&str)) {
    let text = String::from_utf8_lossy(buffer);
    each(text.trim_end_matches(['\r', '\n']));
    buffer.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[(StdioChannel, &[u8])]) -> Vec<String> {
        let mut output = OutputLines::default();
        let mut found = Vec::new();
        for (channel, piece) in pieces {
            output.push(*channel, piece, |line| found.push(line.to_owned()));
        }
        found
    }

    #[test]
    fn a_line_may_come_in_pieces_and_streams_are_not_mixed() {
        use StdioChannel::{Stderr, Stdout};
        let pieces: [(StdioChannel, &[u8]); 4] =
            [(Stdout, b"one "), (Stderr, b"err\r\n"), (Stdout, b"line\ntwo\nrest"), (Stdout, b"\n")];
        assert_eq!(lines(&pieces), ["err", "one line", "two", "rest"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let piece = vec![b'x'; 3 * MAX_LINE + 1];
        let cut = lines(&[(StdioChannel::Stdout, &piece)]);
        assert!(cut.len() == 3 && cut.iter().all(|line| line.len() == MAX_LINE));
    }
}
