//! A field as `kubectl explain` shows it.

use std::fmt::Write;

use serde_json::Value;

use super::field::{Field, fields, required};

/// The width of a page.
const WIDTH: usize = 80;

pub(super) fn write(field: &Field, recursive: bool) -> String {
    let schema = &field.schema;
    let mut page = format!("KIND:       {}\nVERSION:    {}\n", field.kind, plugward_api::API_VERSION);
    if let Some(name) = field.path.last() {
        let _ = write!(page, "\nFIELD: {name} <{}>\n", type_of(schema));
    }
    if let Some(values) = values(schema) {
        page.push_str("ENUM:\n");
        for value in values {
            let _ = writeln!(page, "    {}", plain(value));
        }
    }
    if let Some(default) = default(schema) {
        let _ = write!(page, "DEFAULT:\n    {}\n", plain(default));
    }
    page.push_str("\nDESCRIPTION:\n");
    page.push_str(&wrap(description(schema), "    "));
    if fields(schema).is_some() {
        page.push_str("\nFIELDS:\n");
        list(&mut page, schema, "  ", recursive);
    }
    page
}

/// The fields of an object: with their meanings, or with their own fields.
fn list(page: &mut String, schema: &Value, indent: &str, recursive: bool) {
    for (name, field) in fields(schema).into_iter().flatten() {
        let required = if required(schema, name) { " -required-" } else { "" };
        let _ = writeln!(page, "{indent}{name}\t<{}>{required}", type_of(field));
        if let Some(values) = values(field) {
            let values: Vec<String> = values.iter().map(plain).collect();
            let _ = writeln!(page, "{indent}enum: {}", values.join(", "));
        }
        if let Some(default) = default(field) {
            let _ = writeln!(page, "{indent}default: {}", plain(default));
        }
        if recursive {
            list(page, field, &format!("{indent}  "), true);
        } else {
            // What each value means is told of the field itself.
            let summary = description(field).split("\n\n").next().unwrap_or_default();
            page.push_str(&wrap(summary, "    "));
            page.push('\n');
        }
    }
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or("<none>")
}

/// The default, unless it is one of several parts: those tell theirs.
fn default(schema: &Value) -> Option<&Value> {
    schema.get("default").filter(|value| !value.is_object() && !value.is_array())
}

/// The closed set of values, if it is one.
fn values(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("enum").and_then(Value::as_array)
}

fn type_of(schema: &Value) -> String {
    if let Some(format @ ("duration" | "quantity")) = schema.get("format").and_then(Value::as_str) {
        return format.to_owned();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => format!("[]{}", schema.get("items").map(type_of).unwrap_or_default()),
        Some("object") => match schema.get("additionalProperties").filter(|inner| inner.is_object()) {
            Some(inner) => format!("map[string]{}", type_of(inner)),
            None => "Object".to_owned(),
        },
        Some(name) => name.to_owned(),
        None => "Any".to_owned(),
    }
}

/// A value as it stands in a manifest.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        value => value.to_string(),
    }
}

/// Breaks paragraphs into lines. Those of a list hang below its dashes.
fn wrap(text: &str, indent: &str) -> String {
    let mut page = String::new();
    for (number, paragraph) in text.split("\n\n").enumerate() {
        if number > 0 {
            page.push('\n');
        }
        for item in paragraph.lines() {
            let hanging = if item.starts_with("- ") { "  " } else { "" };
            let mut line = indent.to_owned();
            let mut empty = true;
            for word in item.split_whitespace() {
                if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                    page.push_str(&line);
                    page.push('\n');
                    line = format!("{indent}{hanging}");
                    empty = true;
                }
                if !empty {
                    line.push(' ');
                }
                line.push_str(word);
                empty = false;
            }
            page.push_str(&line);
            page.push('\n');
        }
    }
    page
}
