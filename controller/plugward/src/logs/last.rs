//! The last lines of a log, as many as there is room for.

use std::collections::VecDeque;

use super::LogLine;

/// Lines that are kept of a log.
const LINES: u32 = 200;

/// Bytes of text that are kept of a log.
const BYTES: usize = 64 * 1024;

/// The last lines of a log: at most 200, of at most 64 KiB. What hosts are told at a handshake is none of them.
#[derive(Debug, Default)]
pub struct LastLines {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl LastLines {
    /// How many of a log's last lines have to be read for them: one may be the handshake.
    pub const READ: u32 = LINES + 1;

    /// Takes the next line, for which an earlier one may have to go.
    pub fn push(&mut self, line: LogLine) {
        if line.is_handshake() {
            return;
        }
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES as usize || self.bytes > BYTES {
            let Some(first) = self.lines.pop_front() else { break };
            self.bytes -= first.text.len();
        }
    }

    /// The lines, oldest first.
    pub fn into_lines(self) -> Vec<LogLine> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use plugward_engine::LogChannel;

    use super::*;

    fn line(stream: LogChannel, text: &str) -> LogLine {
        LogLine { at: Timestamp::UNIX_EPOCH, stream, text: text.to_owned() }
    }

    #[test]
    fn the_newest_are_kept_as_many_as_there_is_room_for() {
        let mut last = LastLines::default();
        for number in 0..1000 {
            last.push(line(LogChannel::Stderr, &number.to_string()));
        }
        last.push(line(LogChannel::Stdout, "1|1|unix|/run/plugin.sock|grpc|Y2VydGlmaWNhdGU"));
        let lines = last.into_lines();
        assert_eq!(lines.len(), LINES as usize);
        assert_eq!((lines[0].text.as_str(), lines[199].text.as_str()), ("800", "999"));

        let mut last = LastLines::default();
        for _ in 0..10 {
            last.push(line(LogChannel::Stderr, &"x".repeat(BYTES / 3)));
        }
        assert_eq!(last.into_lines().len(), 3);
    }
}
