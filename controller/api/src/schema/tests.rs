use std::collections::BTreeSet;

use super::*;
use crate::manifest::{Format, Rules, parse};

/// Calls `visit` with each schema within a schema, and its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&Map<String, Value>, &str)) {
    let object = schema.as_object().unwrap_or_else(|| panic!("{path} is no schema: {schema}"));
    visit(object, path);
    for nested in ["items", "additionalProperties"] {
        if let Some(schema) = object.get(nested).filter(|schema| schema.is_object()) {
            walk(schema, &format!("{path}/{nested}"), visit);
        }
    }
    for (name, schema) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(schema, &format!("{path}/{name}"), visit);
    }
}

#[test]
fn the_schemas_are_schemas() {
    for kind in Kind::ALL {
        let schema = json_schema(kind);
        assert!(jsonschema::draft202012::meta::is_valid(&schema), "{kind}");
        let id = format!("https://plugward.dev/schemas/v1alpha1/{kind}.json");
        assert_eq!(schema["$id"], id.as_str());
    }
}

#[test]
fn every_field_is_described() {
    for kind in Kind::ALL {
        walk(structure(kind), kind.as_str(), &mut |schema, path| {
            let leaf = path.ends_with("/items") || path.ends_with("/additionalProperties");
            assert!(leaf || schema.contains_key("description"), "{path}");
        });
        walk(&status(kind), kind.as_str(), &mut |schema, path| {
            let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            for (name, field) in fields {
                assert!(field.get("description").is_some(), "{path}/{name}");
            }
        });
    }
}

#[test]
fn the_manifest_parser_understands_every_keyword_of_the_schemas() {
    let for_people = ["description", "default", "examples", "maxLength"];
    let understood: BTreeSet<&str> = crate::manifest::KEYWORDS.into_iter().chain(for_people).collect();
    for kind in Kind::ALL {
        walk(structure(kind), kind.as_str(), &mut |schema, path| {
            for keyword in schema.keys() {
                assert!(understood.contains(keyword.as_str()), "{path}: {keyword}");
            }
            // A length is told by the format of a text; patterns are too.
            for said_by_format in ["pattern", "maxLength"] {
                assert!(!schema.contains_key(said_by_format) || schema.contains_key("format"), "{path}");
            }
            let format = schema.get("format").and_then(Value::as_str);
            assert!(
                format.is_none_or(|format| format == "password" || crate::manifest::knows_format(format)),
                "{path}"
            );
            if schema.get("type") == Some(&json!("integer")) {
                assert!(schema.contains_key("minimum") && schema.contains_key("maximum"), "{path}");
            }
        });
    }
}

#[test]
fn the_examples_and_defaults_of_the_schemas_are_valid() {
    for kind in Kind::ALL {
        let schema = json_schema(kind);
        let manifest = schema["examples"][0].to_string();
        let records = parse(manifest.as_bytes(), Format::Json, &Rules::default());
        assert!(records.is_ok(), "{records:?}");
        walk(&schema, kind.as_str(), &mut |schema, path| {
            let validator = jsonschema::draft202012::new(&Value::Object(schema.clone())).unwrap();
            let examples = schema.get("examples").and_then(Value::as_array).into_iter().flatten();
            for value in examples.chain(schema.get("default")) {
                assert!(validator.is_valid(value), "{path}: {value}");
            }
        });
    }
}

#[test]
fn a_definition_for_a_cluster_says_only_what_structural_schemas_may() {
    let allowed = BTreeSet::from([
        "additionalProperties",
        "anyOf",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
    ]);
    for kind in Kind::ALL {
        let definition = custom_resource_definition(kind);
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(schema, kind.as_str(), &mut |schema, path| {
            for keyword in schema.keys() {
                assert!(allowed.contains(keyword.as_str()), "{path}: {keyword}");
            }
            let one_type = schema.get("type").is_some_and(Value::is_string);
            assert!(one_type || schema.contains_key("x-kubernetes-int-or-string"), "{path} has no type");
            for key in
                schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten()
            {
                let required = schema["items"]["required"].as_array();
                assert!(
                    required.is_some_and(|required| required.contains(key)),
                    "{path}: {key} is not required"
                );
            }
            let both = schema.contains_key("properties") && schema.contains_key("additionalProperties");
            assert!(!both, "{path} has properties and additionalProperties");
        });
    }
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_types() {
    let empty = json!({
        "apiVersion": API_VERSION, "kind": "PluginRuntime", "metadata": { "name": "default" }, "spec": {},
    });
    let read: PluginRuntime = serde_json::from_value(empty).unwrap();
    assert_eq!(read, PluginRuntime::built_in());
    let mut expected = serde_json::to_value(&read.spec).unwrap();
    for (name, schema) in
        structure(Kind::PluginRuntime)["properties"]["spec"]["properties"].as_object().unwrap()
    {
        let written = expected.as_object_mut().unwrap().remove(name);
        assert_eq!(schema.get("default"), written.as_ref(), "{name}");
    }
    assert_eq!(expected, json!({}));
}
