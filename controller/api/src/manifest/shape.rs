//! Whether a tree has the form that a schema describes.
//!
//! The schema is the one that is published: what is checked here, and what an editor or a cluster checks, come from
//! one definition. It is read as we make it, a small part of JSON Schema; a test fails when it grows past that.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::{
    MAX_PROBLEMS,
    formats::{Check, SECRET, format},
    nearest::{self, alternatives, quoted},
    tree::{Data, Entry, Node},
};
use crate::{Place, Problem};

/// What a tree was found to be.
pub(super) struct Shaped {
    /// A value that the schema allows: what is in the tree, with what is wrong left out or, where it is required,
    /// replaced by an example. So the rules that come after can run, and find more, whatever is wrong here.
    pub(super) value: Value,
    /// The fields that the value does not have from the tree.
    pub(super) broken: BTreeSet<String>,
    /// Where each field is.
    pub(super) places: HashMap<String, Place>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
}

/// The keywords that are understood here. The rest of a schema is for people and other programs.
#[cfg(test)]
pub(crate) const KEYWORDS: [&str; 14] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "items",
    "enum",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "minItems",
    "uniqueItems",
    // Said again by the format, which has the better message.
    "pattern",
];

/// Compares a tree to a schema.
pub(super) fn check(root: &Node, schema: &Value) -> Shaped {
    let mut walk =
        Walk { root: schema, broken: BTreeSet::new(), places: HashMap::new(), problems: Vec::new() };
    let value = walk.node(root, schema, "").unwrap_or_else(|| example(schema));
    Shaped { value, broken: walk.broken, places: walk.places, problems: walk.problems }
}

struct Walk<'s> {
    root: &'s Value,
    broken: BTreeSet<String>,
    places: HashMap<String, Place>,
    problems: Vec<Problem>,
}

/// The path of a field of `parent`.
fn child(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match (parent, plain) {
        ("", true) => key.to_owned(),
        (_, true) => format!("{parent}.{key}"),
        (_, false) => format!("{parent}[{}]", quoted(key)),
    }
}

fn keyword<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    schema.get(name)
}

fn words(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What checks the texts that a schema allows.
fn check_of(schema: &Value) -> Option<Check> {
    keyword(schema, "format").and_then(Value::as_str).and_then(format)
}

/// The types that a schema allows.
fn types(schema: &Value) -> Vec<&str> {
    match keyword(schema, "type") {
        Some(Value::String(one)) => vec![one],
        many => words(many),
    }
}

/// A value that a schema allows.
fn example(schema: &Value) -> Value {
    let listed = |name| keyword(schema, name).and_then(Value::as_array).and_then(|list| list.first());
    if let Some(value) = keyword(schema, "default").or_else(|| listed("examples")).or_else(|| listed("enum"))
    {
        return value.clone();
    }
    match types(schema).first() {
        Some(&"object") => {
            let required = words(keyword(schema, "required"));
            let fields = required.into_iter().filter_map(|name| {
                let schema = schema.get("properties")?.get(name)?;
                Some((name.to_owned(), example(schema)))
            });
            Value::Object(fields.collect())
        }
        Some(&"array") => Value::Array(Vec::new()),
        Some(&"integer") => keyword(schema, "minimum").cloned().unwrap_or_else(|| 0.into()),
        Some(&"boolean") => false.into(),
        _ => "example".into(),
    }
}

/// The whole number that a number is, however it was written.
fn whole(number: &str) -> Option<i128> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let parsed = match (digits.strip_prefix("0x"), digits.strip_prefix("0o")) {
        (Some(hex), _) => i128::from_str_radix(hex, 16),
        (_, Some(octal)) => i128::from_str_radix(octal, 8),
        _ => digits.parse(),
    };
    parsed.ok().map(|number| sign * number)
}

// === impl Walk ===

impl<'s> Walk<'s> {
    fn report(&mut self, place: Place, field: &str, message: impl Into<String>, help: Option<String>) {
        let mut problem = Problem::new(message).at(place).field(field);
        problem.help = help;
        self.problems.push(problem);
    }

    /// Checks one node: its value, unless it can't be used.
    fn node(&mut self, node: &Node, schema: &'s Value, path: &str) -> Option<Value> {
        self.places.insert(path.to_owned(), node.place);
        let types = types(schema);
        let value = match &node.data {
            Data::Map(entries) if types.contains(&"object") => Some(self.map(node, entries, schema, path)),
            Data::List(items) if types.contains(&"array") => self.list(node, items, schema, path),
            Data::Text(text) if types.contains(&"string") => self.text(node, text, schema, path),
            Data::Bool(value) if types.contains(&"boolean") => Some((*value).into()),
            Data::Number(number) if types.contains(&"integer") && whole(number).is_some() => {
                self.number(node, whole(number)?, schema, path)
            }
            _ => {
                self.wrong_type(node, schema, path);
                None
            }
        };
        if value.is_none() {
            self.broken.insert(path.to_owned());
        }
        value
    }

