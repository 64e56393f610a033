//! Records with their status, as Kubernetes shapes them.

use plugward_api::status::PullStatus;
use plugward_api::{InstanceStatus, Kind, Name, Record, RecordKey};
use serde_json::{Value, json};

use crate::engines::LinkStatus;
use crate::source::{Declared, FileState};
use crate::view::View;

/// Stands for a value that is not told.
pub const HIDDEN: &str = "<hidden>";

/// All records of a kind, sorted by name, and those that are going away.
pub(super) fn list(view: &View, kind: Kind) -> Value {
    let items: Vec<Value> = names(view, kind).iter().filter_map(|name| get(view, kind, name)).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// Their names.
pub(super) fn names(view: &View, kind: Kind) -> Vec<Name> {
    let mut names: Vec<Name> = view
        .records
        .keys()
        .into_iter()
        .filter(|key| key.kind == kind)
        .map(|key| key.name)
        .chain(match kind {
            Kind::PluginInstance => view.book.instances(),
            Kind::PluginRuntime => view.book.runtimes(),
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// One record.
pub(super) fn get(view: &View, kind: Kind, name: &Name) -> Option<Value> {
    let declared = view.records.get(&RecordKey { kind, name: name.clone() });
    let status = match kind {
        Kind::PluginInstance => view.book.instance(name).map(|mut status| {
            status.pull = pull(view, name, &status);
            json!(status)
        }),
        Kind::PluginRuntime => view.book.runtime(name).map(|status| json!(status)),
    };
    let mut object = match (&declared, kind) {
        (Some(declared), _) => declared_object(declared),
        // Used without being declared.
        (None, Kind::PluginRuntime) => {
            let built_in = plugward_api::PluginRuntime::built_in();
            (built_in.metadata.name == *name && status.is_some()).then(|| json!(built_in))?
        }
        // Its record is gone, and it is going.
        (None, Kind::PluginInstance) => {
            status.as_ref()?;
            json!({ "apiVersion": plugward_api::API_VERSION, "kind": kind.as_str(), "metadata": { "name": name } })
        }
    };
    if let (Some(status), Some(fields)) = (status, object.as_object_mut()) {
        fields.insert("status".to_owned(), status);
    }
    Some(object)
}

/// The pull of an instance's image, while it matters: one that failed does not where the image came some other way.
fn pull(view: &View, name: &Name, status: &InstanceStatus) -> Option<PullStatus> {
    let matters = status.conditions.iter().any(|condition| condition.reason == "PullFailed");
    view.engines.pull_status(name).filter(|pull| pull.error.is_none() || matters)
}

fn declared_object(declared: &Declared) -> Value {
    let mut object = match declared.record.as_ref() {
        Record::Instance(instance) => json!(instance),
        Record::Runtime(runtime) => json!(runtime),
    };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("generation".to_owned(), json!(declared.generation));
    }
    hide(object.pointer_mut("/spec/env"));
    hide_text(object.pointer_mut("/spec/handshake/cookieValue"));
    object
}

fn hide(values: Option<&mut Value>) {
    for value in values.and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
        *value = json!(HIDDEN);
    }
}

fn hide_text(value: Option<&mut Value>) {
    if let Some(value) = value {
        *value = json!(HIDDEN);
    }
}

/// All sessions, the first that came first.
pub(super) fn sessions(view: &View) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": view.sessions() })
}

/// How the controller and its engines stand.
pub(super) fn controller(view: &View) -> Value {
    let engine = |(host, status): (Option<String>, LinkStatus)| match status {
        LinkStatus::Connecting => json!({ "host": host, "state": "Connecting" }),
        LinkStatus::Up(info) => json!({
            "host": host, "state": "Up", "id": info.id.to_string(), "version": info.version, "apiVersion": info.api_version,
        }),
        LinkStatus::Down { since, message, .. } => {
            json!({ "host": host, "state": "Down", "since": since, "message": message })
        }
        LinkStatus::Alias(other) => json!({ "host": host, "state": "Alias", "of": other }),
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "synced": view.synced(),
        "engines": view.engines.statuses().into_iter().map(engine).collect::<Vec<_>>(),
    })
}

/// How the manifests stand.
pub(super) fn manifests(view: &View) -> Value {
    let report = view.reports.read();
    let directories: Vec<Value> = report
        .directories
        .iter()
        .map(|(path, directory)| {
            json!({
                "path": path,
                "problem": directory.problem.as_ref().map(ToString::to_string),
                "since": directory.since,
            })
        })
        .collect();
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|(path, file)| {
            json!({
                "path": path,
                "state": match file.state {
                    FileState::Good => "Good",
                    FileState::Bad => "Bad",
                    FileState::NotRead => "NotRead",
                    FileState::Gone => "Gone",
                },
                "problems": file.problems.iter().map(|problem| problem.describe().in_file(path).to_string()).collect::<Vec<_>>(),
                "records": file.records.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "lastGoodInForce": file.last_good_in_force,
                "since": file.since,
            })
        })
        .collect();
    json!({ "directories": directories, "files": files })
}
