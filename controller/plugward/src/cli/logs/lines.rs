//! What the controller tells of logs, as it is shown.

use std::collections::BTreeMap;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Output;
use crate::cli::colours::Colours;
use crate::cli::format::{text, time};
use crate::cli::hclog::{on_one_line, readable};

/// What was shown, and how the next line is.
pub(super) struct Lines {
    output: Output,
    timestamps: bool,
    /// Whether lines are of all slots.
    all: bool,
    colours: Colours,
    slots: BTreeMap<String, Slot>,
    failed: bool,
}

/// Of a slot whose lines are shown.
struct Slot {
    container: String,
    /// When the last line of it was written that was shown.
    last: Option<Timestamp>,
    /// What was written up to then was shown before the controller was away.
    told_before: Option<Timestamp>,
}

/// A line for programs.
#[derive(Serialize)]
struct Line<'a> {
    slot: &'a str,
    container: &'a str,
    at: Timestamp,
    stream: &'a str,
    text: &'a str,
}

/// What becomes of something that the controller tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// A line on standard output, with its end.
    Line(String),
    /// A note on standard error.
    Note(String),
    /// It was all.
    All,
}

impl Lines {
    pub(super) fn new(output: Output, timestamps: bool, all: bool, colours: Colours) -> Self {
        Self { output, timestamps, all, colours, slots: BTreeMap::new(), failed: false }
    }

    /// Takes what the controller tells.
    pub(super) fn take(&mut self, told: &Value) -> Shown {
        match text(told, "/type") {
            "CONTAINER" => self.container(text(told, "/slot"), text(told, "/container")),
            "LINE" => self.line(told),
            "NOTE" => Shown::Note(on_one_line(text(told, "/message"))),
            "ERROR" => {
                self.failed = true;
                Shown::Note(on_one_line(text(told, "/message")))
            }
            "END" => Shown::All,
            // Of a later version.
            _ => Shown::Nothing,
        }
    }

    /// From here on lines may be told again: those that were shown are left out. From when on they are to be told, if
    /// lines of every slot were shown.
    pub(super) fn resume(&mut self) -> Option<Timestamp> {
        for slot in self.slots.values_mut() {
            slot.told_before = slot.last;
        }
        self.slots.values().map(|slot| slot.last).min().flatten()
    }

    /// Whether all went well.
    pub(super) fn outcome(&self) -> ExitCode {
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn container(&mut self, slot: &str, container: &str) -> Shown {
        match self.slots.get_mut(slot) {
            // The controller was away, and the container was not.
            Some(known) if known.container == container => Shown::Nothing,
            Some(known) => {
                let before = std::mem::replace(&mut known.container, container.to_owned());
                (known.last, known.told_before) = (None, None);
                Shown::Note(format!("slot {slot}: {container} takes the place of {before}"))
            }
            None => {
                let container = container.to_owned();
                self.slots.insert(slot.to_owned(), Slot { container, last: None, told_before: None });
                Shown::Nothing
            }
        }
    }

    fn line(&mut self, told: &Value) -> Shown {
        let (slot, written) = (text(told, "/slot"), text(told, "/text"));
        let at = time(told, "/at").unwrap_or_default();
        let several = self.all && self.slots.len() > 1;
        let Some(of) = self.slots.get_mut(slot) else { return Shown::Nothing };
        if of.told_before.is_some_and(|before| at <= before) {
            return Shown::Nothing;
        }
        of.last = of.last.max(Some(at));
        let line = match self.output {
            Output::Raw => written.to_owned(),
            Output::Json => {
                let (container, stream) = (of.container.as_str(), text(told, "/stream"));
                let line = Line { slot, container, at, stream, text: written };
                return serde_json::to_string(&line).map_or(Shown::Nothing, |line| Shown::Line(line + "\n"));
            }
            Output::Text => readable(written, at, self.colours).unwrap_or_else(|| on_one_line(written)),
        };
        let slot = if several && self.output == Output::Text { format!("[{slot}] ") } else { String::new() };
        let at = if self.timestamps { format!("{at:.9} ") } else { String::new() };
        Shown::Line(format!("{slot}{at}{line}\n"))
    }
}
