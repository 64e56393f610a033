//! Updates under `Surge` that go wrong.

use plugward_api::{ConditionStatus, InstanceCondition, SlotStatus};
use plugward_engine::ContainerState;
use plugward_tests::real::{GenericHost, LIMIT, World, counter, on_each_engine};
use serde_json::{Value, json};

#[tokio::test]
async fn an_update_that_never_gets_ready_leaves_the_old_plugin_serving_and_healed() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let old = world.until_ready("counter").await;
        let Some(host) = world.generic_host("counter").await else { return };
        assert_eq!(host.increment("counter", "a", 7, Some(LIMIT)).await, Ok(7));

        let wrong = |args: Value| counter("counter").with("/spec/args", args);
        world.declare("counter.yaml", &[wrong(json!(["--no-such-option"]))]);
        let message = world.until_condition("counter", InstanceCondition::Progressing, "UpdateFailed").await;
        assert!(message.contains("did not become ready: exited"), "{message}");
        still_serves(&world, &host, &old).await;

        // Killed, it comes back as it was, and not as the record wants it.
        world.engine.kill(old.container_id.as_deref().unwrap()).await;
        assert_eq!(
            host.get("counter", "a", Some(LIMIT)).await,
            Ok(0),
            "a call waits for it, and finds it new"
        );
        assert_eq!(host.increment("counter", "a", 3, Some(LIMIT)).await, Ok(3));
        world.until_condition("counter", InstanceCondition::Progressing, "UpdateFailed").await;
        assert_eq!(host.get("counter", "a", Some(LIMIT)).await, Ok(3), "and it stays");

        // The right record ends it.
        world.declare("counter.yaml", &[wrong(json!(["--start-delay-ms", "1"]))]);
        let new = world.until_ready("counter").await;
        assert_eq!(new.failures, 0);
        assert_eq!(host.increment("counter", "a", 1, Some(LIMIT)).await, Ok(1));
        world
            .wait("the old container is gone", async || (world.containers().await.len() == 1).then_some(()))
            .await;
    })
    .await;
}

/// The record is not followed, and the plugin is able to serve, which its host sees.
async fn still_serves(world: &World, host: &GenericHost, old: &SlotStatus) {
    assert!(matches!(world.container(old).await.state, ContainerState::Running { .. }));
    assert_eq!(host.get("counter", "a", Some(LIMIT)).await, Ok(7), "the old process answers");
    let conditions = world.status("counter").await.unwrap().conditions;
    let status = |condition| conditions.get(condition).map(|found| found.status);
    assert_eq!(status(InstanceCondition::Progressing), Some(ConditionStatus::False));
    assert_eq!(status(InstanceCondition::Ready), Some(ConditionStatus::True), "{conditions:?}");
}
