//! Finding a field in the schema of a kind.

use plugward_api::manifest;
use plugward_api::{Kind, schema};
use serde_json::{Map, Value};

use crate::cli::format;

/// A field of a kind, or the kind itself.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) kind: Kind,
    /// From the record down, without the kind.
    pub(super) path: Vec<String>,
    pub(super) schema: Value,
}

impl Field {
    /// Finds `KIND.FIELD.PATH`. Lists and maps are passed through: `instance.spec.mounts.name`.
    pub(super) fn find(text: &str) -> Result<Self, String> {
        let mut words = text.split('.');
        let kind = format::kind(words.next().unwrap_or_default())?;
        let root = whole(kind);
        let mut schema = &root;
        let mut path: Vec<String> = Vec::new();
        for word in words {
            let fields = fields(schema);
            let Some(found) = fields.and_then(|fields| fields.get(word)) else {
                return Err(unknown(kind, &root, &path, word, fields));
            };
            schema = found;
            path.push(word.to_owned());
        }
        Ok(Self { kind, path, schema: schema.clone() })
    }
}

/// What `KIND.FIELD.PATH` may go on with, for shells: each as it would be written as a whole.
pub(in crate::cli) fn continuations(text: &str) -> Vec<String> {
    let Some((before, begun)) = text.rsplit_once('.') else {
        let kinds = Kind::ALL.into_iter().map(Kind::bare).filter(|kind| kind.starts_with(text));
        return kinds.map(str::to_owned).collect();
    };
    let Ok(field) = Field::find(before) else { return Vec::new() };
    let names = fields(&field.schema).into_iter().flatten().map(|(name, _)| name);
    names.filter(|name| name.starts_with(begun)).map(|name| format!("{before}.{name}")).collect()
}

/// The fields of an object, or of the objects in a list or map.
pub(super) fn fields(schema: &Value) -> Option<&Map<String, Value>> {
    let fields = schema.get("properties").and_then(Value::as_object);
    fields.or_else(|| {
        let inner = schema.get("items").or_else(|| schema.get("additionalProperties"));
        inner.filter(|inner| inner.is_object()).and_then(self::fields)
    })
}

/// Whether the object that has this field must have it.
pub(super) fn required(schema: &Value, field: &str) -> bool {
    match schema.get("required").and_then(Value::as_array) {
        Some(required) => required.iter().any(|name| name == field),
        None => schema.get("items").is_some_and(|items| required(items, field)),
    }
}

/// What is written into a manifest, and what the controller says about it.
fn whole(kind: Kind) -> Value {
    let mut schema = schema::json_schema(kind);
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let mut status = schema::status(kind);
        remove_defaults(&mut status);
        fields.insert("status".to_owned(), status);
    }
    schema
}

/// What is told and not written has no defaults, although its reader fills in what is missing.
fn remove_defaults(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("default");
    }
    let inner = match schema {
        Value::Object(map) => map.values_mut().collect::<Vec<_>>(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    };
    inner.into_iter().for_each(remove_defaults);
}

fn unknown(
    kind: Kind,
    root: &Value,
    path: &[String],
    word: &str,
    fields: Option<&Map<String, Value>>,
) -> String {
    let place =
        [kind.bare().to_owned()].into_iter().chain(path.iter().cloned()).collect::<Vec<_>>().join(".");
    let mut elsewhere = Vec::new();
    find_named(root, word, kind.bare(), &mut elsewhere);
    // There may be dozens of a `name`.
    elsewhere.truncate(5);
    let Some(fields) = fields.filter(|_| elsewhere.is_empty()) else {
        let hint = if elsewhere.is_empty() {
            format!("it has no fields: see `plugward explain {place}`")
        } else {
            format!("did you mean {}?", elsewhere.join(", "))
        };
        return format!("{place} has no field {word:?} ({hint})");
    };
    format!(
        "{place} has no field {word:?} ({})",
        manifest::did_you_mean(word, fields.keys().map(String::as_str))
    )
}

/// Collects the paths of all fields that are called `word`.
fn find_named(schema: &Value, word: &str, at: &str, found: &mut Vec<String>) {
    for (name, inner) in fields(schema).into_iter().flatten() {
        let path = format!("{at}.{name}");
        if name == word {
            found.push(path.clone());
        }
        find_named(inner, word, &path, found);
    }
}
