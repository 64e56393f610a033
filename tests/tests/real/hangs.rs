//! A plugin that hangs gives no sign: only the probe finds it.

use plugward_api::SlotStatus;
use plugward_engine::ContainerState;
use plugward_tests::real::{GenericHost, LIMIT, World, counter, on_each_engine, restarts};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

#[tokio::test]
async fn a_plugin_whose_process_is_stopped_is_replaced() {
    on_each_engine(|world| async move {
        let (before, Some(host)) = probed(&world).await else { return };
        let ContainerState::Running { pid, .. } = world.container(&before).await.state else {
            panic!("it runs")
        };
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap();
        is_replaced(&world, &host, &before).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_whose_container_is_paused_is_replaced() {
    on_each_engine(|world| async move {
        let (before, Some(host)) = probed(&world).await else { return };
        let id = before.container_id.as_deref().unwrap();
        let (status, answer) = world.engine.api("POST", &format!("/containers/{id}/pause")).await;
        assert_eq!(status, 204, "{answer}");
        is_replaced(&world, &host, &before).await;
    })
    .await;
}

/// A plugin that is asked often whether it is well, and a host that has used it.
async fn probed(world: &World) -> (SlotStatus, Option<GenericHost>) {
    world.declare_runtime();
    let probe = json!({ "period": "500ms", "timeout": "500ms", "failureThreshold": 3 });
    world.declare("counter.yaml", &[counter("counter").with("/spec/probe", probe)]);
    world.start().await;
    let ready = world.until_ready("counter").await;
    let host = world.generic_host("counter").await;
    if let Some(host) = &host {
        assert_eq!(host.increment("counter", "a", 1, Some(LIMIT)).await, Ok(1));
    }
    (ready, host)
}

async fn is_replaced(world: &World, host: &GenericHost, before: &SlotStatus) {
    // The plugin may have this one when it is found to hang: it ends, with an answer of the next plugin or with why not.
    if let Err(failure) = host.increment("counter", "b", 1, Some(LIMIT)).await {
        assert!(failure.message.contains("the plugin died during this call"), "{failure:?}");
    }
    let after = world.until_ready_again("counter", before).await;
    assert_eq!(restarts(&after).get("unhealthy"), Some(&1), "{after:?}");
    assert_eq!(world.metrics().await.restarts("counter", "unhealthy"), Some(1.0));
    assert_eq!(host.increment("counter", "a", 1, Some(LIMIT)).await, Ok(1), "the next one answers");
    world.settle().await;
    assert_eq!(world.containers().await.len(), 1, "the one that hung is gone");
}
