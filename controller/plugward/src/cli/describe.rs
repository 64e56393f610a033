//! `plugward describe`: everything that is known about a record, for people.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use plugward_api::instance::Attach;
use plugward_api::{Kind, Name};
use serde_json::Value;

use super::colours::Colours;
use super::format::{age, kind, print, printable, text, time};
use super::resource::Resource;
use super::{Failed, advice, client, completions, hclog, host, table};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What: instance, runtime or manifests.
    #[arg(value_name = "KIND", value_parser = subject, add = completions::subjects())]
    subject: Subject,

    /// Its name. All of the kind are described without it.
    #[arg(value_name = "NAME", add = completions::names())]
    name: Option<Name>,

    #[command(flatten)]
    client: client::Which,
}

#[derive(Debug, Clone, Copy)]
enum Subject {
    Record(Kind),
    Manifests,
}

fn subject(text: &str) -> Result<Subject, String> {
    match text {
        "manifests" | "manifest" => Ok(Subject::Manifests),
        other => {
            kind(other).map(Subject::Record).map_err(|_| "expected instance, runtime or manifests".to_owned())
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let controller = arguments.client.controller()?;
    let text = match (arguments.subject, &arguments.name) {
        (Subject::Manifests, _) => manifests(&controller.manifests()?),
        (Subject::Record(kind), name) => {
            let objects = match name {
                Some(name) => vec![controller.get(kind, name)?],
                None => controller.list(kind)?,
            };
            // Limits are the runtime's.
            let runtimes = match kind {
                Kind::PluginInstance => controller.list(Kind::PluginRuntime)?,
                Kind::PluginRuntime => Vec::new(),
            };
            // Only where hosts may: nobody else's pages need them.
            let sessions =
                if objects.iter().any(attachable) { controller.list(Resource::Session)? } else { Vec::new() };
            let (now, colours) = (Timestamp::now(), Colours::of_output());
            let pages: Vec<String> =
                objects.iter().map(|object| record(object, &runtimes, &sessions, now, colours)).collect();
            pages.join("\n\n")
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn record(
    object: &Value,
    runtimes: &[Value],
    sessions: &[Value],
    now: Timestamp,
    colours: Colours,
) -> String {
    let mut page = Page { text: String::new(), colours };
    page.line("Name", text(object, "/metadata/name"));
    page.map("Labels", object.pointer("/metadata/labels"));
    page.map("Annotations", object.pointer("/metadata/annotations"));
    page.line("Kind", text(object, "/kind"));
    if let Some(generation) = object.pointer("/metadata/generation") {
        page.line("Generation", &generation.to_string());
    }
    if let Some(spec) = object.get("spec") {
        page.title("Spec");
        page.tree(spec, 1);
    }
    if let Some(limits) = limits(object, runtimes) {
        page.line("Limits", &limits);
    }
    if attachable(object) {
        page.attach(object, sessions);
    }
    if let Some(status) = object.get("status") {
        let phase = text(status, "/phase");
        if !phase.is_empty() {
            page.line("Phase", phase);
        }
        if let Some(engine) = status.get("engine") {
            page.title("Engine");
            page.tree(engine, 1);
        }
        page.pull(status, now);
        page.slots(status, now);
        page.conditions(status, now);
        if let Some(next) = advice::next_step(object) {
            page.line("Next", &next);
        }
        page.events(status, now);
    }
    page.text
}

struct Page {
    text: String,
    colours: Colours,
}

impl Page {
    fn line(&mut self, title: &str, value: &str) {
        let _ = writeln!(self.text, "{:<14}{value}", format!("{title}:"));
    }

    fn title(&mut self, title: &str) {
        let _ = writeln!(self.text, "{title}:");
    }

    fn map(&mut self, title: &str, map: Option<&Value>) {
        let pairs: Vec<String> = map
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        if !pairs.is_empty() {
            self.line(title, &pairs.join(", "));
        }
    }

    fn tree(&mut self, value: &Value, depth: usize) {
        let indent = "  ".repeat(depth);
        for (key, value) in value.as_object().into_iter().flatten() {
            match value {
                Value::Object(map) if map.is_empty() => {}
                Value::Object(_) => {
                    let _ = writeln!(self.text, "{indent}{key}:");
                    self.tree(value, depth + 1);
                }
                Value::Array(items) => {
                    let items: Vec<String> = items.iter().map(scalar).collect();
                    let _ = writeln!(self.text, "{indent}{key}: {}", items.join(", "));
                }
                value => {
                    let _ = writeln!(self.text, "{indent}{key}: {}", scalar(value));
                }
            }
        }
    }

    fn attach(&mut self, object: &Value, sessions: &[Value]) {
        let name = text(object, "/metadata/name");
        let attach = object.pointer("/spec/attach").cloned().unwrap_or_default();
        let attach: Attach = serde_json::from_value(attach).unwrap_or_default();
        let those = sessions.iter().filter(|session| text(session, "/spec/instance") == name).count();
        let fields = [
            ("Permitted", host::permitted(&attach)),
            ("Sessions", format!("{those} of {} at the most", attach.max_sessions)),
            ("Hosts", format!("`plugward host openbao {name}` (or vault, generic) says what to give them")),
        ];
        self.title("Attach");
        for (title, value) in fields {
            let _ = writeln!(self.text, "  {:<12}{value}", format!("{title}:"));
        }
    }

    fn pull(&mut self, status: &Value, now: Timestamp) {
        let Some(pull) = status.get("pull").filter(|pull| pull.is_object()) else { return };
        let number = |pointer: &str| pull.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        self.title("Pull");
        let error = text(pull, "/error");
        let progress = format!(
            "{} of {}, {} of {} layers",
            bytes(number("/bytes")),
            bytes(number("/totalBytes")),
            number("/layersDone"),
            number("/layers")
        );
        let fields = [
            ("Image", text(pull, "/image").to_owned()),
            ("Started", ago(pull, "/startedAt", now)),
            ("Progress", if error.is_empty() { progress } else { String::new() }),
            (
                "Failed",
                if error.is_empty() { String::new() } else { format!("{} times", number("/failures")) },
            ),
            ("Error", printable(error)),
            ("Next try", text(pull, "/retryAt").to_owned()),
        ];
        for (title, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = writeln!(self.text, "  {:<12}{value}", format!("{title}:"));
        }
    }

    fn slots(&mut self, status: &Value, now: Timestamp) {
        for slot in status.get("slots").and_then(Value::as_array).into_iter().flatten() {
            let _ = writeln!(self.text, "Slot {}:", text(slot, "/name"));
            let fields = [
                ("Container", text(slot, "/containerName").to_owned()),
                ("ID", text(slot, "/containerId").chars().take(12).collect()),
                ("Image", text(slot, "/imageId").to_owned()),
                ("Started", ago(slot, "/startedAt", now)),
                ("Ready", ago(slot, "/readyAt", now)),
                ("Restarts", restarts(slot)),
                ("Next start", text(slot, "/backoffUntil").to_owned()),
            ];
            for (title, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
                let _ = writeln!(self.text, "  {:<12}{value}", format!("{title}:"));
            }
            if let Some(exit) = slot.get("lastExit").filter(|exit| exit.is_object()) {
                self.last_exit(exit, now);
            }
        }
    }

    fn last_exit(&mut self, exit: &Value, now: Timestamp) {
        let code =
            exit.get("code").and_then(Value::as_i64).map(|code| format!(", code {code}")).unwrap_or_default();
        let message = text(exit, "/message");
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        let _ = writeln!(
            self.text,
            "  {:<12}{}{code}, {} ago{message}",
            "Last exit:",
            text(exit, "/reason"),
            time(exit, "/finishedAt").map(|at| age(at, now)).unwrap_or_default()
        );
        for line in exit.get("output").and_then(Value::as_array).into_iter().flatten() {
            let line = line.as_str().unwrap_or_default();
            let at = time(exit, "/finishedAt").unwrap_or_default();
            let line = hclog::readable(line, at, self.colours).unwrap_or_else(|| hclog::on_one_line(line));
            for line in line.lines() {
                let _ = writeln!(self.text, "    | {line}");
            }
        }
    }

    fn conditions(&mut self, status: &Value, now: Timestamp) {
        let conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        if conditions.is_empty() {
            return;
        }
        self.title("Conditions");
        let mut rows = vec![["  TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"].map(str::to_owned).to_vec()];
        rows.extend(conditions.iter().map(|condition| {
            vec![
                format!("  {}", text(condition, "/type")),
                text(condition, "/status").to_owned(),
                text(condition, "/reason").to_owned(),
                time(condition, "/lastTransitionTime").map(|at| age(at, now)).unwrap_or_default(),
                printable(text(condition, "/message")),
            ]
        }));
        self.text.push_str(&table::layout(&rows, self.colours));
    }

    fn events(&mut self, status: &Value, now: Timestamp) {
        let events = status.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        if events.is_empty() {
            return;
        }
        self.title("Events");
        let mut rows = vec![["  TYPE", "REASON", "AGE", "COUNT", "MESSAGE"].map(str::to_owned).to_vec()];
        rows.extend(events.iter().map(|event| {
            vec![
                format!("  {}", text(event, "/type")),
                text(event, "/reason").to_owned(),
                time(event, "/lastSeen").map(|at| age(at, now)).unwrap_or_default(),
                event.get("count").and_then(Value::as_u64).unwrap_or(1).to_string(),
                printable(text(event, "/message")),
            ]
        }));
        self.text.push_str(&table::layout(&rows, self.colours));
    }
}

/// Whether hosts may attach to an instance.
fn attachable(object: &Value) -> bool {
    object.pointer("/spec/attach/enabled").and_then(Value::as_bool).unwrap_or(false)
}

fn manifests(report: &Value) -> String {
    let mut out = String::new();
    for directory in report.get("directories").and_then(Value::as_array).into_iter().flatten() {
        let problem = directory.get("problem").and_then(Value::as_str).unwrap_or("read");
        let _ = writeln!(out, "{}: {problem}", text(directory, "/path"));
    }
    for file in report.get("files").and_then(Value::as_array).into_iter().flatten() {
        let problems = file.get("problems").and_then(Value::as_array).cloned().unwrap_or_default();
        let records = file.get("records").and_then(Value::as_array).map_or(0, Vec::len);
        let in_force = file.get("lastGoodInForce").and_then(Value::as_bool).unwrap_or(false);
        let note = match (problems.is_empty(), in_force) {
            (true, _) => "",
            (false, true) => "; its last good records stay in force",
            (false, false) => "; nothing of it is in force",
        };
        let _ = writeln!(out, "{}: {}, {records} records{note}", text(file, "/path"), text(file, "/state"));
        for problem in &problems {
            let _ = writeln!(out, "  {}", problem.as_str().unwrap_or_default());
        }
    }
    out
}

/// What an instance's containers may use at the most, as its runtime says.
fn limits(object: &Value, runtimes: &[Value]) -> Option<String> {
    let name = Some(text(object, "/spec/runtime")).filter(|name| !name.is_empty())?;
    let runtime = runtimes.iter().find(|runtime| text(runtime, "/metadata/name") == name)?;
    let resources = runtime.pointer("/spec/resources").and_then(Value::as_object);
    let limits: Vec<String> = resources
        .into_iter()
        .flatten()
        .filter(|(_, limit)| !limit.is_null())
        .map(|(resource, limit)| format!("{resource} {}", scalar(limit)))
        .collect();
    let limits = if limits.is_empty() { "none".to_owned() } else { limits.join(", ") };
    Some(format!("{limits} (of runtime {name})"))
}

fn ago(slot: &Value, pointer: &str, now: Timestamp) -> String {
    time(slot, pointer).map(|at| format!("{at} ({} ago)", age(at, now))).unwrap_or_default()
}

fn restarts(slot: &Value) -> String {
    let reasons: Vec<String> = slot
        .get("restartsByReason")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let total = slot.get("restarts").and_then(Value::as_u64).unwrap_or(0);
    if reasons.is_empty() { total.to_string() } else { format!("{total} ({})", reasons.join(", ")) }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}={}", scalar(value))).collect::<Vec<_>>().join(" ")
        }
        value => value.to_string(),
    }
}

/// A number of bytes in the unit that suits it: `6.0 MiB`.
fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let unit = (0..units.len()).rev().find(|unit| number >> (10 * unit) > 0).unwrap_or(0);
    if unit == 0 {
        return format!("{number} B");
    }
    // Tenths, cut off.
    let tenths = (u128::from(number) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

#[cfg(test)]
mod tests;
