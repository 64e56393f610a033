//! `plugward events`: what happened to instances lately, as `kubectl events` shows it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use plugward_api::{Kind, Name};
use serde_json::{Value, json};

use super::colours::Colours;
use super::following::{Followed, Following, interrupted};
use super::format::{self, age, print, print_on, print_value, printable, text, time};
use super::{Failed, client, completions, records, table};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Show only what happened to one instance.
    #[arg(long = "for", value_name = "instance/NAME", value_parser = object, add = completions::objects())]
    only: Option<Name>,

    /// Go on with what happens. Ctrl-C ends it.
    #[arg(short, long)]
    watch: bool,

    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,

    #[command(flatten)]
    client: client::Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table.
    Table,
    /// A list of events; with --watch, one event a line.
    Json,
}

/// `instance/NAME`, the kind in any of its spellings.
fn object(text: &str) -> Result<Name, String> {
    let wrong = || format!("{text:?} is no instance (write it like instance/orders)");
    let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
    match format::kind(kind) {
        Ok(Kind::PluginInstance) => name.parse().map_err(|error| format!("{}: {error}", wrong())),
        Ok(Kind::PluginRuntime) => Err("runtimes have no events: describe them instead".to_owned()),
        Err(_) => Err(wrong()),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let controller = arguments.client.controller()?;
    let kind = Kind::PluginInstance;
    let objects = match &arguments.only {
        Some(name) => vec![controller.get(kind, name)?],
        None => controller.list(kind)?,
    };
    let mut found: Vec<Value> = objects.iter().flat_map(events).collect();
    // As they are told: in order of time, whatever the object.
    found.sort_by_key(|event| time(event, "/lastSeen"));
    let (now, colours) = (Timestamp::now(), Colours::of_output());
    match (arguments.output, arguments.watch) {
        (Output::Json, false) => print_value(&json!({ "items": found }), format::Output::Json)?,
        (Output::Table, false) if found.is_empty() => {
            eprintln!("No events found: nothing has happened lately.");
        }
        (Output::Table, false) => print(&table(&found, now, colours))?,
        (output, true) => {
            let mut shown = Shown::new(output, &found, colours);
            if print_on(&shown.first(&found, now)).is_break() {
                return Ok(ExitCode::SUCCESS);
            }
            let path = client::watch_path(kind, arguments.only.as_ref());
            let mut watching = Following::new(&controller)?;
            loop {
                let followed = watching.until_left(&path, |change| {
                    let lines = shown.change(&change, Timestamp::now());
                    if lines.is_empty() { ControlFlow::Continue(()) } else { print_on(&lines) }
                })?;
                match followed {
                    Followed::Left => break,
                    Followed::Interrupted => return Ok(interrupted()),
                    // All is told again, and nothing twice.
                    Followed::Back => {}
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The events of an object, each with the name of the object.
fn events(object: &Value) -> Vec<Value> {
    let name = format!("instance/{}", text(object, "/metadata/name"));
    let with_name = |event: &Value| {
        let mut event = event.clone();
        if let Some(fields) = event.as_object_mut() {
            fields.insert("object".to_owned(), json!(name));
        }
        event
    };
    records::list(object, "/status/events").iter().map(with_name).collect()
}

fn titles() -> Vec<String> {
    ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE", "COUNT"].map(str::to_owned).to_vec()
}

fn row(event: &Value, now: Timestamp) -> Vec<String> {
    vec![
        time(event, "/lastSeen").map(|at| age(at, now)).unwrap_or_default(),
        text(event, "/type").to_owned(),
        text(event, "/reason").to_owned(),
        text(event, "/object").to_owned(),
        printable(text(event, "/message")),
        count(event).to_string(),
    ]
}

fn count(event: &Value) -> u64 {
    event.get("count").and_then(Value::as_u64).unwrap_or(1)
}

fn table(events: &[Value], now: Timestamp, colours: Colours) -> String {
    table::layout(&rows(events, now), colours)
}

fn rows(events: &[Value], now: Timestamp) -> Vec<Vec<String>> {
    std::iter::once(titles()).chain(events.iter().map(|event| row(event, now))).collect()
}

/// What of an event makes it another one than those that were shown: it, and how often it happened.
type Seen = BTreeMap<(String, String, String), u64>;

/// Events that were shown, to tell the new ones.
struct Shown {
    output: Output,
    colours: Colours,
    widths: Vec<usize>,
    /// By object. Only what its status holds is kept.
    seen: BTreeMap<String, Seen>,
}

impl Shown {
    fn new(output: Output, events: &[Value], colours: Colours) -> Self {
        let widths = table::widths(&rows(events, Timestamp::now()));
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        for event in events {
            let (identity, count) = identity(event);
            seen.entry(text(event, "/object").to_owned()).or_default().insert(identity, count);
        }
        Self { output, colours, widths, seen }
    }

    /// The events that are there already.
    fn first(&self, events: &[Value], now: Timestamp) -> String {
        let head = match self.output {
            Output::Table => table::line(&titles(), &titles(), &self.widths, self.colours),
            Output::Json => String::new(),
        };
        head + &events.iter().map(|event| self.line(event, now)).collect::<String>()
    }

    /// The lines for what is new in an object.
    fn change(&mut self, change: &Value, now: Timestamp) -> String {
        let Some(object) = change.get("object") else { return String::new() };
        let events = events(object);
        let name = format!("instance/{}", text(object, "/metadata/name"));
        let before = self.seen.remove(&name).unwrap_or_default();
        let is_new = |event: &&Value| {
            let (identity, count) = identity(event);
            before.get(&identity).is_none_or(|seen| count > *seen)
        };
        let lines = events.iter().filter(is_new).map(|event| self.line(event, now)).collect();
        if !events.is_empty() {
            self.seen.insert(name, events.iter().map(identity).collect());
        }
        lines
    }

    fn line(&self, event: &Value, now: Timestamp) -> String {
        match self.output {
            Output::Table => table::line(&titles(), &row(event, now), &self.widths, self.colours),
            Output::Json => format!("{event}\n"),
        }
    }
}

fn identity(event: &Value) -> ((String, String, String), u64) {
    let field = |pointer| text(event, pointer).to_owned();
    ((field("/type"), field("/reason"), field("/message")), count(event))
}

#[cfg(test)]
mod tests;
