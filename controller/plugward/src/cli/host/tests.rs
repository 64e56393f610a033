use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;
use crate::cli::golden;

fn object(plugin: &Value, attach: &Value) -> Value {
    json!({ "metadata": { "name": "orders" }, "spec": { "plugin": plugin, "attach": attach } })
}

fn database() -> Value {
    object(
        &json!({ "type": "database", "name": "redis-database-plugin", "version": "v0.5.0" }),
        &json!({ "enabled": true, "users": ["openbao"], "groups": ["vaults"] }),
    )
}

fn launcher() -> Launcher {
    Launcher {
        path: "/usr/bin/plugward-attach".into(),
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
        for_everybody: true,
    }
}

fn known(object: &Value, run_directory: &str, cluster: Option<&str>) -> Known {
    let place = place(Path::new(run_directory), cluster);
    Known::new(&"orders".parse().unwrap(), object, launcher(), place).unwrap()
}

/// Whether a shell reads it. `sh -n` runs nothing.
fn is_a_script(text: &str) {
    let mut shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success(), "{text}");
}

#[test]
fn openbao_is_told_to_register_the_launcher_and_to_use_it() {
    let text = Server::OpenBao.told(&known(&database(), RUN_DIRECTORY, None), None).unwrap();
    is_a_script(&text);
    golden::check("host-openbao.txt", &text);
}

#[test]
fn a_launcher_that_would_not_find_the_controller_gets_arguments() {
    let known = known(&database(), "/srv/plug ward", Some("k3x9q2ab"));
    let directory = Path::new("/opt/openbao/plugins");
    let text = Server::OpenBao.told(&known, Some(directory)).unwrap();
    is_a_script(&text);
    golden::check("host-openbao-elsewhere.txt", &text);
    let text = generic::told(&known);
    assert!(
        text.contains(
            r#"exec.Command("/usr/bin/plugward-attach", "--run-dir", "/srv/plug ward", "--cluster-id", "k3x9q2ab", "orders")"#
        ),
        "{text}"
    );
}

#[test]
fn vault_is_told_of_what_is_in_the_way_and_how_to_mount_an_auth_method() {
    let mut object = object(
        &json!({ "type": "auth", "name": "vault-plugin-auth-jwt", "version": "v0.26.1" }),
        &json!({ "enabled": false }),
    );
    object["status"] = json!({ "conditions": [{
        "type": "ImageVerified", "status": "False", "reason": "ImageNotFound", "message": "the engine has no image jwt:0.26.1",
    }] });
    let text = Server::Vault.told(&known(&object, RUN_DIRECTORY, None), None).unwrap();
    is_a_script(&text);
    golden::check("host-vault.txt", &text);
}

#[test]
fn a_secrets_engine_is_mounted_at_the_name_of_its_instance() {
    let object =
        object(&json!({ "type": "secret", "name": "kv", "version": "v0.25.0" }), &json!({ "enabled": true }));
    let text = Server::OpenBao.told(&known(&object, RUN_DIRECTORY, None), None).unwrap();
    assert!(text.contains("\nbao secrets enable -path=orders -plugin-version=v0.25.0 kv\n"), "{text}");
    assert!(text.contains("# May attach: root and the controller's own user."), "{text}");
}

#[test]
fn a_launcher_that_is_in_the_directory_of_plugins_is_compared() {
    let directory = tempfile::tempdir().unwrap();
    let text = || {
        let known = known(&database(), RUN_DIRECTORY, None);
        Server::OpenBao.told(&known, Some(directory.path())).unwrap()
    };
    assert!(!text().contains("is there"), "{}", text());
    let file = directory.path().join("orders");
    std::fs::write(&file, "older").unwrap();
    assert!(text().contains("# What is there now is another file:\ninstall"), "{}", text());
    std::fs::write(&file, "abc").unwrap();
    assert!(text().contains("# It is there already:\n# install"), "{}", text());
}

#[test]
fn a_program_in_go_is_told_of_its_client_and_never_of_a_cookie() {
    let mut object = object(
        &json!({ "type": "custom", "name": "counter", "version": "v0.1.0" }),
        &json!({ "enabled": true, "users": ["1000"] }),
    );
    object["spec"]["handshake"] =
        json!({ "cookieKey": "COUNTER_PLUGIN", "cookieValue": "<hidden>", "protocolVersions": [1] });
    let known = known(&object, RUN_DIRECTORY, None);
    golden::check("host-generic.txt", &generic::told(&known));
    let refused = Server::OpenBao.told(&known, None).unwrap_err().to_string();
    assert!(refused.contains("plugward host generic orders"), "{refused}");
}

#[test]
fn a_plugin_of_openbao_has_a_cookie_that_everybody_knows() {
    let text = generic::told(&known(&database(), RUN_DIRECTORY, None));
    assert!(text.contains("\"926a0820-aea2-be28-51d6-83cdf00e8edb\",\n"), "{text}");
    assert!(text.contains("{5: pluginsV5, 6: pluginsV6}"), "{text}");
}

#[test]
fn an_instance_without_a_record_is_told_as_such() {
    let object = json!({ "metadata": { "name": "orders" } });
    let gone = Known::new(&"orders".parse().unwrap(), &object, launcher(), Vec::new());
    assert!(gone.err().unwrap().to_string().contains("was deleted"));
}
