//! The matrix of `deploy/compatibility.md`: HashiCorp's own plugin, called back by way of its broker, for each engine, OCI runtime and
//! user, with its memory locked or not. `hack/matrix` prints what became of it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use plugward_api::{ConditionStatus, InstanceCondition, InstanceStatus, Phase, SlotStatus};
use plugward_engine::container::{LogRotation, Resources, Security};
use plugward_engine::{ContainerSpec, ContainerState, Created, Engine as _};
use plugward_tests::real::{
    CallbackHost, ContainerUser, HostOptions, Instance, LIMIT, MatrixOutcome, MatrixRow, UserDirectory,
    World, on_every_engine, slot, write_matrix,
};
use rustix::fs::getxattr;
use serde_json::Value;

const LONG: Option<Duration> = Some(LIMIT);

/// What is said of a runtime while it is only on its way.
const PASSING: [&str; 2] = ["EngineUnreachable", "RuntimeNotFound"];

#[tokio::test]
async fn each_case_of_the_matrix_works_or_is_refused_before_a_container_starts() {
    on_every_engine(&MatrixRow::IMAGES, |world| async move {
        let info = world.engine.port.info().await.unwrap();
        let sockets = info.rootless.then(|| UserDirectory::new(&world.engine));
        world.start().await;
        let mut outcomes = Vec::new();
        for row in MatrixRow::all(&world.engine).await {
            let Some(outcome) = outcome(&world, &row, sockets.as_ref()).await else { return };
            outcomes.push((row, outcome));
        }
        write_matrix(&world.engine, &outcomes);
        for (row, outcome) in &outcomes {
            let limited = info.memlock_limit.is_some() && row.mlock && row.is_on_the_machines_kernel();
            match outcome {
                MatrixOutcome::Works { .. } => assert!(!limited, "{row} works, although memory is limited"),
                MatrixOutcome::Refused { reason, message } => {
                    assert!(limited && reason == "MemlockLimited", "{row} is refused: {message}");
                    for advice in ["LimitMEMLOCK=infinity", "ociRuntime: runsc", "mlock: false"] {
                        assert!(message.contains(advice), "{message}");
                    }
                    assert_eq!(locks_nothing(&world, row).await, 1, "{row}: it would have worked");
                }
                MatrixOutcome::Failed(what) => panic!("{row}: {what}"),
            }
        }
    })
    .await;
}

/// Declares the plugin of a row, sees what becomes of it, and removes it. `None` where there is no Go.
async fn outcome(
    world: &Arc<World>,
    row: &MatrixRow,
    sockets: Option<&UserDirectory>,
) -> Option<MatrixOutcome> {
    world.declare("row.yaml", &row.records(&world.engine, sockets));
    let settled = world.wait(&format!("{row} has an outcome"), async || decided(world, row).await).await;
    let outcome = match settled {
        Ok(seen) => works(world, row, &seen).await?,
        Err(outcome) => outcome,
    };
    if let MatrixOutcome::Refused { .. } = outcome {
        assert!(world.containers_of(&row.name).await.is_empty(), "{row} is refused, and has a container");
    }
    world.remove("row.yaml");
    world.until_gone(&row.name).await;
    Some(outcome)
}

/// The slot that is ready, or what became of it instead.
async fn decided(world: &World, row: &MatrixRow) -> Option<Result<SlotStatus, MatrixOutcome>> {
    let status = world.status(&row.name).await?;
    let runtime = status.conditions.get(InstanceCondition::RuntimeAvailable)?;
    if runtime.status == ConditionStatus::False && !PASSING.contains(&&*runtime.reason) {
        let (reason, message) = (runtime.reason.to_string(), runtime.message.to_string());
        return Some(Err(MatrixOutcome::Refused { reason, message }));
    }
    if status.phase == Phase::BackingOff {
        let exit = slot(&status).last_exit.as_ref()?;
        let what = format!("{} {} {}", exit.reason.as_str(), exit.message, exit.output.join(" "));
        return Some(Err(MatrixOutcome::Failed(what)));
    }
    let is_ready = status.phase == Phase::Ready && slot(&status).container_id.is_some();
    is_ready.then(|| Ok(slot(&status).clone()))
}

