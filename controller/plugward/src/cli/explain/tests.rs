use super::field::Field;
use super::page;
use crate::cli::golden;

fn explained(text: &str, recursive: bool) -> String {
    page::write(&Field::find(text).unwrap(), recursive)
}

fn refused(text: &str) -> String {
    Field::find(text).unwrap_err()
}

#[test]
fn a_field_is_explained_as_kubectl_does() {
    golden::check("explain-instance.txt", &explained("instance", false));
    golden::check("explain-restart.txt", &explained("instance.spec.restart", false));
    golden::check("explain-pull-policy.txt", &explained("pi.spec.image.pullPolicy", false));
    golden::check("explain-mounts.txt", &explained("instances.spec.mounts", false));
    golden::check("explain-runtime-spec.txt", &explained("runtimes.spec", false));
    golden::check("explain-status.txt", &explained("runtime.status", false));
}

#[test]
fn all_fields_are_listed_recursively() {
    golden::check("explain-runtime-recursive.txt", &explained("runtime", true));
    golden::check("explain-instance-recursive.txt", &explained("instance", true));
}

#[test]
fn the_fields_of_what_is_listed_are_found_without_an_index() {
    assert!(explained("instance.spec.mounts.name", false).contains("FIELD: name <string>"));
    assert!(explained("instance.status.conditions.reason", false).contains("FIELD: reason <string>"));
}

#[test]
fn an_unknown_field_is_told_with_the_nearest_ones() {
    assert_eq!(
        refused("instance.spec.mount"),
        "instance.spec has no field \"mount\" (did you mean \"mounts\"?)"
    );
    assert_eq!(
        refused("runtime.spec.log.rotation"),
        "runtime.spec.log has no field \"rotation\" (use maxSize or maxFiles)"
    );
    assert_eq!(
        refused("instance.mounts"),
        "instance has no field \"mounts\" (did you mean instance.spec.mounts, instance.status.slots.mounts?)"
    );
    assert_eq!(
        refused("instance.spec.runtime.memory"),
        "instance.spec.runtime has no field \"memory\" (it has no fields: see `plugward explain instance.spec.runtime`)"
    );
}

#[test]
fn an_unknown_kind_is_told_with_the_known_ones() {
    assert_eq!(refused("pod.spec"), "expected instances or runtimes");
}
