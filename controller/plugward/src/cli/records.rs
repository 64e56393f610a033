//! Records and sessions as rows of a table.

use jiff::Timestamp;
use plugward_api::Kind;
use serde_json::Value;

use super::colours::Colours;
use super::format::{NONE, age, text, time};
use super::resource::Resource;
use super::{Failed, sort, table};

/// One column of a table.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Only with `-o wide`.
    wide: bool,
    cell: fn(&Value, Timestamp) -> String,
}

const fn narrow(title: &'static str, cell: fn(&Value, Timestamp) -> String) -> Column {
    Column { title, wide: false, cell }
}

const fn wide(title: &'static str, cell: fn(&Value, Timestamp) -> String) -> Column {
    Column { title, wide: true, cell }
}

const AGE: &str = "AGE";

const INSTANCE: &[Column] = &[
    narrow("NAME", |object, _| text(object, "/metadata/name").to_owned()),
    narrow("PLUGIN", |object, _| or_none(text(object, "/spec/plugin/name"))),
    narrow("RUNTIME", |object, _| or_none(text(object, "/spec/runtime"))),
    narrow("PHASE", |object, _| or_none(text(object, "/status/phase"))),
    narrow("READY", |object, _| ready(object)),
    narrow("RESTARTS", |object, _| {
        serving_slots(object).filter_map(|slot| slot["restarts"].as_u64()).sum::<u64>().to_string()
    }),
    narrow(AGE, |object, now| since(object).map_or_else(|| "<unknown>".to_owned(), |since| age(since, now))),
    wide("TYPE", |object, _| text(object, "/spec/plugin/type").to_owned()),
    wide("VERSION", |object, _| text(object, "/spec/plugin/version").to_owned()),
    wide("IMAGE", |object, _| image(object)),
    wide("CONTAINER", |object, _| joined(slots(object), "/containerName")),
    wide("MOUNTS", |object, _| joined(list(object, "/spec/mounts"), "/name")),
];

const RUNTIME: &[Column] = &[
    narrow("NAME", |object, _| text(object, "/metadata/name").to_owned()),
    narrow("OCI-RUNTIME", |object, _| text(object, "/spec/ociRuntime").to_owned()),
    narrow("REACHABLE", |object, _| {
        let reachable = condition(object, "EngineReachable");
        reachable.map_or("Unknown", |condition| text(condition, "/status")).to_owned()
    }),
    narrow("INSTANCES", |object, _| {
        object.pointer("/status/instances").and_then(Value::as_u64).unwrap_or(0).to_string()
    }),
    wide("ENGINE", |object, _| {
        let host = text(object, "/spec/engine/host");
        if host.is_empty() { "<default>".to_owned() } else { host.to_owned() }
    }),
    wide("VERSION", |object, _| or_none(text(object, "/status/engine/version"))),
    wide("API", |object, _| or_none(text(object, "/status/engine/apiVersion"))),
];

const SESSION: &[Column] = &[
    narrow("NAME", |object, _| text(object, "/metadata/name").to_owned()),
    narrow("INSTANCE", |object, _| text(object, "/spec/instance").to_owned()),
    narrow("PHASE", |object, _| or_none(text(object, "/status/phase"))),
    narrow("KIND", |object, _| or_none(text(object, "/status/kind"))),
    narrow("USER", |object, _| match text(object, "/status/user") {
        "" => number(object, "/status/uid"),
        name => name.to_owned(),
    }),
    narrow("PID", |object, _| number(object, "/status/pid")),
    narrow(AGE, |object, now| since(object).map_or_else(|| "<unknown>".to_owned(), |since| age(since, now))),
    wide("SLOT", |object, _| or_none(text(object, "/status/slot"))),
    wide("PROTOCOL", |object, _| number(object, "/status/protocolVersion")),
    wide("TLS", |object, _| yes_or_no(object, "/status/tls")),
    wide("BROKER", |object, _| match object.pointer("/status/brokerMultiplexing") {
        Some(Value::Bool(true)) => "Multiplexed".to_owned(),
        Some(Value::Bool(false)) => "Sockets".to_owned(),
        _ => NONE.to_owned(),
    }),
    wide("REQUESTS", |object, _| number(object, "/status/requests")),
];

/// The columns of a resource.
pub(super) fn columns(resource: impl Into<Resource>, with_wide: bool) -> Vec<&'static Column> {
    let all = match resource.into() {
        Resource::Record(Kind::PluginInstance) => INSTANCE,
        Resource::Record(Kind::PluginRuntime) => RUNTIME,
        Resource::Session => SESSION,
    };
    all.iter().filter(|column| with_wide || !column.wide).collect()
}

