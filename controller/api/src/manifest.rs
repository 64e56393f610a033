//! Manifests: bytes in, records out, or everything that is wrong with them.
//!
//! The way of a file: text → `tree` of nodes that know their place → `shape`: is it of the form that the schema of
//! its kind describes → a typed record → [`crate::validate`]: rules across fields. Each step reports all it finds, and
//! the steps after it run on what is left, so that one reading tells everything there is to mend. A file with any
//! problem gives no records.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::{Kind, Place, Placed, Problem, Record, RecordKey, schema, validate};
use tree::{Data, Document, Node};

mod formats;
mod json;
mod nearest;
mod shape;
mod tree;
mod yaml;

pub use nearest::{find as nearest, hint as did_you_mean};

#[cfg(test)]
pub(crate) use formats::knows_format;
#[cfg(test)]
pub(crate) use shape::KEYWORDS;

/// The greatest size of a manifest, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// How deeply lists and mappings may be nested.
pub const MAX_DEPTH: usize = 64;
/// How many values a manifest may hold, those repeated by aliases included.
pub const MAX_NODES: usize = 100_000;
/// How many problems of a manifest are told.
pub const MAX_PROBLEMS: usize = 100;

/// How a manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, one document or more.
    Yaml,
    /// JSON, one value.
    Json,
}

/// What a manifest is held to beyond what it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The directory that mount sockets will lie in, as `DIRECTORY/INSTANCE/MOUNT.sock`. With it, a name that makes
    /// such a path too long for a Unix socket is a problem.
    pub mount_socket_directory: Option<PathBuf>,
}

/// Reads a manifest.
///
/// # Errors
///
/// All problems of the file, in the order of their places; a file with any gives no records. There are at most
/// [`MAX_PROBLEMS`] and one more that says so. Never panics, whatever the bytes are.
pub fn parse(bytes: &[u8], format: Format, rules: &Rules) -> Result<Vec<Placed<Record>>, Vec<Problem>> {
    let text = text_of(bytes).map_err(|problem| vec![problem])?;
    let (documents, mut problems) = match format {
        Format::Yaml => yaml::read(text),
        Format::Json => json::read(text),
    };
    if documents.is_empty() && problems.is_empty() {
        let what = if text.trim().is_empty() { "the file is empty" } else { "the file holds no records" };
        problems.push(Problem::new(what).help(
            "declare a PluginRuntime or a PluginInstance; to remove what it declared before, remove the file",
        ));
    }
    let mut records = Vec::new();
    let mut seen = HashMap::new();
    for (index, document) in documents.iter().enumerate() {
        if let Some(record) = read_record(document, rules, &mut problems) {
            let place = document.root.place;
            if let Some(problem) = repeated(&record.key(), document, &mut seen) {
                problems.push(problem);
            }
            records.push(Placed { value: record, place, document: index });
        }
    }
    if problems.is_empty() {
        return Ok(records);
    }
    problems.sort_by_key(|problem| problem.place);
    if problems.len() > MAX_PROBLEMS {
        let rest = problems.len() - MAX_PROBLEMS;
        problems.truncate(MAX_PROBLEMS);
        problems.push(Problem::new(format!("there are {rest} more problems")));
    }
    Err(problems)
}

