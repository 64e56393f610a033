//! Images that are missing, wrong, or move.

use plugward_api::{InstanceCondition, Phase};
use plugward_tests::real::{COUNTER, HOSTILE, Manifest, World, counter, on_each_engine, slot};
use serde_json::json;

#[tokio::test]
async fn a_plugin_waits_for_its_image_and_starts_when_it_appears() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[tagged(&world)]);
        world.start().await;
        let message =
            world.until_condition("counter", InstanceCondition::ImageVerified, "ImageNotFound").await;
        assert!(message.contains(&world.repository()), "{message}");
        assert_eq!(world.status("counter").await.unwrap().phase, Phase::Pending);
        assert_eq!(world.containers().await.len(), 0);

        world.tag(COUNTER, "1").await;
        let ready = world.until_ready("counter").await;
        assert_eq!((ready.restarts, ready.failures), (0, 0));
        let status = world.status("counter").await.unwrap();
        assert!(status.conditions.is_true(InstanceCondition::ImageVerified));
    })
    .await;
}

#[tokio::test]
async fn an_image_that_is_not_the_declared_one_never_runs() {
    on_each_engine(|world| async move {
        let id = world.engine.image_id(COUNTER).await;
        let wrong = world.engine.image_id(HOSTILE).await;
        world.declare_runtime();
        let declared = |sha256: &str| counter("counter").with("/spec/image/sha256", json!(sha256));
        world.declare("counter.yaml", &[declared(&wrong)]);
        world.start().await;
        let message =
            world.until_condition("counter", InstanceCondition::ImageVerified, "ImageMismatch").await;
        assert!(message.contains(&id) && message.contains(&wrong), "{message}");
        world.settle().await;
        assert_eq!(world.containers().await.len(), 0);
        assert!(!world.stored_path("counter").exists(), "no start was ever intended");

        // With and without the prefix.
        world.declare("counter.yaml", &[declared(id.strip_prefix("sha256:").unwrap())]);
        let ready = world.until_ready("counter").await;
        assert_eq!(world.container(&ready).await.image_id, id);
        world.until_condition("counter", InstanceCondition::ImageVerified, "Verified").await;

        // And back: what runs goes on.
        world.declare("counter.yaml", &[declared(&wrong)]);
        world.until_condition("counter", InstanceCondition::Progressing, "UpdateBlocked").await;
        world.settle().await;
        assert_eq!(slot(&world.status("counter").await.unwrap()).container_id, ready.container_id);
        assert_eq!(world.containers().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_tag_that_moves_is_told_and_replaces_nothing() {
    on_each_engine(|world| async move {
        world.tag(COUNTER, "1").await;
        world.declare_runtime();
        world.declare("counter.yaml", &[tagged(&world)]);
        world.start().await;
        let before = world.until_ready("counter").await;
        world.until_condition("counter", InstanceCondition::ImageOutdated, "Current").await;

        world.tag(HOSTILE, "1").await;
        let message = world.until_condition("counter", InstanceCondition::ImageOutdated, "TagMoved").await;
        assert!(message.contains(&world.repository()), "{message}");
        world.settle().await;
        let status = world.status("counter").await.unwrap();
        assert_eq!(status.phase, Phase::Ready);
        assert_eq!(slot(&status).container_id, before.container_id);

        world.tag(COUNTER, "1").await;
        world.until_condition("counter", InstanceCondition::ImageOutdated, "Current").await;
        assert_eq!(slot(&world.status("counter").await.unwrap()).container_id, before.container_id);
    })
    .await;
}

/// An instance of an image that only this test has.
fn tagged(world: &World) -> Manifest {
    counter("counter").with("/spec/image", json!({ "repository": world.repository(), "tag": "1" }))
}