    fn map(&mut self, node: &Node, entries: &[Entry], schema: &'s Value, path: &str) -> Value {
        let known = keyword(schema, "properties").and_then(Value::as_object);
        let free = keyword(schema, "additionalProperties").filter(|values| values.is_object());
        let key_format = keyword(schema, "propertyNames").and_then(|names| names.get("format")?.as_str());
        let mut value = Map::new();
        for entry in entries {
            let field = child(path, &entry.key);
            if let Some(schema) = known.and_then(|known| known.get(&entry.key)) {
                if let Some(read) = self.node(&entry.value, schema, &field) {
                    value.insert(entry.key.clone(), read);
                }
            } else if let Some(schema) = free {
                let invalid = key_format.and_then(format).and_then(|check| check(&entry.key).err());
                let read = self.node(&entry.value, schema, &field);
                if let Some(invalid) = invalid {
                    self.broken.insert(field.clone());
                    self.report(
                        entry.key_place,
                        &field,
                        invalid.message(),
                        invalid.mend().map(str::to_owned),
                    );
                } else if let Some(read) = read {
                    value.insert(entry.key.clone(), read);
                }
            } else {
                self.unknown_field(entry, known, path, &field);
            }
        }
        for name in words(keyword(schema, "required")) {
            if value.contains_key(name) {
                continue;
            }
            let Some(schema) = known.and_then(|known| known.get(name)) else { continue };
            let field = child(path, name);
            if self.broken.insert(field.clone()) {
                let near = entries.iter().any(|entry| {
                    !known.is_some_and(|known| known.contains_key(&entry.key))
                        && nearest::find(&entry.key, [name]).is_some()
                });
                // A misspelt field was told already, with the right name.
                if !near {
                    self.report(
                        node.place,
                        &field,
                        "is required, and is not there",
                        Some(needed(name, schema)),
                    );
                }
            }
            value.insert(name.to_owned(), example(schema));
        }
        Value::Object(value)
    }

