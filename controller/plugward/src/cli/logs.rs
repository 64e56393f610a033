//! `plugward logs`: what an instance's plugins write to their logs, for those who know `kubectl logs`.

mod lines;

use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use plugward_api::{Duration, Kind, Name};

use super::client::Controller;
use super::colours::Colours;
use super::following::{Followed, Following, interrupted};
use super::format::{self, print_on};
use super::{Failed, client, completions};
use crate::names::SlotName;
use lines::{Lines, Shown};

#[derive(Debug, Args)]
#[command(after_help = "\
hclog's JSON lines are printed as its text format has them, with -o raw as they are. Notes about the lines go to standard error.
Examples:
  plugward logs counter -f                     # go on with what is written, over restarts
  plugward logs counter --since 10m --tail 50
  plugward logs counter --previous             # of the container before: why did it end?")]
pub(super) struct Arguments {
    /// The instance.
    #[arg(value_name = "INSTANCE", value_parser = instance, add = completions::instances())]
    instance: Name,

    /// Go on with what is written, also by the containers that come after. Ctrl-C ends it.
    #[arg(short, long, conflicts_with = "previous")]
    follow: bool,

    /// Show only what was written since a time (2026-11-27T10:00:00Z), or for a while (10m).
    #[arg(long, value_name = "DURATION|TIME", value_parser = since)]
    since: Option<Since>,

    /// Show only so many of the last lines of each slot.
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,

    /// Show only this slot: shared, mount-NAME or spare-N. Lines of several begin with [SLOT].
    #[arg(long, value_name = "SLOT")]
    slot: Option<SlotName>,

    /// Show what the container before the current one wrote. Of one that is gone, the last 200 lines or 64 KiB are kept.
    #[arg(short, long)]
    previous: bool,

    /// Begin each line with the time when its engine took it.
    #[arg(long)]
    timestamps: bool,

    /// How to print.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,

    #[command(flatten)]
    client: client::Which,
}

/// How lines are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// As the plugin wrote them.
    Raw,
    /// An object for each: {"slot", "container", "at", "stream", "text"}.
    Json,
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    At(Timestamp),
    For(SignedDuration),
}

/// `NAME` or `instance/NAME`.
fn instance(text: &str) -> Result<Name, String> {
    let name = match text.split_once('/') {
        None => text,
        Some((kind, name)) => match format::kind(kind) {
            Ok(Kind::PluginInstance) => name,
            Ok(Kind::PluginRuntime) => return Err("runtimes have no logs: name an instance".to_owned()),
            Err(_) => return Err("expected an instance's name, like orders or instance/orders".to_owned()),
        },
    };
    name.parse().map_err(|error| format!("{error}"))
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = text.parse() {
        return Ok(Since::At(at));
    }
    let duration: Option<Duration> = text.parse().ok();
    duration
        .filter(|duration| !duration.is_negative())
        .and_then(|duration| SignedDuration::try_from(duration.get()).ok())
        .map(Since::For)
        .ok_or_else(|| "expected a duration like 10m, or a time like 2026-11-27T10:00:00Z".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let controller = arguments.client.controller()?;
    let mut lines =
        Lines::new(arguments.output, arguments.timestamps, arguments.slot.is_none(), Colours::of_output());
    let now = Timestamp::now();
    let since = arguments.since.map(|since| since.before(now));
    if arguments.follow {
        return follow(arguments, since, now, &controller, &mut lines);
    }
    controller.lines(&arguments.path(since, arguments.tail), |told| show(lines.take(&told)))?;
    Ok(lines.outcome())
}

fn follow(
    arguments: &Arguments,
    since: Option<Timestamp>,
    now: Timestamp,
    controller: &Controller,
    lines: &mut Lines,
) -> Result<ExitCode, Failed> {
    let mut following = Following::new(controller)?;
    let mut path = arguments.path(since, arguments.tail);
    loop {
        match following.until_left(&path, |told| show(lines.take(&told)))? {
            Followed::Left => return Ok(lines.outcome()),
            Followed::Interrupted => return Ok(interrupted()),
            // What was shown is not shown again, and what was left out at first is not shown now.
            Followed::Back => {
                let first = if arguments.tail.is_some() { Some(now).max(since) } else { since };
                path = arguments.path(lines.resume().or(first), None);
            }
        }
    }
}

fn show(shown: Shown) -> ControlFlow<()> {
    match shown {
        Shown::Nothing => ControlFlow::Continue(()),
        Shown::Line(line) => print_on(&line),
        Shown::Note(note) => {
            eprintln!("plugward: {note}");
            ControlFlow::Continue(())
        }
        Shown::All => ControlFlow::Break(()),
    }
}

impl Since {
    fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::For(duration) => now.saturating_sub(duration).unwrap_or(Timestamp::MIN),
        }
    }
}

impl Arguments {
    /// What the controller is asked for.
    fn path(&self, since: Option<Timestamp>, tail: Option<u32>) -> String {
        let asked = [
            ("follow", self.follow.then(|| "true".to_owned())),
            ("previous", self.previous.then(|| "true".to_owned())),
            ("slot", self.slot.as_ref().map(ToString::to_string)),
            ("since", since.map(|since| since.to_string())),
            ("tail", tail.map(|tail| tail.to_string())),
        ];
        let asked = asked.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        format!("/v1/instances/{}/logs?{}", self.instance, asked.collect::<Vec<_>>().join("&"))
    }
}

#[cfg(test)]
mod tests;
