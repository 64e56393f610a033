//! `plugward status`: on one screen how the controller, its engines and its instances stand, and what is wrong now.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use plugward_api::Kind;
use serde_json::Value;

use super::colours::Colours;
use super::format::{NONE, age, print, printable, text, time};
use super::records::is;
use super::{Failed, advice, client, records, table};

/// Problems that are shown. The rest is counted.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    client: client::Which,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let controller = arguments.client.controller()?;
    let screen = Screen {
        cluster: controller.cluster(),
        controller: controller.itself()?,
        instances: controller.list(Kind::PluginInstance)?,
        manifests: controller.manifests()?,
        now: Timestamp::now(),
        colours: Colours::of_output(),
    };
    print(&screen.draw())?;
    Ok(ExitCode::SUCCESS)
}

/// What the controller said.
struct Screen {
    cluster: String,
    controller: Value,
    instances: Vec<Value>,
    manifests: Value,
    now: Timestamp,
    colours: Colours,
}

/// Something that an operator should look at.
struct Problem {
    subject: String,
    what: String,
    next: String,
}

impl Screen {
    fn draw(&self) -> String {
        let mut screen = String::new();
        let synced = self.controller["synced"].as_bool().unwrap_or(false);
        let _ = writeln!(
            screen,
            "Controller:   version {}, cluster {}, pid {}{}",
            text(&self.controller, "/version"),
            self.cluster,
            self.controller["pid"],
            if synced { "" } else { ", the first sync is under way" }
        );
        let _ = writeln!(screen, "Instances:    {}\n", self.counts());
        screen.push_str(&self.engines());
        let problems = self.problems();
        if problems.is_empty() {
            screen.push_str("\nNothing is wrong.\n");
            return screen;
        }
        screen.push_str("\nWrong now:\n");
        for problem in problems.iter().take(SHOWN) {
            let _ = writeln!(screen, "  {}: {}", problem.subject, printable(&problem.what));
            let _ = writeln!(screen, "    -> {}", problem.next);
        }
        if problems.len() > SHOWN {
            let _ = writeln!(screen, "  and {} more: `plugward get` shows all", problems.len() - SHOWN);
        }
        screen
    }

    /// `3: 2 Ready, 1 BackingOff`
    fn counts(&self) -> String {
        let mut phases: BTreeMap<&str, usize> = BTreeMap::new();
        for object in &self.instances {
            *phases.entry(phase(object)).or_default() += 1;
        }
        let mut phases: Vec<_> = phases.into_iter().collect();
        phases.sort_by_key(|(phase, count)| (std::cmp::Reverse(*count), *phase));
        let told: Vec<String> = phases
            .iter()
            .map(|(phase, count)| format!("{count} {}", self.colours.cell("PHASE", phase)))
            .collect();
        match self.instances.len() {
            0 => "none: put manifests into the watched directory".to_owned(),
            all => format!("{all}: {}", told.join(", ")),
        }
    }

    fn engines(&self) -> String {
        let engines = records::list(&self.controller, "/engines");
        let mut rows = vec![["ENGINE", "STATE", "SINCE", "VERSION", "API"].map(str::to_owned).to_vec()];
        rows.extend(engines.iter().map(|engine| {
            let since = time(engine, "/since").map(|since| age(since, self.now));
            vec![
                host(engine).to_owned(),
                text(engine, "/state").to_owned(),
                since.unwrap_or_default(),
                or_none(text(engine, "/version")),
                or_none(text(engine, "/apiVersion")),
            ]
        }));
        table::layout(&rows, self.colours)
    }

    /// The widest first: engines, manifests, instances.
    fn problems(&self) -> Vec<Problem> {
        let engines = records::list(&self.controller, "/engines").iter();
        let engines = engines.filter(|engine| text(engine, "/state") == "Down").map(|engine| Problem {
            subject: format!("engine {}", host(engine)),
            what: text(engine, "/message").to_owned(),
            next: "see whether it runs (docker -H HOST info), and `plugward describe runtimes`".to_owned(),
        });
        let directories = records::list(&self.manifests, "/directories").iter();
        let directories =
            directories.filter(|directory| directory["problem"].is_string()).map(|directory| Problem {
                subject: format!("manifests {}", text(directory, "/path")),
                what: text(directory, "/problem").to_owned(),
                next: "mend the directory; nothing of it is removed until it can be read".to_owned(),
            });
        let files = records::list(&self.manifests, "/files").iter().filter_map(|file| {
            let problems = records::list(file, "/problems");
            let first = problems.first()?.as_str()?;
            Some(Problem {
                // Its path is part of what is told.
                subject: "manifest".to_owned(),
                what: match problems.len() {
                    1 => first.to_owned(),
                    several => format!("{first} (and {} more)", several - 1),
                },
                next: format!("mend it; `plugward validate {}` checks it", text(file, "/path")),
            })
        });
        let instances = self.instances.iter().filter_map(instance_problem);
        engines.chain(directories).chain(files).chain(instances).collect()
    }
}

/// Why an instance is not as it should be. What is on its way is not wrong.
fn instance_problem(object: &Value) -> Option<Problem> {
    let name = text(object, "/metadata/name");
    let phase = phase(object);
    let refused = is(object, "Accepted", "False");
    if !(refused || matches!(phase, "Pending" | "Degraded" | "BackingOff")) {
        return None;
    }
    let what = advice::cause_in_words(object).unwrap_or_else(|| "it waits to be looked at".to_owned());
    let next = advice::next_step(object)
        .unwrap_or_else(|| format!("`plugward describe instance {name}` shows its last exit and events"));
    Some(Problem { subject: format!("instance {name} {phase}"), what, next })
}

fn phase(object: &Value) -> &str {
    // One that was not looked at yet has no status.
    Some(text(object, "/status/phase")).filter(|phase| !phase.is_empty()).unwrap_or("Pending")
}

fn host(engine: &Value) -> &str {
    Some(text(engine, "/host")).filter(|host| !host.is_empty()).unwrap_or("<default>")
}

fn or_none(text: &str) -> String {
    if text.is_empty() { NONE.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