/// Calls the plugin, which calls its host back, kills it, and calls it again, as HashiCorp's own tests do but for the kill.
async fn works(world: &World, row: &MatrixRow, seen: &SlotStatus) -> Option<MatrixOutcome> {
    let how = means(world, row, seen).await;
    let host = CallbackHost::start(&world.reattach(&row.name).await, &HostOptions::default())?;
    let only = Instance::only(&row.name);
    for (key, delta, expected) in [("hello", 1, 1), ("hello", 2, 3), ("world", 2, 2)] {
        let answer = host.increment(only, key, delta, LONG).await;
        if answer != Ok(expected) {
            return Some(MatrixOutcome::Failed(format!("{key} is {answer:?}, not {expected}")));
        }
    }
    world.engine.kill(seen.container_id.as_deref().unwrap()).await;
    world.until_ready_again(&row.name, seen).await;
    let answer = host.increment(only, "hello", 1, LONG).await;
    Some(match answer {
        Ok(4) => MatrixOutcome::Works { how },
        other => MatrixOutcome::Failed(format!("after a restart hello is {other:?}, not 4")),
    })
}

/// What a container has, that its plugin works.
async fn means(world: &World, row: &MatrixRow, seen: &SlotStatus) -> Vec<&'static str> {
    let id = seen.container_id.as_deref().unwrap();
    let (_, found) = world.engine.api("GET", &format!("/containers/{id}/json")).await;
    let host_config = &found["HostConfig"];
    let has = |field: &str, word: &str| host_config[field].to_string().contains(word);
    assert_eq!(host_config["CapDrop"], serde_json::json!(["ALL"]), "{row}");

    let mut how = vec![if row.is_on_the_machines_kernel() { "sockets" } else { "one connection" }];
    if host_config["GroupAdd"].as_array().is_some_and(|groups| !groups.is_empty()) {
        how.push("shared group");
    }
    let shared = world.shared_directory(seen).await;
    if getxattr(&shared, "system.posix_acl_default", &mut [0; 64][..]).is_ok() {
        assert!(has("CapAdd", "DAC_OVERRIDE"), "{row}: {host_config}");
        how.push("ACL");
    }
    how.extend(lock(row, &found));

    // Off where a program has to gain its capability, and nowhere else.
    let gains = row.mlock && row.user == ContainerUser::NonRoot;
    assert_eq!(has("SecurityOpt", "no-new-privileges"), !gains, "{row}: {host_config}");
    let status = world.status(&row.name).await.unwrap();
    assert_eq!(reason(&status), gains.then_some("MlockNeedsFileCapabilities"), "{row}");
    if gains {
        how.push("no-new-privileges off");
    }
    if row.is_on_the_machines_kernel() {
        assert_eq!(kernel_says(&found, "NoNewPrivs"), if gains { "0" } else { "1" }, "{row}");
    }
    how
}

/// Of a plugin that locks its memory, how it may.
fn lock(row: &MatrixRow, container: &Value) -> Vec<&'static str> {
    if !row.mlock {
        return Vec::new();
    }
    let capability = match row.user {
        ContainerUser::Root => "IPC_LOCK",
        ContainerUser::NonRoot => "IPC_LOCK of the file",
    };
    let locks = kernel_says(container, "VmLck") != "0 kB";
    assert!(locks || !row.is_on_the_machines_kernel(), "{row}: nothing is locked");
    vec![capability, if locks { "memory is locked" } else { "memory is not locked on the machine" }]
}

fn reason(status: &InstanceStatus) -> Option<&str> {
    status.conditions.get(InstanceCondition::NoNewPrivileges).map(|condition| &*condition.reason)
}

/// What this machine's kernel says of a container's first process.
fn kernel_says(container: &Value, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", container["State"]["Pid"])).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

/// The exit code of the plugin of a row, started past the controller with all that could let it lock its memory.
async fn locks_nothing(world: &World, row: &MatrixRow) -> i64 {
    let spec = ContainerSpec {
        image: row.image().to_owned(),
        entrypoint: Vec::new(),
        args: Vec::new(),
        env: [("BASIC_PLUGIN", "hello"), ("MLOCK", "true")].map(|(k, v)| (k.into(), v.into())).into(),
        labels: [].into(),
        oci_runtime: row.oci_runtime.to_owned(),
        network: "none".to_owned(),
        resources: Resources::default(),
        binds: Vec::new(),
        log: LogRotation { max_size_bytes: 1 << 20, max_files: 1 },
        groups: Vec::new(),
        capabilities: vec!["IPC_LOCK".to_owned()],
        security: Security { no_new_privileges: false, ..Security::default() },
        tmpfs: Vec::new(),
        cgroup_parent: None,
    };
    let port = &world.engine.port;
    let name = format!("matrix-{:08x}", rand::random::<u32>());
    let Created::Created { id, .. } = port.create(&name, &spec).await.unwrap() else {
        panic!("{name} is taken")
    };
    port.start(&id).await.unwrap();
    let code = world
        .wait("it ends", async || match world.engine.container(id.as_str()).await.state {
            ContainerState::Exited(exit) => Some(exit.code),
            _ => None,
        })
        .await;
    world.engine.remove(id.as_str()).await;
    code
}
