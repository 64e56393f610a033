//! Promise 5: only what is labelled ours is touched, and that only when it is known to be undeclared.

use std::collections::BTreeMap;
use std::fs;

use plugward::names::{ClusterId, label};
use plugward_engine::ContainerState;
use plugward_tests::real::{World, counter, on_each_engine};

#[tokio::test]
async fn containers_of_others_are_never_touched() {
    on_each_engine(|world| async move {
        let other = ClusterId::from_random(rand::random());
        // What looks like the declared instance's own, but for the cluster, or for all labels.
        let strangers = [
            world.stranger(ours(&other, "counter")).await,
            world.stranger(ours(&other, "undeclared")).await,
            world.stranger(BTreeMap::from([(label::INSTANCE.to_owned(), "counter".to_owned())])).await,
            world.stranger(BTreeMap::new()).await,
        ];
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start_with(&["--drain-on-exit"]).await;
        let first = world.until_ready("counter").await;
        world.engine.remove(first.container_id.as_deref().unwrap()).await;
        world.until_ready_again("counter", &first).await;
        world.remove("counter.yaml");
        world.until_gone("counter").await;
        world.settle().await;
        world.terminate().await;
        for stranger in &strangers {
            runs(&world, stranger).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_left_over_container_of_ours_is_removed_once_the_manifests_were_read() {
    on_each_engine(|world| async move {
        let left_over = world.stranger(ours(&world.cluster, "undeclared")).await;
        world.declare_runtime();
        world.start().await;
        world
            .wait("it is removed", async || world.containers_of("undeclared").await.is_empty().then_some(()))
            .await;
        world.settle().await;
        assert!(world.ask("/v1/instances/undeclared").await.is_none(), "{left_over}");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_removed_as_undeclared_while_the_manifests_are_missing() {
    on_each_engine(|world| async move {
        // A controller before this one left the engine's address, or nothing would be looked for there.
        world.declare_runtime();
        world.start().await;
        world.until_synced().await;
        world.terminate().await;
        let left_over = world.stranger(ours(&world.cluster, "undeclared")).await;
        let away = world.path("away");
        fs::rename(world.manifests(), &away).unwrap();
        world.start().await;
        world.wait("the missing directory is told", async || missing(&world).await).await;
        // The controller looks at what nobody declares, and looks again.
        let reconciles = async || world.metrics().await.total("plugward_reconcile_total");
        let before = reconciles().await;
        world.wait("it looks again", async || (reconciles().await >= before + 2).then_some(())).await;
        runs(&world, &left_over).await;

        fs::rename(&away, world.manifests()).unwrap();
        world
            .wait("it is removed", async || world.containers_of("undeclared").await.is_empty().then_some(()))
            .await;
    })
    .await;
}

/// The labels of a container of an instance.
fn ours(cluster: &ClusterId, instance: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::CLUSTER.to_owned(), cluster.to_string()),
        (label::INSTANCE.to_owned(), instance.to_owned()),
        (label::SLOT.to_owned(), "shared".to_owned()),
        (label::SPEC_HASH.to_owned(), "v1-0".to_owned()),
    ])
}

async fn runs(world: &World, id: &str) {
    let container = world.engine.container(id).await;
    assert!(matches!(container.state, ContainerState::Running { .. }), "{container:?}");
}

async fn missing(world: &World) -> Option<()> {
    let manifests = world.ask("/v1/manifests").await?;
    manifests["directories"][0]["problem"].is_string().then_some(())
}