/// The text of a file, if it is one.
fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > MAX_BYTES {
        return Err(Problem::new(format!(
            "the file has {} bytes, a manifest has at most {MAX_BYTES}",
            bytes.len()
        ))
        .help("split it into several files"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::new("the file is UTF-16").help("save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Problem::new("holds a NUL byte: the file is not text")
            .at(place_of(&bytes[..offset]))
            .help("save it as UTF-8 text"));
    }
    str::from_utf8(bytes).map_err(|error| {
        Problem::new("holds a byte that is not UTF-8")
            .at(place_of(&bytes[..error.valid_up_to()]))
            .help("save the file as UTF-8 text")
    })
}

/// The place that comes after `before`.
fn place_of(before: &[u8]) -> Place {
    let text = String::from_utf8_lossy(before);
    let (lines, last) =
        text.rsplit_once('\n').map_or((0, &*text), |(lines, last)| (lines.split('\n').count(), last));
    Place { line: lines + 1, column: last.chars().count() + 1 }
}

/// The record that a document declares. Problems are added to `problems`; a record is returned even then, if what is
/// left says its kind, but means nothing except for its key.
fn read_record(document: &Document, rules: &Rules, problems: &mut Vec<Problem>) -> Option<Record> {
    let kind = kind_of(&document.root, problems)?;
    let shaped = shape::check(&document.root, schema::structure(kind));
    problems.extend(shaped.problems);
    let record = match kind {
        Kind::PluginRuntime => serde_json::from_value(shaped.value).map(Record::Runtime),
        Kind::PluginInstance => serde_json::from_value(shaped.value).map(Record::Instance),
    };
    let record = match record {
        Ok(record) => record,
        Err(error) => {
            // The schema and the type are made from one definition, so this is for what neither foresaw.
            problems.push(Problem::new(error.to_string()).at(document.root.place));
            return None;
        }
    };
    for finding in validate::findings(&record, rules) {
        let clouded = |field: &String| shaped.broken.iter().any(|broken| overlap(broken, field));
        if !finding.fields.iter().any(clouded) {
            let field = finding.fields.first().map_or("", String::as_str);
            let mut problem =
                Problem::new(finding.message).at(nearest_place(&shaped.places, field, document));
            problem.help = finding.help;
            problems.push(problem.field(field));
        }
    }
    let named = !shaped.broken.iter().any(|broken| overlap(broken, "metadata.name"));
    named.then_some(record)
}

/// The kind that a document says it is.
fn kind_of(root: &Node, problems: &mut Vec<Problem>) -> Option<Kind> {
    let Data::Map(entries) = &root.data else {
        problems.push(
            Problem::new(format!("a record is a mapping, this is {}", root.data.describe()))
                .at(root.place)
                .help("begin with apiVersion, kind, metadata and spec; separate records by '---'"),
        );
        return None;
    };
    let Some(entry) = entries.iter().find(|entry| entry.key == "kind") else {
        problems.push(
            Problem::new("there is no kind")
                .at(root.place)
                .field("kind")
                .help("write kind: PluginRuntime or kind: PluginInstance"),
        );
        return None;
    };
    let Some(text) = entry.value.text() else {
        problems.push(
            Problem::new(format!("is {}, and a text is wanted", entry.value.data.describe()))
                .at(entry.value.place)
                .field("kind")
                .help("write kind: PluginRuntime or kind: PluginInstance"),
        );
        return None;
    };
    if let Ok(kind) = text.parse() {
        return Some(kind);
    }
    let known = Kind::ALL.map(Kind::as_str);
    let mut problem = Problem::new(format!("there is no kind {}", nearest::quoted(text)))
        .at(entry.value.place)
        .field("kind");
    problem.help = Some(if text == "List" {
        "write the items as documents of their own, separated by '---'".to_owned()
    } else {
        nearest::hint(text, known)
    });
    problems.push(problem);
    None
}

/// Whether a record of this key was declared before in the same file.
fn repeated(key: &RecordKey, document: &Document, seen: &mut HashMap<RecordKey, Place>) -> Option<Problem> {
    let place = document.root.at(&["metadata", "name"]).map_or(document.root.place, |node| node.place);
    if let Some(first) = seen.get(key) {
        let problem = Problem::new(format!("{key} is declared twice: first at {first}"));
        return Some(problem.at(place).field("metadata.name").help("rename or remove one of them"));
    }
    seen.insert(key.clone(), place);
    None
}

/// The place of a field, or of the nearest thing around it that the file has.
fn nearest_place(places: &HashMap<String, Place>, field: &str, document: &Document) -> Place {
    let mut field = field;
    loop {
        if let Some(place) = places.get(field) {
            return *place;
        }
        match field.rfind(['.', '[']) {
            Some(end) => field = &field[..end],
            None => return document.root.place,
        }
    }
}

/// Whether one of two paths leads through the other.
fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    within(one, other) || within(other, one)
}

// === impl Format ===

impl Format {
    /// The format that the name of a file says: JSON for `.json`, else YAML.
    pub fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("json") => Self::Json,
            _ => Self::Yaml,
        }
    }
}

#[cfg(test)]
mod tests;
