use go_plugin::Handshake;
use plugward_api::{Record, manifest};

use super::*;

/// The recipe of a plugin of this type, with more of its record, on this OCI runtime.
fn recipe(plugin_type: &str, more: &str, oci_runtime: &str) -> ContainerRecipe {
    let manifest = format!(
        "{{ apiVersion: plugward.dev/v1alpha1, kind: PluginRuntime, metadata: {{ name: it }}, \
           spec: {{ ociRuntime: {oci_runtime} }} }}\n---\n\
         {{ apiVersion: plugward.dev/v1alpha1, kind: PluginInstance, metadata: {{ name: it }}, \
           spec: {{ plugin: {{ type: {plugin_type}, name: it, version: v1 }}, image: {{ repository: it }}, \
                    mounts: [{{ name: it }}], {more} }} }}"
    );
    let parsed =
        manifest::parse(manifest.as_bytes(), manifest::Format::Yaml, &manifest::Rules::default()).unwrap();
    let [runtime, instance] = parsed.try_into().ok().unwrap();
    let (Record::Runtime(runtime), Record::Instance(instance)) = (runtime.value, instance.value) else {
        panic!("other records")
    };
    ContainerRecipe::of(&instance.spec, &runtime.spec, &Files::default())
}

#[test]
fn a_connection_is_shared_where_that_is_asked_for_or_a_backend_runs_in_gvisor() {
    let custom = "handshake: { cookieKey: C, cookieValue: d, protocolVersions: [1] }, ";
    for (plugin_type, more, declared, oci_runtime, expected) in [
        ("secret", "", "Auto", "runsc", BrokerMode::PreferShared),
        ("auth", "", "Auto", "runsc", BrokerMode::PreferShared),
        ("secret", "", "Auto", "runc", BrokerMode::Sockets),
        ("secret", "", "Disabled", "runsc", BrokerMode::Sockets),
        ("secret", "", "Enabled", "runc", BrokerMode::Shared),
        ("database", "", "Auto", "runsc", BrokerMode::Sockets),
        ("custom", custom, "Auto", "runsc", BrokerMode::Sockets),
        ("custom", custom, "Enabled", "runsc", BrokerMode::Shared),
    ] {
        let more = format!("{more}brokerMultiplexing: {declared}");
        let recipe = recipe(plugin_type, &more, oci_runtime);
        assert_eq!(recipe.broker, expected, "{plugin_type} {declared} {oci_runtime}");
    }
}

#[test]
fn a_plugin_that_cannot_share_its_connection_does_not() {
    let handshake = |more: &str| Handshake::parse(format!("1|1|unix|/x|grpc|{more}").as_bytes()).unwrap();
    let (can, cannot, old) = (handshake("|true"), handshake("|false"), handshake(""));
    for mode in [BrokerMode::PreferShared, BrokerMode::Shared] {
        assert!(mode.is_shared(&can) && !mode.is_shared(&cannot) && !mode.is_shared(&old));
    }
    assert!(!BrokerMode::Sockets.is_shared(&can));
}

#[test]
fn what_a_user_writes_down_though_it_is_the_default_replaces_nothing() {
    let key = HashKey::new([7; 32]);
    let hash = |declared: &str, oci_runtime| recipe("secret", declared, oci_runtime).hash(&key);
    assert_eq!(hash("brokerMultiplexing: Disabled", "runc"), hash("", "runc"));
    assert_ne!(hash("brokerMultiplexing: Disabled", "runsc"), hash("", "runsc"));
}

#[test]
fn an_edit_of_the_runtime_is_told_from_one_of_the_instance() {
    let before = recipe("secret", "", "runc");
    assert!(recipe("secret", "", "crun").is_of_same_instance(&before));
    assert!(recipe("secret", "", "runsc").is_of_same_instance(&before), "which chooses another broker, too");
    for edit in ["env: { A: b }", "args: [x]", "command: [x]", "mlock: true", "brokerMultiplexing: Enabled"] {
        assert!(!recipe("secret", edit, "runc").is_of_same_instance(&before), "{edit}");
    }
}
