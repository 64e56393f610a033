//! Plugins' logs: what containers wrote, as lines with their times, and what is kept of containers that are gone.
//!
//! An engine's log goes with its container. So the [last lines](LastLines) of one that is removed while its slot stays are kept in
//! the state directory, for those who ask why it went.

mod last;
mod lines;

use go_plugin::Handshake;
use jiff::Timestamp;
use plugward_engine::LogChannel;
use serde::{Deserialize, Serialize};

pub use last::LastLines;
pub use lines::lines;

/// One line that a container wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, by its engine's clock.
    pub at: Timestamp,
    /// To which of its standard streams.
    #[serde(with = "stream")]
    pub stream: LogChannel,
    /// What, without the end of the line. What is no UTF-8 is replaced.
    pub text: String,
}

/// What is kept of the log of a container that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLog {
    /// The container's name.
    pub container: String,
    /// Its last lines, oldest first.
    pub lines: Vec<LogLine>,
}

impl LogLine {
    /// Whether it is the line by which a plugin tells its host where it listens. That is for programs, and has a certificate in it.
    pub fn is_handshake(&self) -> bool {
        self.stream == LogChannel::Stdout && Handshake::parse(self.text.as_bytes()).is_ok()
    }
}

/// The engine's crate knows nothing of how its types are stored.
mod stream {
    use plugward_engine::LogChannel;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Stream {
        Stdout,
        Stderr,
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(channel: &LogChannel, serializer: S) -> Result<S::Ok, S::Error> {
        match channel {
            LogChannel::Stdout => Stream::Stdout,
            LogChannel::Stderr => Stream::Stderr,
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogChannel, D::Error> {
        Ok(match Stream::deserialize(deserializer)? {
            Stream::Stdout => LogChannel::Stdout,
            Stream::Stderr => LogChannel::Stderr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: LogChannel, text: &str) -> LogLine {
        LogLine { at: "2026-11-27T10:00:00.000000001Z".parse().unwrap(), stream, text: text.to_owned() }
    }

    #[test]
    fn a_handshake_is_told_from_what_a_plugin_says() {
        let handshake = "1|1|unix|/run/plugin.sock|grpc|Y2VydGlmaWNhdGU";
        assert!(line(LogChannel::Stdout, handshake).is_handshake());
        assert!(!line(LogChannel::Stderr, handshake).is_handshake(), "it is said on standard output");
        assert!(!line(LogChannel::Stdout, "Welcome to Hostile 1.0").is_handshake(), "it says what is wrong");
    }

    #[test]
    fn a_line_is_stored_to_the_nanosecond() {
        let stored = serde_json::to_value(line(LogChannel::Stderr, "é")).unwrap();
        assert_eq!(
            stored,
            serde_json::json!({ "at": "2026-11-27T10:00:00.000000001Z", "stream": "stderr", "text": "é" })
        );
        assert_eq!(serde_json::from_value::<LogLine>(stored).unwrap(), line(LogChannel::Stderr, "é"));
    }
}
