//! Colours, for people at a terminal who did not say no to them (`NO_COLOR`).

use std::env;
use std::io::{self, IsTerminal};

/// Whether what is printed has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    /// It has.
    On,
    /// It has none.
    Off,
}

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

impl Colours {
    /// As standard output can show them.
    pub(super) fn of_output() -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        if io::stdout().is_terminal() && !unwanted && !dumb { Self::On } else { Self::Off }
    }

    /// A cell of a table in its colour. What it means follows from the title of its column.
    pub(super) fn cell(self, title: &str, text: &str) -> String {
        let colour = match (title.trim(), text.trim()) {
            ("PHASE", "Ready") | ("STATE", "Up") | ("REACHABLE", "True") => GREEN,
            ("PHASE", "Degraded" | "BackingOff") | ("STATE", "Down") | ("REACHABLE", "False") => RED,
            ("PHASE", "Pending" | "Starting" | "Updating" | "Terminating") | ("TYPE", "Warning") => YELLOW,
            _ => return text.to_owned(),
        };
        self.paint(colour, text)
    }

    /// A text in the colour of a log's level.
    pub(super) fn level(self, level: &str, text: &str) -> String {
        match level {
            "error" => self.paint(RED, text),
            "warn" => self.paint(YELLOW, text),
            "info" => self.paint(GREEN, text),
            _ => text.to_owned(),
        }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Self::On => format!("{colour}{text}{PLAIN}"),
            Self::Off => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_and_warnings_have_colours_where_there_are_any() {
        assert_eq!(Colours::On.cell("PHASE", "BackingOff"), "\x1b[31mBackingOff\x1b[0m");
        assert_eq!(Colours::On.cell("  TYPE", "Warning"), "\x1b[33mWarning\x1b[0m");
        assert_eq!(Colours::On.cell("NAME", "Ready"), "Ready");
        assert_eq!(Colours::Off.cell("PHASE", "BackingOff"), "BackingOff");
    }
}
