//! Promise 2: a file that cannot be used changes nothing that runs, and is told.

use std::fs;

use plugward_api::Phase;
use plugward_tests::real::{World, counter, on_each_engine, on_one_engine, slot};
use serde_json::json;

#[tokio::test]
async fn a_broken_file_changes_nothing_that_runs_even_over_a_restart_of_the_controller() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;

        world.write(
            "counter.yaml",
            "apiVersion: plugward.dev/v1alpha1\nkind: PluginInstance\nmetadata: {name: cou",
        );
        told(&world, "counter.yaml:3").await;
        world.settle().await;
        unchanged(&world, before.container_id.as_deref()).await;
        assert_eq!(world.metrics().await.get("plugward_manifest_errors"), Some(1.0));
        assert_eq!(world.metrics().await.get("plugward_manifest_files{state=\"invalid\"}"), Some(1.0));

        world.terminate().await;
        world.start().await;
        world.until_synced().await;
        told(&world, "counter.yaml:3").await;
        world.until_ready("counter").await;
        unchanged(&world, before.container_id.as_deref()).await;

        // It is not only left alone, it is looked after.
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        let healed = world.until_ready_again("counter", &before).await;

        world.declare("counter.yaml", &[counter("counter").with("/spec/env/FIXED", json!("1"))]);
        world.until_ready_again("counter", &healed).await;
        world
            .wait("the error is gone", async || {
                (world.metrics().await.get("plugward_manifest_errors") == Some(0.0)).then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_manifest_directory_that_is_missing_at_a_restart_removes_nothing() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        world.terminate().await;

        let away = world.path("away");
        fs::rename(world.manifests(), &away).unwrap();
        world.start().await;
        told(&world, &world.manifests().to_string_lossy()).await;
        world.until_readyz(200).await;
        // That it is healed shows that it was looked at, and not removed.
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        let healed = world.until_ready_again("counter", &before).await;

        fs::rename(&away, world.manifests()).unwrap();
        world.settle().await;
        unchanged(&world, healed.container_id.as_deref()).await;
    })
    .await;
}

#[tokio::test]
async fn a_manifest_directory_that_vanishes_removes_nothing() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        let away = world.path("away");
        fs::rename(world.manifests(), &away).unwrap();
        told(&world, &world.manifests().to_string_lossy()).await;
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        let healed = world.until_ready_again("counter", &before).await;
        fs::rename(&away, world.manifests()).unwrap();
        world.settle().await;
        unchanged(&world, healed.container_id.as_deref()).await;
    })
    .await;
}

#[tokio::test]
async fn an_unknown_field_is_told_with_its_place_and_the_nearest_known_one() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter").with("/spec/argz", json!(["x"]))]);
        world.start().await;
        told(&world, "args").await;
        world.settle().await;
        assert_eq!(world.containers().await.len(), 0);
        let listed = world.cli(&["get", "instances"]).await;
        assert_eq!(listed.code, Some(0));
        assert!(listed.stderr.contains("1 manifest file"), "{}", listed.stderr);
        let file = world.manifests().join("counter.yaml");
        let validated = world.cli(&["validate", &file.to_string_lossy()]).await;
        assert_eq!(validated.code, Some(1));
        let said = validated.stdout + &validated.stderr;
        assert!(said.contains("argz") && said.contains("args"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn of_two_files_with_one_name_the_first_keeps_it_until_it_goes() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("b.yaml", &[counter("counter")]);
        world.start().await;
        let first = world.until_ready("counter").await;
        world.declare("a.yaml", &[counter("counter").with("/spec/env/WHO", json!("a"))]);
        told(&world, "a.yaml").await;
        world.settle().await;
        unchanged(&world, first.container_id.as_deref()).await;

        world.remove("b.yaml");
        let second = world.until_ready_again("counter", &first).await;
        assert_eq!(second.restarts, 0, "it was an edit");
        assert_eq!(world.containers().await.len(), 1);
    })
    .await;
}

/// Waits until `plugward describe manifests` has an error with this phrase in it.
async fn told(world: &World, phrase: &str) {
    world
        .wait(&format!("the manifests' errors tell of {phrase:?}"), async || {
            let said = world.cli(&["describe", "manifests"]).await;
            let bad = world.metrics().await.get("plugward_manifest_errors")? > 0.0;
            (bad && said.stdout.contains(phrase)).then_some(())
        })
        .await;
}

/// The plugin is ready in this container, and was not restarted for this.
async fn unchanged(world: &World, container: Option<&str>) {
    let status = world.status("counter").await.unwrap();
    assert_eq!(status.phase, Phase::Ready);
    assert_eq!(slot(&status).container_id.as_deref(), container);
    assert_eq!(world.containers().await.len(), 1);
}
