//! `CustomResourceDefinition`s: the same records as objects of a Kubernetes cluster.

use serde_json::{Map, Value, json};

use crate::Kind;

/// The `CustomResourceDefinition` (`apiextensions.k8s.io/v1`) of a kind, with a structural schema.
///
/// It says what a structural schema can: unknown fields are pruned by the cluster instead of refused, and the form of
/// keys is not checked.
pub fn custom_resource_definition(kind: Kind) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.plugward.dev", kind.plural()) },
        "spec": {
            "group": "plugward.dev",
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": kind.plural(),
                "singular": kind.singular(),
                "shortNames": kind.short_names(),
                "categories": ["plugward"],
            },
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns(kind),
                "schema": { "openAPIV3Schema": object(kind) },
            }],
        },
    })
}

fn columns(kind: Kind) -> Value {
    match kind {
        Kind::PluginRuntime => json!([
            column("OCI Runtime", "string", ".spec.ociRuntime"),
            column("Engine", "string", ".status.engine.version"),
            column("Reachable", "string", r#".status.conditions[?(@.type=="EngineReachable")].status"#),
            column("Instances", "integer", ".status.instances"),
            column("Age", "date", ".metadata.creationTimestamp"),
        ]),
        Kind::PluginInstance => json!([
            column("Type", "string", ".spec.plugin.type"),
            column("Plugin", "string", ".spec.plugin.name"),
            column("Version", "string", ".spec.plugin.version"),
            column("Runtime", "string", ".spec.runtime"),
            column("Phase", "string", ".status.phase"),
            column("Ready", "string", r#".status.conditions[?(@.type=="Ready")].status"#),
            column("Age", "date", ".metadata.creationTimestamp"),
        ]),
    }
}

fn column(name: &str, column_type: &str, path: &str) -> Value {
    json!({ "name": name, "type": column_type, "jsonPath": path })
}

fn object(kind: Kind) -> Value {
    let mut schema = super::structure(kind).clone();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        // The cluster has rules of its own for these.
        properties.insert("apiVersion".to_owned(), json!({ "type": "string" }));
        properties.insert("kind".to_owned(), json!({ "type": "string" }));
        properties.insert("metadata".to_owned(), json!({ "type": "object" }));
        let mut status = super::status(kind);
        without_defaults(&mut status);
        properties.insert("status".to_owned(), status);
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("required".to_owned(), json!(["spec"]));
    }
    make_structural(&mut schema);
    schema
}

/// Nobody but the controller writes a status, and it writes all of it.
fn without_defaults(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("default");
    each_subschema(schema, without_defaults);
}

/// Keeps what a structural schema may say, and says the rest as Kubernetes does.
fn make_structural(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("examples");
    schema.remove("propertyNames");
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    // Formats of ours are unknown there; the patterns say the same.
    if schema.get("format").is_some_and(|format| format != "date-time" && format != "password") {
        schema.remove("format");
    }
    if schema.get("type") == Some(&json!(["integer", "string"])) {
        schema.remove("type");
        schema.insert("anyOf".to_owned(), json!([{ "type": "integer" }, { "type": "string" }]));
        schema.insert("x-kubernetes-int-or-string".to_owned(), true.into());
    }
    if schema.get("type") == Some(&json!("integer")) {
        schema.insert("format".to_owned(), "int64".into());
    }
    if schema.remove("uniqueItems").is_some() {
        schema.insert("x-kubernetes-list-type".to_owned(), "set".into());
    }
    if let Some(key) = list_key(schema) {
        schema.insert("x-kubernetes-list-type".to_owned(), "map".into());
        schema.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
        // A cluster accepts no key that an item may lack.
        let required =
            schema["items"].as_object_mut().map(|item| item.entry("required").or_insert_with(|| json!([])));
        if let Some(required) =
            required.and_then(Value::as_array_mut).filter(|fields| !fields.contains(&json!(key)))
        {
            required.push(json!(key));
        }
    }
    each_subschema(schema, make_structural);
}

fn each_subschema(schema: &mut Map<String, Value>, change: fn(&mut Value)) {
    for nested in ["items", "additionalProperties"] {
        schema.get_mut(nested).into_iter().for_each(change);
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(change);
}

/// The field by which the items of a list differ: no two mounts, slots or conditions have the same.
fn list_key(schema: &Map<String, Value>) -> Option<&'static str> {
    let item = schema.get("items")?.get("properties")?.as_object()?;
    if item.contains_key("lastTransitionTime") {
        return Some("type");
    }
    (item.contains_key("restarts") || item.keys().eq(["name"])).then_some("name")
}
