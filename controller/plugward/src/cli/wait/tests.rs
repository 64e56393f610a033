use serde_json::json;

use super::*;

fn orders(generation: u64, without: &[&str]) -> Awaited {
    let without = without.iter().map(|&name| name.to_owned()).collect();
    Awaited {
        kind: Kind::PluginInstance,
        name: "orders".parse().unwrap(),
        until: Until::Works { generation, without },
    }
}

fn object(generation: u64, observed: u64, phase: &str, conditions: &[(&str, &str, &str)]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(name, status, message)| {
            json!({ "type": name, "status": status, "reason": format!("{name}Reason"), "message": message })
        })
        .collect();
    json!({
        "metadata": { "generation": generation },
        "status": {
            "phase": phase, "observedGeneration": observed, "conditions": conditions,
            "slots": [{ "name": "shared", "containerName": "new" }],
        },
    })
}

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn an_instance_works_when_what_was_asked_for_is_read_and_ready() {
    let judge = |object| orders(3, &["old"]).judge(Ok(Some(object)));
    let ready = [("Ready", "True", "")];
    assert_eq!(judge(object(2, 2, "Ready", &ready)), Standing::OnItsWay("not read yet".into()));
    assert_eq!(judge(object(3, 2, "Ready", &ready)), Standing::OnItsWay("not looked at yet".into()));
    assert_eq!(judge(object(3, 3, "Updating", &ready)), Standing::OnItsWay("Updating".into()));
    assert_eq!(
        judge(object(3, 3, "Ready", &[("Ready", "False", "x")])),
        Standing::OnItsWay("Ready: ReadyReason: x".into())
    );
    assert_eq!(judge(object(3, 3, "Ready", &ready)), Standing::Done("Ready".into()));
    assert_eq!(judge(object(3, 3, "Idle", &ready)), Standing::Done("Idle".into()));
    let stays = orders(3, &["new"]).judge(Ok(Some(object(3, 3, "Ready", &ready))));
    assert_eq!(stays, Standing::OnItsWay("Ready".into()), "the container that is to go serves");
    assert_eq!(orders(3, &[]).judge(Ok(None)), Standing::OnItsWay("not read yet".into()));
}

#[test]
fn what_is_not_accepted_is_not_waited_for_and_what_may_come_is() {
    let refused = object(3, 3, "Pending", &[("Accepted", "False", "spec.x is not supported")]);
    let standing = orders(3, &[]).judge(Ok(Some(refused)));
    assert_eq!(
        orders(3, &[]).failure(&standing, LIMIT).unwrap(),
        "plugininstance/orders cannot work: Pending: AcceptedReason: spec.x is not supported; change its manifest; \
         `plugward describe instance orders` shows more"
    );
    let missing = object(3, 3, "Pending", &[("ImageVerified", "False", "image a:1 is not on the engine")]);
    let standing = orders(3, &[]).judge(Ok(Some(missing)));
    assert_eq!(
        orders(3, &[]).failure(&standing, LIMIT).unwrap(),
        "plugininstance/orders does not work after 60 s: Pending: ImageVerifiedReason: image a:1 is not on the engine; \
         `plugward describe instance orders` shows more, a longer --timeout waits on"
    );
}

#[test]
fn a_controller_that_does_not_answer_may_be_restarted() {
    let answer = orders(1, &[]).judge(Err(ClientError::TimedOut));
    assert!(matches!(answer, Standing::OnItsWay(_)), "{answer:?}");
}

#[test]
fn what_is_deleted_is_gone_when_nobody_knows_it() {
    let gone = Awaited { until: Until::Gone, ..orders(1, &[]) };
    assert_eq!(
        gone.judge(Ok(Some(object(1, 1, "Terminating", &[])))),
        Standing::OnItsWay("Terminating".into())
    );
    assert_eq!(gone.judge(Ok(None)), Standing::Done("gone".into()));
    let built_in = json!({ "metadata": { "name": "default" }, "status": {} });
    let going = gone.judge(Ok(Some(built_in.clone())));
    assert!(matches!(going, Standing::OnItsWay(_)), "an instance without a record is going");
    let runtime = Awaited { kind: Kind::PluginRuntime, ..gone };
    assert_eq!(runtime.judge(Ok(Some(built_in))), Standing::Done("gone".into()));
    let declared = object(1, 1, "", &[]);
    assert!(matches!(runtime.judge(Ok(Some(declared))), Standing::OnItsWay(_)));
}

#[test]
fn a_runtime_works_when_its_engine_answers_and_knows_it() {
    let runtime = Awaited {
        kind: Kind::PluginRuntime,
        name: "runc".parse().unwrap(),
        until: Until::Works { generation: 1, without: Vec::new() },
    };
    let judge = |conditions: &[(&str, &str, &str)]| runtime.judge(Ok(Some(object(1, 1, "", conditions))));
    let reachable = ("EngineReachable", "True", "");
    assert_eq!(judge(&[reachable, ("RuntimeAvailable", "True", "")]), Standing::Done("Available".into()));
    let unknown = judge(&[reachable, ("RuntimeAvailable", "False", "no runc")]);
    assert_eq!(unknown, Standing::OnItsWay("RuntimeAvailableReason: no runc".into()));
    let standing = judge(&[("EngineReachable", "False", "refused")]);
    assert_eq!(runtime.line(&standing), "pluginruntime/runc: EngineReachableReason: refused");
}

#[test]
fn a_plugins_words_do_not_move_the_cursor() {
    let standing = Standing::OnItsWay("BackingOff: \x1b[2Jgone".into());
    assert!(!orders(1, &[]).line(&standing).contains('\x1b'));
    assert!(!orders(1, &[]).failure(&standing, LIMIT).unwrap().contains('\x1b'));
}