pub(super) fn titles(columns: &[&Column]) -> Vec<String> {
    columns.iter().map(|column| column.title.to_owned()).collect()
}

pub(super) fn row(columns: &[&Column], object: &Value, now: Timestamp) -> Vec<String> {
    columns.iter().map(|column| (column.cell)(object, now)).collect()
}

/// What of a row stays when only time goes on.
pub(super) fn without_age(columns: &[&Column], row: &[String]) -> Vec<String> {
    let kept = columns.iter().zip(row).filter(|(column, _)| column.title != AGE);
    kept.map(|(_, cell)| cell.clone()).collect()
}

/// The table of some objects of one resource.
pub(super) fn table(
    resource: impl Into<Resource>,
    with_wide: bool,
    objects: &[Value],
    now: Timestamp,
    colours: Colours,
) -> String {
    let columns = columns(resource, with_wide);
    let mut rows = vec![titles(&columns)];
    rows.extend(objects.iter().map(|object| row(&columns, object, now)));
    table::layout(&rows, colours)
}

/// Sorts objects of one resource by a column of theirs, shown or not, or by a path.
pub(super) fn sort(
    resource: impl Into<Resource>,
    objects: &mut [Value],
    by: &str,
    now: Timestamp,
) -> Result<(), Failed> {
    let resource = resource.into();
    if sort::is_path(by) {
        return sort::by_path(objects, by);
    }
    let all = columns(resource, true);
    let Some(column) = all.iter().find(|column| column.title.eq_ignore_ascii_case(by)) else {
        let titles: Vec<String> = all.iter().map(|column| column.title.to_ascii_lowercase()).collect();
        let message = format!(
            "--sort-by {by}: {}s have no such column (use {}, or a path like .metadata.name)",
            resource.bare(),
            titles.join(", ")
        );
        return Err(message.into());
    };
    let begun = |object: &Value| if column.title == AGE { since(object) } else { None };
    sort::by_cells(objects, |object| (column.cell)(object, now), begun);
    Ok(())
}

fn ready(object: &Value) -> String {
    // Of one that only hosts use which attach, a container is ready before there are any.
    let attached_only = list(object, "/spec/mounts").is_empty();
    let serves = |slot: &&Value| {
        let used = slot["mounts"].as_array().is_some_and(|mounts| !mounts.is_empty());
        used || attached_only && slot.get("readyAt").is_some()
    };
    format!("{}/{}", serving_slots(object).filter(serves).count(), serving_slots(object).count().max(1))
}

fn image(object: &Value) -> String {
    let tag = object.pointer("/spec/image/tag").and_then(Value::as_str).unwrap_or_else(|| {
        let version = text(object, "/spec/plugin/version");
        version.strip_prefix('v').unwrap_or(version)
    });
    format!("{}:{tag}", text(object, "/spec/image/repository"))
}

/// When the record was taken in, or the session began.
fn since(object: &Value) -> Option<Timestamp> {
    let accepted = condition(object, "Accepted");
    accepted.map_or_else(
        || time(object, "/metadata/creationTimestamp"),
        |condition| time(condition, "/lastTransitionTime"),
    )
}

fn slots(object: &Value) -> &[Value] {
    list(object, "/status/slots")
}

/// Slots, without those that stand by.
fn serving_slots(object: &Value) -> impl Iterator<Item = &Value> {
    slots(object).iter().filter(|slot| !text(slot, "/name").starts_with("spare-"))
}

/// A condition of an object.
pub(super) fn condition<'a>(object: &'a Value, condition: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|found| text(found, "/type") == condition)
}

/// Whether a condition has this status.
pub(super) fn is(object: &Value, name: &str, status: &str) -> bool {
    condition(object, name).is_some_and(|condition| text(condition, "/status") == status)
}

/// A list in an object, or an empty one.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn joined(objects: &[Value], pointer: &str) -> String {
    let texts = objects.iter().map(|object| text(object, pointer)).filter(|text| !text.is_empty());
    or_none(&texts.collect::<Vec<_>>().join(","))
}

/// A number in an object.
fn number(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_u64)
        .map_or_else(|| NONE.to_owned(), |number| number.to_string())
}

fn yes_or_no(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer).and_then(Value::as_bool) {
        Some(true) => "Yes".to_owned(),
        Some(false) => "No".to_owned(),
        None => NONE.to_owned(),
    }
}

fn or_none(text: &str) -> String {
    if text.is_empty() { NONE.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
