use crate::{PluginRuntime, Redacted, instance::PluginInstanceSpec};

use super::*;

fn instance() -> PluginInstance {
    let spec: PluginInstanceSpec = serde_json::from_value(serde_json::json!({
        "plugin": { "type": "auth", "name": "jwt", "version": "v1.0.0" },
        "image": { "repository": "jwt" },
        "mounts": [{ "name": "main" }],
    }))
    .unwrap();
    PluginInstance { metadata: crate::Metadata::named("orders".parse().unwrap()), spec }
}

#[test]
fn the_built_in_runtime_breaks_no_rule() {
    assert_eq!(validate(&PluginRuntime::built_in().into(), &Rules::default()), []);
}

#[test]
fn a_record_made_by_hand_is_held_to_the_same_rules() {
    let mut instance = instance();
    assert_eq!(validate(&instance.clone().into(), &Rules::default()), []);
    instance.spec.env.insert("PLUGIN_CLIENT_CERT".parse().unwrap(), Redacted::from("x"));
    let problems = validate(&instance.into(), &Rules::default());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "spec.env.PLUGIN_CLIENT_CERT");
    assert_eq!(problems[0].place, None);
}

#[test]
fn a_socket_path_may_have_107_bytes_and_no_more() {
    let instance: Record = instance().into();
    let rules = |length: usize| Rules {
        mount_socket_directory: Some(
            format!("/{}", "d".repeat(length - 1 - "/orders/main.sock".len())).into(),
        ),
    };
    assert_eq!(validate(&instance, &rules(MAX_SOCKET_PATH)), []);
    let problems = validate(&instance, &rules(MAX_SOCKET_PATH + 1));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "spec.mounts[0].name");
    assert!(problems[0].message.contains("108 bytes, at most 107"), "{}", problems[0]);
    assert!(problems[0].message.contains("/orders/main.sock"), "{}", problems[0]);
}

#[test]
fn annotations_may_be_as_large_as_in_kubernetes() {
    let mut instance = instance();
    instance.metadata.annotations.insert("k".to_owned(), "v".repeat(MAX_ANNOTATIONS - 1));
    assert_eq!(validate(&instance.clone().into(), &Rules::default()), []);
    instance.metadata.annotations.insert("l".to_owned(), String::new());
    assert_eq!(validate(&instance.into(), &Rules::default())[0].field, "metadata.annotations");
}

#[test]
fn the_tag_is_the_given_one_or_the_version_without_its_v() {
    let mut instance = instance();
    assert_eq!(instance.spec.image_reference(), "jwt:1.0.0");
    instance.spec.plugin.version = "1.0.0+ent".parse().unwrap();
    assert_eq!(validate(&instance.clone().into(), &Rules::default())[0].field, "spec.image");
    instance.spec.image.tag = Some("1.0.0-ent".parse().unwrap());
    assert_eq!(instance.spec.image_reference(), "jwt:1.0.0-ent");
    assert_eq!(validate(&instance.into(), &Rules::default()), []);
}

#[test]
fn a_socket_directory_must_leave_room_for_a_socket() {
    let runtime = |length: usize| {
        let mut runtime = PluginRuntime::built_in();
        let path = format!("/{}", "d".repeat(length - 1));
        runtime.spec.engine.socket_directory = Some(path.parse().unwrap());
        runtime.into()
    };
    assert_eq!(validate(&runtime(90), &Rules::default()), []);
    let problems = validate(&runtime(91), &Rules::default());
    assert_eq!(problems[0].field, "spec.engine.socketDirectory");
    assert!(problems[0].message.contains("108 bytes, at most 107"), "{}", problems[0]);
}
