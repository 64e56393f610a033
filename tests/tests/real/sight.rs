//! A controller whose directories its engine does not see: one in a container, or on another machine.

use std::path::Path;

use plugward::names::{cluster_selector, label};
use plugward_api::{InstanceCondition, Phase};
use plugward_engine::Engine as _;
use plugward_tests::real::{
    UserDirectory, World, counter, on_each_engine, on_the_rootless_engine, runtime, slot,
};
use serde_json::json;

/// What the program logs when it tries a container.
const TRIAL: &str = "try a container from";

/// How often a file of a container was read.
const READS: &str = "plugward_engine_calls_total{operation=\"read\",result=\"ok\"}";

fn trials(world: &World) -> usize {
    world.log().lines().filter(|line| line.contains(TRIAL)).count()
}

/// Waits until it is told that this directory is not seen, and sees that nothing was started.
async fn is_told_of(world: &World, directory: &Path) {
    let condition = InstanceCondition::RuntimeAvailable;
    let message = world.until_condition("counter", condition, "SocketDirectoryUnseen").await;
    let directory = directory.display();
    assert!(message.contains(&format!("docker run -v {directory}:{directory}")), "{message}");
    assert!(message.contains("--run-dir") && message.contains("engine.socketDirectory"), "{message}");
    world.settle().await;
    let status = world.status("counter").await.unwrap();
    assert_eq!((status.phase, status.slots.len()), (Phase::Pending, 0));
    assert!(world.containers().await.is_empty());
}

#[tokio::test]
async fn nothing_is_started_where_the_engine_does_not_see_the_run_directory() {
    on_each_engine(|world| async move {
        let plugins = world.sockets().join("plugins");
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.hide(&plugins, (0, 0));
        world.start().await;
        is_told_of(&world, &world.path("r")).await;

        // Another controller, with the directory mounted.
        world.terminate().await;
        world.hide_nothing();
        world.start().await;
        world.until_ready("counter").await;
        world.until_condition("counter", InstanceCondition::RuntimeAvailable, "Available").await;
    })
    .await;
}

#[tokio::test]
async fn a_socket_directory_that_the_engine_sees_takes_the_place_of_one_that_it_does_not() {
    on_each_engine(|world| async move {
        let [hidden, seen] = ["hidden", "seen"].map(|name| world.path(name));
        std::fs::create_dir(&seen).unwrap();
        let runtime = runtime(&world.engine.host);
        let with = |directory: &Path| runtime.clone().with("/spec/engine/socketDirectory", json!(directory));
        world.declare("runtime.yaml", &[with(&hidden)]);
        world.declare("counter.yaml", &[counter("counter")]);
        world.hide(&hidden, (0, 0));
        world.start().await;
        is_told_of(&world, &hidden).await;

        world.declare("runtime.yaml", &[with(&seen)]);
        let before = world.until_ready("counter").await;

        // What runs goes on.
        world.declare("runtime.yaml", &[with(&hidden)]);
        world.until_condition("counter", InstanceCondition::Progressing, "UpdateBlocked").await;
        world.settle().await;
        let status = world.status("counter").await.unwrap();
        assert_eq!((status.phase, &slot(&status).container_id), (Phase::Ready, &before.container_id));
    })
    .await;
}

#[tokio::test]
async fn a_rootless_engine_that_does_not_see_a_directory_is_told_of_too() {
    on_the_rootless_engine(|world| async move {
        let sockets = UserDirectory::new(&world.engine);
        let hidden = UserDirectory::new(&world.engine);
        let with = |directory: &Path| {
            runtime(&world.engine.host).with("/spec/engine/socketDirectory", json!(directory))
        };
        world.declare("runtime.yaml", &[with(hidden.path())]);
        world.declare("counter.yaml", &[counter("counter")]);
        world.hide(hidden.path(), world.engine.user());
        world.start().await;
        is_told_of(&world, hidden.path()).await;
        world.declare("runtime.yaml", &[with(sockets.path())]);
        world.until_ready("counter").await;
    })
    .await;
}

#[tokio::test]
async fn it_is_tried_once_for_all_plugins_and_a_plugin_that_is_adopted_proves_it() {
    on_each_engine(|world| async move {
        let names = ["one", "two", "three"];
        world.declare_runtime();
        world.declare("plugins.yaml", &names.map(counter));
        world.start().await;
        let mut before = Vec::new();
        for name in names {
            before.push(world.until_ready(name).await);
        }
        // All three may have been planned before the first had tried.
        let reads = world.metrics().await.get(READS);
        assert_eq!(reads, Some(1.0));
        let tried = trials(&world);

        world.kill().await;
        world.start().await;
        for (name, before) in names.iter().zip(&before) {
            assert_eq!(world.until_ready(name).await.container_id, before.container_id);
        }
        // That they are ready is remembered; the proof is that one of them speaks to this controller.
        let probed = async || world.metrics().await.total("plugward_plugin_probes_total") > 0;
        world.wait("an adopted plugin answers", async || probed().await.then_some(())).await;
        world.settle().await;
        world.declare("another.yaml", &[counter("another")]);
        world.until_ready("another").await;
        assert_eq!(trials(&world), tried);
    })
    .await;
}

#[tokio::test]
async fn what_a_trial_has_left_is_cleared_away_and_is_no_plugins() {
    on_each_engine(|world| async move {
        let mut labels = cluster_selector(&world.cluster);
        labels.insert(label::TRIAL.to_owned(), "true".to_owned());
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        let left = world.made(labels).await;
        world.start().await;
        world.until_ready("counter").await;
        world
            .wait("it is gone", async || {
                world.engine.port.inspect(left.as_str()).await.unwrap().is_none().then_some(())
            })
            .await;
        assert_eq!(world.containers().await.len(), 1);
    })
    .await;
}
