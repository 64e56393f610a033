//! The schemas of the records, for editors, clusters, and the manifest parser itself.

use std::sync::LazyLock;

use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform, transform_subschemas},
};
use serde_json::{Map, Value, json};

use crate::{API_VERSION, InstanceStatus, Kind, PluginInstance, PluginRuntime, RuntimeStatus};

mod crd;

pub use crd::custom_resource_definition;

static RUNTIME: LazyLock<Value> = LazyLock::new(generate::<PluginRuntime>);
static INSTANCE: LazyLock<Value> = LazyLock::new(generate::<PluginInstance>);

/// The schema that manifests are held to, without what only readers need.
pub(crate) fn structure(kind: Kind) -> &'static Value {
    match kind {
        Kind::PluginRuntime => &RUNTIME,
        Kind::PluginInstance => &INSTANCE,
    }
}

/// The JSON Schema (2020-12) of a manifest of one record.
pub fn json_schema(kind: Kind) -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("$id".to_owned(), format!("https://plugward.dev/schemas/v1alpha1/{kind}.json").into());
    schema.insert("title".to_owned(), kind.as_str().into());
    schema.extend(structure(kind).as_object().cloned().unwrap_or_default());
    schema.insert("examples".to_owned(), json!([example(kind)]));
    Value::Object(schema)
}

fn example(kind: Kind) -> Value {
    match kind {
        Kind::PluginRuntime => json!({
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": { "name": "gvisor" },
            "spec": {
                "ociRuntime": "runsc",
                "resources": { "cpu": "500m", "memory": "256Mi", "pids": 200 },
            },
        }),
        Kind::PluginInstance => json!({
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": { "name": "orders-db", "labels": { "team": "orders" } },
            "spec": {
                "plugin": { "type": "database", "name": "redis-database-plugin", "version": "v0.5.0" },
                "image": { "repository": "hashicorp/vault-plugin-database-redis" },
                "runtime": "gvisor",
                "mounts": [{ "name": "orders" }],
            },
        }),
    }
}

/// The schema of a type, as one value without references, in the small part of JSON Schema that the manifest parser
/// reads.
fn generate<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    RecursiveTransform(forbid_null).transform(&mut schema);
    RecursiveTransform(bound_integers).transform(&mut schema);
    RecursiveTransform(unwrap_lines).transform(&mut schema);
    enumerate_variants(&mut schema);
    schema.to_value()
}

/// The schema of what the controller says about a record.
pub fn status(kind: Kind) -> Value {
    match kind {
        Kind::PluginRuntime => generate::<RuntimeStatus>(),
        Kind::PluginInstance => generate::<InstanceStatus>(),
    }
}

/// An optional field may be left out; it may not be there without a value.
fn forbid_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type") != Some(&json!("null")));
    if let [Value::Object(one)] = choices.as_slice() {
        let one = one.clone();
        schema.remove("anyOf");
        for (keyword, value) in one {
            if schema.get(&keyword).is_none() {
                schema.insert(keyword, value);
            }
        }
    }
}

/// schemars writes the range of an integer type as a format that few programs know: it is written out.
fn bound_integers(schema: &mut Schema) {
    let most = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => Some(u32::MAX.into()),
        Some("uint64" | "int64") => Some(i64::MAX.into()),
        _ => return,
    };
    schema.remove("format");
    if let Some(most) = most.filter(|_| schema.get("maximum").is_none()) {
        let most: Value = most;
        schema.insert("maximum".to_owned(), most);
    }
}

/// A doc comment is broken into lines for its readers in the source; each paragraph becomes one line.
fn unwrap_lines(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        let paragraphs = description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *description = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
}

/// schemars writes the variants of a documented enum as alternatives; clusters want one list. What each variant means
/// becomes a part of the description.
fn enumerate_variants(schema: &mut Schema) {
    transform_subschemas(&mut enumerate_variants, schema);
    let Some(Value::Array(variants)) = schema.get("oneOf") else { return };
    let Some(variants) = variants
        .iter()
        .map(|variant| {
            Some((variant.get("const")?.clone(), variant.get("description")?.as_str()?.to_owned()))
        })
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let meanings: Vec<String> = variants
        .iter()
        .map(|(value, meaning)| format!("- `{}`: {meaning}", value.as_str().unwrap_or_default()))
        .collect();
    let summary = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!("{summary}\n\n{}", meanings.join("\n"));
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), variants.into_iter().map(|(value, _)| value).collect());
    schema.insert("description".to_owned(), description.into());
}

#[cfg(test)]
mod tests;
