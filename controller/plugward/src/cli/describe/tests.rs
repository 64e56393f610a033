use serde_json::json;

use super::*;
use crate::cli::golden;

#[test]
fn an_instance_that_fails_is_told_with_its_last_words_its_limits_and_what_to_do() {
    let object = json!({
        "kind": "PluginInstance",
        "metadata": { "name": "orders", "generation": 2 },
        "spec": { "plugin": { "type": "database", "name": "redis", "version": "v1" }, "runtime": "gvisor" },
        "status": {
            "phase": "BackingOff",
            "slots": [{
                "name": "shared",
                "containerName": "plugward-orders-shared-abcde",
                "restarts": 2,
                "restartsByReason": { "exited": 2 },
                "backoffUntil": "2026-11-27T10:00:20Z",
                "lastExit": {
                    "reason": "exited", "code": 1, "message": "the container ended with code 1",
                    "finishedAt": "2026-11-27T09:59:50Z",
                    "output": ["{\"@level\":\"error\",\"@message\":\"no such cheese\",\"@timestamp\":\"2026-11-27T09:59:50Z\"}", "exit 1"],
                },
            }],
            "conditions": [
                { "type": "Accepted", "status": "True", "reason": "Accepted", "lastTransitionTime": "2026-11-27T09:00:00Z" },
                {
                    "type": "Ready", "status": "False", "reason": "BackingOff",
                    "lastTransitionTime": "2026-11-27T09:59:50Z",
                    "message": "slot shared is over (exited)",
                },
            ],
        },
    });
    let runtimes = [json!({
        "metadata": { "name": "gvisor" },
        "spec": { "resources": { "cpu": "500m", "memory": "128Mi", "pids": null } },
    })];
    let page = record(&object, &runtimes, &[], "2026-11-27T10:00:00Z".parse().unwrap(), Colours::Off);
    golden::check("describe-failing.txt", &page);
}

#[test]
fn an_instance_that_hosts_may_attach_to_says_who_may_and_how_many_have() {
    let instance = |attach| {
        let spec = json!({ "attach": attach });
        json!({ "kind": "PluginInstance", "metadata": { "name": "orders" }, "spec": spec })
    };
    let session = |name: &str| json!({ "spec": { "instance": name } });
    let sessions = [session("orders"), session("orders"), session("others")];
    let page = |attach| record(&instance(attach), &[], &sessions, Timestamp::UNIX_EPOCH, Colours::Off);
    let told = page(json!({ "enabled": true, "users": ["openbao", "7"], "maxSessions": 8 }));
    assert!(
        told.ends_with(
            "Attach:\n  Permitted:  user openbao, user 7\n  Sessions:   2 of 8 at the most\n  \
             Hosts:      `plugward host openbao orders` (or vault, generic) says what to give them\n"
        ),
        "{told}"
    );
    assert!(!page(json!({ "enabled": false })).contains("Attach:"));
}
