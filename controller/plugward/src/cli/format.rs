//! How things look on a terminal.

use std::io::{self, Write};
use std::ops::ControlFlow;

use jiff::Timestamp;
use plugward_api::Kind;
use serde_json::Value;

use super::Failed;

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// A table.
    Table,
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// KIND/NAME, one a line.
    Name,
    /// What go-plugin hosts reattach with, of one instance.
    Reattach,
}

/// Stands in a cell for what is not there.
pub(super) const NONE: &str = "<none>";

/// Prints. That nobody reads on (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failed> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints a line at once. It breaks when nobody reads on: what goes on for ever must end then.
pub(super) fn print_on(text: &str) -> ControlFlow<()> {
    let mut output = io::stdout();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// Prints an object for programs.
pub(super) fn print_value(value: &Value, output: Output) -> Result<(), Failed> {
    match output {
        Output::Yaml => print(&serde_saphyr::to_string(value)?),
        _ => print(&format!("{}\n", serde_json::to_string_pretty(value)?)),
    }
}

/// A kind by one of the names that kubectl's users would try.
pub(super) fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_resource(text).ok_or_else(|| "expected instances or runtimes".to_owned())
}

/// A time span as kubectl prints ages: its one or two largest units.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds, 60, "m", "s"),
        600..7200 => format!("{}m", seconds / 60),
        7200..28_800 => two(seconds / 60, 60, "h", "m"),
        28_800..172_800 => format!("{}h", seconds / 3600),
        172_800..691_200 => two(seconds / 3600, 24, "d", "h"),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn two(amount: i64, unit: i64, large: &str, small: &str) -> String {
    match (amount / unit, amount % unit) {
        (whole, 0) => format!("{whole}{large}"),
        (whole, rest) => format!("{whole}{large}{rest}{small}"),
    }
}

/// A plugin's words must not move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A text in an object, or nothing.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A time in an object.
pub(super) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_as_kubectl_does() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 365);
        let told = |seconds: i64| age(now - jiff::SignedDuration::from_secs(seconds), now);
        assert_eq!(told(5), "5s");
        assert_eq!(told(119), "119s");
        assert_eq!(told(150), "2m30s");
        assert_eq!(told(3600), "60m");
        assert_eq!(told(3 * 3600 + 60), "3h1m");
        assert_eq!(told(26 * 3600), "26h");
        assert_eq!(told(3 * 86_400), "3d");
        assert_eq!(told(-5), "0s", "clocks may differ");
    }
}