    fn unknown_field(&mut self, entry: &Entry, known: Option<&Map<String, Value>>, path: &str, field: &str) {
        let key = &entry.key;
        let help = match (path, key.as_str()) {
            ("metadata", "namespace") => {
                "records of plugward have no namespace: a machine holds one set of them; remove it".to_owned()
            }
            ("", "status") => {
                "status is what the controller says, not what a manifest does; remove it".to_owned()
            }
            (
                "metadata",
                "creationTimestamp" | "deletionTimestamp" | "finalizers" | "generateName" | "generation"
                | "managedFields" | "ownerReferences" | "resourceVersion" | "selfLink" | "uid",
            ) => "it is for objects in a Kubernetes cluster; remove it".to_owned(),
            // Looking for what was meant takes time; nobody reads so many hints.
            _ if self.problems.len() > MAX_PROBLEMS => String::new(),
            _ => {
                let names: Vec<&str> =
                    known.into_iter().flat_map(|known| known.keys().map(String::as_str)).collect();
                let near = nearest::find(key, names.iter().copied());
                let homes = homes(self.root, key);
                match (near, homes.as_slice()) {
                    (None, [home]) if home.is_empty() => {
                        "it is a field of the record itself: look at the indentation".to_owned()
                    }
                    (None, [home]) => format!("it is a field of {home}: look at the indentation"),
                    (None, _) => format!("use {}", alternatives(names)),
                    (Some(near), _) => format!("did you mean {near:?}?"),
                }
            }
        };
        self.report(entry.key_place, field, format!("there is no field {}", quoted(key)), Some(help));
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'s Value, path: &str) -> Option<Value> {
        let least = keyword(schema, "minItems").and_then(Value::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            let help =
                keyword(schema, "items").map(|item| format!("like {}", Value::Array(vec![example(item)])));
            self.report(node.place, path, "is an empty list", help);
            return None;
        }
        let unique = keyword(schema, "uniqueItems").is_some_and(|unique| *unique == Value::Bool(true));
        let item_schema = keyword(schema, "items")?;
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let field = format!("{path}[{index}]");
            let Some(value) = self.node(item, item_schema, &field) else {
                // The others keep their numbers.
                values.push(example(item_schema));
                continue;
            };
            if unique {
                let first = *seen.entry(value.to_string()).or_insert(index);
                if first != index {
                    let message = format!("{value} is there twice: first as {path}[{first}]");
                    self.report(item.place, &field, message, Some("remove one of them".to_owned()));
                }
            }
            values.push(value);
        }
        Some(Value::Array(values))
    }

    fn text(&mut self, node: &Node, text: &str, schema: &'s Value, path: &str) -> Option<Value> {
        if keyword(schema, "enum").is_some() {
            let known = words(keyword(schema, "enum"));
            if !known.contains(&text) {
                let message = format!("{} is not one of its values", quoted(text));
                self.report(node.place, path, message, Some(nearest::hint(text, known)));
                return None;
            }
        }
        let least = keyword(schema, "minLength").and_then(Value::as_u64).unwrap_or(0);
        if (text.chars().count() as u64) < least {
            self.report(node.place, path, "is empty", Some("give it a value".to_owned()));
            return None;
        }
        if let Some(invalid) = check_of(schema).and_then(|check| check(text).err()) {
            self.report(node.place, path, invalid.message(), invalid.mend().map(str::to_owned));
            return None;
        }
        Some(text.into())
    }

    fn number(&mut self, node: &Node, number: i128, schema: &'s Value, path: &str) -> Option<Value> {
        if types(schema).contains(&"string") {
            // A quantity without a suffix.
            return self.text(node, &number.to_string(), schema, path);
        }
        let bound = |name| keyword(schema, name).and_then(Value::as_i64).map(i128::from);
        if let Some(least) = bound("minimum").filter(|least| number < *least) {
            self.report(node.place, path, format!("is {number}, at least {least} is wanted"), None);
            return None;
        }
        if let Some(most) = bound("maximum").filter(|most| number > *most) {
            self.report(node.place, path, format!("is {number}, at most {most} is wanted"), None);
            return None;
        }
        i64::try_from(number).ok().map(Value::from)
    }

    fn wrong_type(&mut self, node: &Node, schema: &'s Value, path: &str) {
        let types = types(schema);
        let secret = keyword(schema, "format").and_then(Value::as_str) == Some(SECRET);
        let wanted = alternatives(types.iter().map(|name| match *name {
            "object" => "a mapping",
            "array" => "a list",
            "boolean" => "true or false",
            "integer" => "a whole number",
            _ => "a text",
        }));
        let (message, help) = match &node.data {
            Data::Null => ("has no value".to_owned(), Some("give it one, or remove the line".to_owned())),
            Data::Number(_) | Data::Bool(_) if types.contains(&"string") && secret => {
                ("is not a text".to_owned(), Some("put it in quotes".to_owned()))
            }
            Data::Number(number) if types.contains(&"string") => {
                match check_of(schema).and_then(|check| check(number).err()) {
                    // What would not be right in quotes either needs another mend.
                    Some(invalid) => (invalid.message().to_owned(), invalid.mend().map(str::to_owned)),
                    None => (
                        format!("is {}, and {wanted} is wanted", node.data.describe()),
                        Some(format!("quote it: \"{number}\"")),
                    ),
                }
            }
            Data::Bool(value) if types.contains(&"string") => {
                (format!("is {value}, and {wanted} is wanted"), Some(format!("quote it: \"{value}\"")))
            }
            Data::Text(text) if types.contains(&"integer") && whole(text).is_some() => (
                format!("is the text {}, and {wanted} is wanted", quoted(text)),
                Some(format!("remove the quotes: {text}")),
            ),
            Data::Text(text) if types.contains(&"boolean") => {
                let help = match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" | "y" => "write true, without quotes",
                    "false" | "no" | "off" | "n" => "write false, without quotes",
                    _ => "write true or false",
                };
                (format!("is the text {}, and {wanted} is wanted", quoted(text)), Some(help.to_owned()))
            }
            data => {
                let help = match types.first() {
                    Some(&"array") => {
                        Some("begin each item with '- ', or put them in brackets: [one, two]".to_owned())
                    }
                    Some(&"object") => {
                        Some("write NAME: VALUE on a line for each, further in than this".to_owned())
                    }
                    _ => None,
                };
                (format!("is {}, and {wanted} is wanted", data.describe()), help)
            }
        };
        self.report(node.place, path, message, help);
    }
}

/// How to write a field that is missing.
fn needed(name: &str, schema: &Value) -> String {
    let values = words(keyword(schema, "enum"));
    match (types(schema).first(), values.as_slice()) {
        (_, [_, ..]) => format!("write {name}: {}", alternatives(values)),
        (Some(&"object"), _) if keyword(schema, "required").is_some() => {
            format!("write {name}: with {}", words(keyword(schema, "required")).join(", "))
        }
        (Some(&"object"), _) => format!("write {name}: {{}} when every default is right"),
        _ => format!("like {name}: {}", example(schema)),
    }
}

/// The fields that have a field of this name; the record itself has the empty path.
fn homes(schema: &Value, name: &str) -> Vec<String> {
    fn search(schema: &Value, name: &str, path: &str, found: &mut Vec<String>) {
        let Some(properties) = keyword(schema, "properties").and_then(Value::as_object) else {
            if let Some(items) = keyword(schema, "items") {
                search(items, name, path, found);
            }
            return;
        };
        for (key, schema) in properties {
            if key == name {
                found.push(path.to_owned());
            }
            search(schema, name, &child(path, key), found);
        }
    }
    let mut found = Vec::new();
    search(schema, name, "", &mut found);
    found
}
