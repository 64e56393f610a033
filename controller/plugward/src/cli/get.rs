//! `plugward get`.

use std::num::NonZeroI32;
use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use plugward_api::{Kind, Name};
use rustix::process::getppid;
use serde_json::{Value, json};

use super::colours::Colours;
use super::following::{Followed, Following, interrupted};
use super::format::{Output, print, print_on, print_value, text};
use super::resource::Resource;
use super::selector::Selector;
use super::watch::Lines;
use super::{Failed, client, completions, reattach, records};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A kind: instances, runtimes, or sessions, which are hosts that attached. All records are shown without it.
    #[arg(value_name = "KIND", value_parser = Resource::of_word, add = completions::kinds())]
    kind: Option<Resource>,

    /// The name of one.
    #[arg(value_name = "NAME", requires = "kind", add = completions::names())]
    name: Option<Name>,

    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,

    /// Show only records with these labels: KEY=VALUE,KEY!=VALUE,KEY,!KEY.
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "name")]
    selector: Option<Selector>,

    /// Sort by a column of the table (restarts), shown or not, or by a path (.status.phase).
    #[arg(long, value_name = "COLUMN|PATH", conflicts_with = "name")]
    sort_by: Option<String>,

    /// Show what there is of one kind, and go on with each that changes. Ctrl-C ends it. With -o json, a line for each
    /// change: {"type": "ADDED|MODIFIED|DELETED", "object": …}
    #[arg(short, long, requires = "kind", conflicts_with = "sort_by")]
    watch: bool,

    /// The process that hosts take for the plugin's, with `-o reattach`: they stop using the plugin when it ends.
    /// [default: the process that runs this command]
    #[arg(long, value_name = "PID", requires = "name")]
    pid: Option<NonZeroI32>,

    #[command(flatten)]
    client: client::Which,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let controller = arguments.client.controller()?;
    if arguments.output == Output::Reattach {
        return reattach(arguments, &controller);
    }
    if arguments.kind == Some(Resource::Session) && arguments.selector.is_some() {
        return Err(
            "sessions have no labels: leave out --selector, or sort them with --sort-by instance".into()
        );
    }
    if let (Some(kind), true) = (arguments.kind, arguments.watch) {
        return watch(arguments, kind, &controller);
    }
    if let (Some(kind), Some(name)) = (arguments.kind, &arguments.name) {
        let object = controller.get(kind, name)?;
        match arguments.output {
            Output::Json | Output::Yaml => print_value(&object, arguments.output)?,
            _ => print(&arguments.text(kind, &[object]))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let records = || Kind::ALL.map(Resource::from).to_vec();
    let kinds = arguments.kind.map_or_else(records, |kind| vec![kind]);
    let mut found = Vec::new();
    for kind in kinds {
        let mut objects = controller.list(kind)?;
        objects.retain(|object| arguments.selects(object));
        if let Some(by) = &arguments.sort_by {
            records::sort(kind, &mut objects, by, Timestamp::now())?;
        }
        found.push((kind, objects));
    }
    if matches!(arguments.output, Output::Json | Output::Yaml) {
        let items: Vec<Value> = found.into_iter().flat_map(|(_, items)| items).collect();
        print_value(&json!({ "apiVersion": "v1", "kind": "List", "items": items }), arguments.output)?;
    } else {
        found.retain(|(_, objects)| !objects.is_empty());
        let texts: Vec<String> = found.iter().map(|(kind, objects)| arguments.text(*kind, objects)).collect();
        if texts.is_empty() {
            arguments.tell_of_nothing();
        }
        let between = if arguments.output == Output::Name { "" } else { "\n" };
        print(&texts.join(between))?;
    }
    if arguments.kind != Some(Resource::Session) {
        tell_of_bad_manifests(&controller)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// Objects of one kind for people, or their names.
    fn text(&self, kind: Resource, objects: &[Value]) -> String {
        if self.output == Output::Name {
            let name = |object| format!("{}/{}\n", kind.bare(), text(object, "/metadata/name"));
            return objects.iter().map(name).collect();
        }
        let wide = self.output == Output::Wide;
        records::table(kind, wide, objects, Timestamp::now(), Colours::of_output())
    }

    fn selects(&self, object: &Value) -> bool {
        self.selector.as_ref().is_none_or(|selector| selector.selects(object))
    }

    fn tell_of_nothing(&self) {
        if self.kind == Some(Resource::Session) {
            eprintln!("No sessions found: no host is attached.");
        } else if self.selector.is_none() {
            eprintln!("No records found: put manifests into the watched directory.");
        } else {
            eprintln!("No records found with these labels: `plugward get` without -l shows all.");
        }
    }
}

fn watch(arguments: &Arguments, kind: Resource, controller: &client::Controller) -> Result<ExitCode, Failed> {
    if arguments.output == Output::Yaml {
        return Err("--watch has no -o yaml: use -o json, which is a line for each change".into());
    }
    let first = match &arguments.name {
        // One that is not there is an error.
        Some(name) => vec![controller.get(kind, name)?],
        None => controller.list(kind)?,
    };
    let selector = arguments.selector.as_ref();
    let mut lines = Lines::new(kind, arguments.output, selector, &first, Colours::of_output());
    if print_on(&lines.head()).is_break() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut following = Following::new(controller)?;
    let path = client::watch_path(kind, arguments.name.as_ref());
    loop {
        let followed = following.until_left(&path, |change| {
            lines.change(&change, Timestamp::now()).map_or(ControlFlow::Continue(()), |line| print_on(&line))
        })?;
        match followed {
            Followed::Left => return Ok(ExitCode::SUCCESS),
            Followed::Interrupted => return Ok(interrupted()),
            // What went meanwhile nobody tells.
            Followed::Back => {
                let there = controller.list(kind)?;
                if print_on(&lines.without_gone(&there)).is_break() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }
}

fn reattach(arguments: &Arguments, controller: &client::Controller) -> Result<ExitCode, Failed> {
    match (arguments.kind, &arguments.name) {
        (Some(Resource::Record(Kind::PluginInstance)), Some(name)) => {
            let object = controller.get(Kind::PluginInstance, name)?;
            // The parent is there as long as what it sets up: a shell, or the host itself.
            let parent = || getppid().map_or(1, |parent| parent.as_raw_nonzero().get());
            let pid = arguments.pid.map_or_else(parent, NonZeroI32::get);
            let configurations = reattach::configurations(name, &object, controller.mounts(), pid)?;
            print_value(&configurations, Output::Json)?;
            Ok(ExitCode::SUCCESS)
        }
        (Some(_), Some(_)) => Err("-o reattach is for instances".into()),
        _ => Err("-o reattach needs one instance: plugward get instance NAME -o reattach".into()),
    }
}

/// A reader of a table must not take it for the whole when a manifest is broken.
fn tell_of_bad_manifests(controller: &client::Controller) -> Result<(), Failed> {
    let manifests = controller.manifests()?;
    let count = |pointer: &str, bad: &dyn Fn(&Value) -> bool| {
        manifests
            .pointer(pointer)
            .and_then(Value::as_array)
            .map_or(0, |all| all.iter().filter(|one| bad(one)).count())
    };
    let files =
        count("/files", &|file| file["problems"].as_array().is_some_and(|problems| !problems.is_empty()));
    let directories = count("/directories", &|directory| directory["problem"].is_string());
    if files + directories > 0 {
        eprintln!(
            "plugward: {files} manifest files and {directories} directories cannot be used; `plugward describe manifests` says why"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
