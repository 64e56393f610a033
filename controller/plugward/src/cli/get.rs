//! `plugward get`.

use std::num::NonZeroI32;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use plugward_api::{Kind, Name};
use rustix::process::getppid;
use serde_json::{Value, json};

use super::format::{Output, age, kind, print, print_value, text, time};
use super::{Failed, client, completions, reattach, table};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A kind: instances or runtimes. Both are shown without it.
    #[arg(value_name = "KIND", value_parser = kind, add = completions::kinds())]
    kind: Option<Kind>,

    /// The name of one record.
    #[arg(value_name = "NAME", requires = "kind", add = completions::names())]
    name: Option<Name>,

    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,

    /// The process that hosts take for the plugin's, with `-o reattach`: they stop using the plugin when it ends.
    /// [default: the process that runs this command]
    #[arg(long, value_name = "PID", requires = "name")]
    pid: Option<NonZeroI32>,

    #[command(flatten)]
    client: client::Which,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let controller = arguments.client.controller()?;
    if let (Some(kind), Some(name)) = (arguments.kind, &arguments.name) {
        let object = controller.get(kind, name)?;
        match arguments.output {
            Output::Json | Output::Yaml => print_value(&object, arguments.output)?,
            Output::Reattach if kind == Kind::PluginInstance => {
                // The parent is there as long as what it sets up: a shell, or the host itself.
                let parent = || getppid().map_or(1, |parent| parent.as_raw_nonzero().get());
                let pid = arguments.pid.map_or_else(parent, NonZeroI32::get);
                let configurations = reattach::configurations(name, &object, controller.mounts(), pid)?;
                print_value(&configurations, Output::Json)?;
            }
            Output::Reattach => return Err("-o reattach is for instances".into()),
            Output::Table | Output::Wide => {
                print(&records(kind, &[object], arguments.output, Timestamp::now()))?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.output == Output::Reattach {
        return Err("-o reattach needs one instance: plugward get instance NAME -o reattach".into());
    }
    let kinds = arguments.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
    let mut found = Vec::new();
    for kind in kinds {
        found.push((kind, controller.list(kind)?));
    }
    match arguments.output {
        Output::Json | Output::Yaml => {
            let items: Vec<Value> = found.into_iter().flat_map(|(_, items)| items).collect();
            print_value(&json!({ "apiVersion": "v1", "kind": "List", "items": items }), arguments.output)?;
        }
        Output::Table | Output::Wide | Output::Reattach => {
            let tables: Vec<String> = found
                .iter()
                .filter(|(_, items)| !items.is_empty())
                .map(|(kind, items)| records(*kind, items, arguments.output, Timestamp::now()))
                .collect();
            if tables.is_empty() {
                eprintln!("No records found: put manifests into the watched directory.");
            }
            print(&tables.join("\n"))?;
        }
    }
    tell_of_bad_manifests(&controller)?;
    Ok(ExitCode::SUCCESS)
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

/// Makes the cells of an object.
type Row = fn(&Value, Timestamp) -> Vec<String>;

fn records(kind: Kind, objects: &[Value], output: Output, now: Timestamp) -> String {
    let wide = output == Output::Wide;
    let (titles, row): (&[&str], Row) = match (kind, wide) {
        (Kind::PluginInstance, false) => {
            (&["NAME", "PLUGIN", "RUNTIME", "PHASE", "READY", "RESTARTS", "AGE"], instance)
        }
        (Kind::PluginInstance, true) => (
            &[
                "NAME",
                "PLUGIN",
                "RUNTIME",
                "PHASE",
                "READY",
                "RESTARTS",
                "AGE",
                "TYPE",
                "VERSION",
                "IMAGE",
                "CONTAINER",
                "MOUNTS",
            ],
            instance_wide,
        ),
        (Kind::PluginRuntime, false) => (&["NAME", "OCI-RUNTIME", "REACHABLE", "INSTANCES"], runtime),
        (Kind::PluginRuntime, true) => {
            (&["NAME", "OCI-RUNTIME", "REACHABLE", "INSTANCES", "ENGINE", "VERSION", "API"], runtime_wide)
        }
    };
    let mut rows = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
    rows.extend(objects.iter().map(|object| row(object, now)));
    table::layout(&rows)
}

fn instance(object: &Value, now: Timestamp) -> Vec<String> {
    let slots: Vec<&Value> =
        slots(object).iter().filter(|slot| !text(slot, "/name").starts_with("spare-")).collect();
    let ready =
        slots.iter().filter(|slot| slot["mounts"].as_array().is_some_and(|mounts| !mounts.is_empty()));
    let restarts: u64 = slots.iter().filter_map(|slot| slot["restarts"].as_u64()).sum();
    let since = condition(object, "Accepted").and_then(|condition| time(condition, "/lastTransitionTime"));
    vec![
        text(object, "/metadata/name").to_owned(),
        or_none(text(object, "/spec/plugin/name")),
        or_none(text(object, "/spec/runtime")),
        or_none(text(object, "/status/phase")),
        format!("{}/{}", ready.count(), slots.len().max(1)),
        restarts.to_string(),
        since.map_or_else(|| "<unknown>".to_owned(), |since| age(since, now)),
    ]
}

fn instance_wide(object: &Value, now: Timestamp) -> Vec<String> {
    let mut row = instance(object, now);
    let slots = slots(object);
    let containers: Vec<&str> = slots.iter().map(|slot| text(slot, "/containerName")).collect();
    let mounts = object.pointer("/spec/mounts").and_then(Value::as_array).cloned().unwrap_or_default();
    let mounts: Vec<&str> = mounts.iter().map(|mount| text(mount, "/name")).collect();
    let tag = object.pointer("/spec/image/tag").and_then(Value::as_str).unwrap_or_else(|| {
        let version = text(object, "/spec/plugin/version");
        version.strip_prefix('v').unwrap_or(version)
    });
    row.extend([
        text(object, "/spec/plugin/type").to_owned(),
        text(object, "/spec/plugin/version").to_owned(),
        format!("{}:{tag}", text(object, "/spec/image/repository")),
        or_none(&containers.join(",")),
        or_none(&mounts.join(",")),
    ]);
    row
}

fn runtime(object: &Value, _: Timestamp) -> Vec<String> {
    vec![
        text(object, "/metadata/name").to_owned(),
        text(object, "/spec/ociRuntime").to_owned(),
        condition(object, "EngineReachable")
            .map_or("Unknown", |condition| text(condition, "/status"))
            .to_owned(),
        object.pointer("/status/instances").and_then(Value::as_u64).unwrap_or(0).to_string(),
    ]
}

fn runtime_wide(object: &Value, now: Timestamp) -> Vec<String> {
    let mut row = runtime(object, now);
    let host = text(object, "/spec/engine/host");
    row.extend([
        if host.is_empty() { "<default>".to_owned() } else { host.to_owned() },
        or_none(text(object, "/status/engine/version")),
        or_none(text(object, "/status/engine/apiVersion")),
    ]);
    row
}

fn slots(object: &Value) -> &[Value] {
    object.pointer("/status/slots").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn condition<'a>(object: &'a Value, condition: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|found| text(found, "/type") == condition)
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text.to_owned() }
}
