//! plugward in a container, beside the containers that it manages.

use plugward_tests::real::{LIMIT, counter, on_each_engine};

#[tokio::test]
async fn a_controller_in_the_image_that_is_shipped_manages_its_siblings_and_its_successor_adopts_them() {
    on_each_engine(|world| async move {
        world.contain().await;
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let first = world.until_ready("counter").await;
        let Some(host) = world.generic_host("counter").await else { return };
        let increment = async |key| host.increment("counter", key, 1, Some(LIMIT)).await;
        assert_eq!(increment("a").await, Ok(1));
        world.engine.kill(first.container_id.as_deref().unwrap()).await;
        let seen = world.until_ready_again("counter", &first).await;
        assert_eq!(increment("b").await, Ok(1));

        assert_eq!(world.terminate().await.code, Some(0));
        world.start().await;
        let adopted = world.until_ready("counter").await;
        assert_eq!(adopted.container_id, seen.container_id);
        assert_eq!(increment("b").await, Ok(2));
        world.remove("counter.yaml");
        world.until_gone("counter").await;
        world.terminate().await;
    })
    .await;
}
