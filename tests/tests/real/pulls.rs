//! Images that engines pull, from a registry that is slow, closed, cut or wrong.

use std::sync::Arc;

use plugward_api::image::PullPolicy;
use plugward_api::{InstanceCondition, InstanceStatus, Phase, SlotStatus};
use plugward_tests::real::{
    COUNTER, Flow, HOSTILE, Manifest, PASSWORD, Published, Registry, World, counter, on_each_engine,
    restarts, slot, write_helper,
};
use serde_json::json;

/// A repository.
const NAME: &str = "team/plugin";

/// Bytes of a layer: enough to see it come.
const SIZE: usize = 6 << 20;

/// An instance of an image in a registry.
fn pulled(name: &str, registry: &Registry, policy: PullPolicy) -> Manifest {
    let repository = registry.repository(NAME);
    counter(name).with("/spec/image", json!({ "repository": repository, "tag": "1", "pullPolicy": policy }))
}

/// Puts an image into the registry, to be taken from the engine at the end.
async fn publish(world: &World, registry: &Registry, tag: &str, bytes: usize) -> Published {
    world.take_away(&format!("{}:{tag}", registry.repository(NAME)));
    let published = registry.publish(&world.engine, NAME, tag, bytes).await;
    // Where a tag moves on, it is left without a name.
    world.take_away(&published.id);
    published
}

/// Starts a controller that knows the registry's password, and is to run what the registry has.
async fn start(world: &World, registry: &Registry, policy: PullPolicy) {
    world.configure_docker(&registry.login(PASSWORD));
    world.declare_runtime();
    world.declare("counter.yaml", &[pulled("counter", registry, policy)]);
    world.start().await;
}

/// How many pulls ended so (`ok`, or a cause).
async fn pulls(world: &World, result: &str) -> Option<f64> {
    let series = format!("plugward_engine_calls_total{{operation=\"pull\",result=\"{result}\"}}");
    world.metrics().await.get(&series)
}

fn reasons(status: &InstanceStatus) -> Vec<&str> {
    status.events.iter().map(|event| &*event.reason).collect()
}

async fn kill(world: &World, slot: &SlotStatus) {
    world.engine.kill(slot.container_id.as_deref().unwrap()).await;
}

async fn image_of(world: &World, slot: &SlotStatus) -> String {
    world.container(slot).await.image_id
}

#[tokio::test]
async fn an_image_that_is_not_there_is_pulled_and_how_far_that_is_can_be_seen() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        let published = publish(&world, &registry, "1", SIZE).await;
        registry.set(Flow::Slow(2 << 20));
        start(&world, &registry, PullPolicy::IfNotPresent).await;
        let status = world
            .until("counter", "is half pulled", |status| {
                status.pull.as_ref().is_some_and(|pull| pull.bytes > 0 && pull.bytes < pull.total_bytes)
            })
            .await;
        let pull = status.pull.unwrap();
        assert!(pull.total_bytes >= SIZE as u64 && pull.layers_done < pull.layers, "{pull:?}");
        let said = world.cli(&["describe", "instance", "counter"]).await.stdout;
        for part in ["Pull:\n", "Progress:", " MiB", " layers\n", "is being pulled"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        world.until_condition("counter", InstanceCondition::ImageVerified, "Pulling").await;
        assert_eq!(world.status("counter").await.unwrap().phase, Phase::Pending);

        registry.set(Flow::Open);
        let ready = world.until_ready("counter").await;
        assert_eq!(image_of(&world, &ready).await, published.id);
        let status = world.status("counter").await.unwrap();
        assert_eq!(status.pull, None);
        let told = reasons(&status);
        assert!(told.contains(&"Pulling") && told.contains(&"Pulled"), "{told:?}");
        assert_eq!(pulls(&world, "ok").await, Some(1.0));
        // What is there is not pulled for another start, whether the registry is there or not.
        registry.set(Flow::Closed);
        kill(&world, &ready).await;
        world.until_ready_again("counter", &ready).await;
        // And another policy replaces nothing.
        let ready = world.until_ready("counter").await;
        world.declare("counter.yaml", &[pulled("counter", &registry, PullPolicy::Never)]);
        assert_eq!(world.until_ready("counter").await.container_id, ready.container_id);
        assert_eq!(pulls(&world, "ok").await, Some(1.0));
    })
    .await;
}

#[tokio::test]
async fn credentials_come_from_dockers_configuration_and_its_helpers() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        publish(&world, &registry, "1", 1 << 10).await;
        let helpers = world.path("helpers");
        std::fs::create_dir(&helpers).unwrap();
        let path = std::env::var("PATH").unwrap();
        world.set_variable("PATH", &format!("{}:{path}", helpers.display()));
        world.configure_docker(&json!({}));
        let declared = |edit: u32| {
            let hold = json!({ "maxRequests": edit });
            pulled("counter", &registry, PullPolicy::IfNotPresent).with("/spec/hold", hold)
        };
        let failed = async |world: &Arc<World>, words: &str| {
            let failed = |status: &InstanceStatus| {
                status
                    .conditions
                    .get(InstanceCondition::ImageVerified)
                    .is_some_and(|found| found.reason == "PullFailed" && found.message.contains(words))
            };
            world.until("counter", &format!("cannot be pulled: {words}"), failed).await
        };
        world.declare_runtime();
        world.declare("counter.yaml", &[declared(1)]);
        world.start().await;
        let status = failed(&world, "holds no credentials for 127.0.0.1").await;
        assert!(reasons(&status).contains(&"PullFailed"));

        // An edit shortens the wait.
        world.configure_docker(&registry.login("another"));
        world.declare("counter.yaml", &[declared(2)]);
        failed(&world, "nauthorized").await;

        world.configure_docker(&registry.helped_by("plugward-nosuch"));
        world.declare("counter.yaml", &[declared(3)]);
        failed(&world, "docker-credential-plugward-nosuch cannot be run").await;

        write_helper(&helpers, "plugward-test", PASSWORD);
        world.configure_docker(&registry.helped_by("plugward-test"));
        world.declare("counter.yaml", &[declared(4)]);
        world.until_ready("counter").await;

        // Whoever can read all that the controller says learns nothing.
        let described = world.cli(&["describe", "instance", "counter"]).await.stdout;
        for said in [world.log(), described, world.stored("counter").to_string()] {
            assert!(!said.contains(PASSWORD) && !said.contains("another"), "{said}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_refuses_is_asked_again_ever_later_until_it_is_there() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        publish(&world, &registry, "1", 1 << 10).await;
        registry.set(Flow::Closed);
        start(&world, &registry, PullPolicy::IfNotPresent).await;
        let status = world
            .until("counter", "has failed twice to be pulled", |status| {
                status.pull.as_ref().is_some_and(|pull| pull.failures >= 2 && pull.error.is_some())
            })
            .await;
        let pull = status.pull.unwrap();
        assert!(pull.error.as_ref().unwrap().contains("connection refused"), "{pull:?}");
        assert!(pull.retry_at.is_some(), "{pull:?}");
        assert_eq!(status.phase, Phase::Pending);
        let said = world.cli(&["describe", "instance", "counter"]).await.stdout;
        assert!(said.contains("Next try:") && said.contains("connection refused"), "{said}");
        registry.set(Flow::Open);
        let ready = world.until_ready("counter").await;
        assert_eq!((ready.restarts, ready.failures), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_no_registry_has_is_told_and_started_once_one_has_it() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        publish(&world, &registry, "other", 1 << 10).await;
        world.take_away(&format!("{}:1", registry.repository(NAME)));
        start(&world, &registry, PullPolicy::IfNotPresent).await;
        let message = world.until_condition("counter", InstanceCondition::ImageVerified, "PullFailed").await;
        assert!(message.contains("not found") && message.contains(NAME), "{message}");
        registry.point(NAME, "1", "other");
        world.until_ready("counter").await;
    })
    .await;
}

#[tokio::test]
async fn a_pull_that_is_cut_in_the_middle_comes_to_its_end() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        let published = publish(&world, &registry, "1", SIZE).await;
        registry.set(Flow::Slow(2 << 20));
        start(&world, &registry, PullPolicy::IfNotPresent).await;
        world
            .until("counter", "is half pulled", |status| {
                status.pull.as_ref().is_some_and(|pull| pull.bytes > 0 && pull.bytes < pull.total_bytes)
            })
            .await;
        // Each connection from here on is cut before all is sent; then there is none at all for a moment.
        registry.set(Flow::Cut(SIZE / 2));
        world.settle().await;
        registry.set(Flow::Closed);
        world.settle().await;
        registry.set(Flow::Open);
        let ready = world.until_ready("counter").await;
        assert_eq!(image_of(&world, &ready).await, published.id);
    })
    .await;
}

#[tokio::test]
async fn many_instances_of_one_image_pull_it_once() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        publish(&world, &registry, "1", SIZE).await;
        registry.set(Flow::Slow(4 << 20));
        world.configure_docker(&registry.login(PASSWORD));
        world.declare_runtime();
        // They start nothing, but are ready only when what they would start is there.
        let names: Vec<String> = (0..20).map(|number| format!("counter-{number}")).collect();
        let policies = [PullPolicy::IfNotPresent, PullPolicy::Always];
        let instances: Vec<Manifest> = names
            .iter()
            .zip(policies.into_iter().cycle())
            .map(|(name, policy)| {
                pulled(name, &registry, policy).with("/spec/activation", json!({ "mode": "OnDemand" }))
            })
            .collect();
        world.declare("counters.yaml", &instances);
        world.start().await;
        for name in &names {
            world.until(name, "is idle", |status| status.phase == Phase::Idle).await;
        }
        assert_eq!(pulls(&world, "ok").await, Some(1.0));
    })
    .await;
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_not_pulled_to_its_end() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        publish(&world, &registry, "1", SIZE).await;
        // It would take for ever.
        registry.set(Flow::Slow(64 << 10));
        start(&world, &registry, PullPolicy::IfNotPresent).await;
        world
            .until("counter", "is being pulled", |status| {
                status.pull.as_ref().is_some_and(|pull| pull.bytes > 0)
            })
            .await;
        world.remove("counter.yaml");
        world.until_gone("counter").await;
        world.wait("the engine has hung up", async || (registry.connections() == 0).then_some(())).await;
    })
    .await;
}

#[tokio::test]
async fn always_asks_the_registry_before_each_start_and_needs_it_for_none() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        let first = publish(&world, &registry, "first", 1 << 10).await;
        let second = publish(&world, &registry, "second", 1 << 10).await;
        assert_ne!(first.id, second.id);
        registry.point(NAME, "1", "first");
        world.take_away(&format!("{}:1", registry.repository(NAME)));
        start(&world, &registry, PullPolicy::Always).await;
        let ready = world.until_ready("counter").await;
        assert_eq!(image_of(&world, &ready).await, first.id);

        // What runs is not touched, and the next start is of what the registry has then.
        registry.point(NAME, "1", "second");
        world.settle().await;
        assert_eq!(slot(&world.status("counter").await.unwrap()).container_id, ready.container_id);
        // The outcome of the pull before is good for some seconds: so it may take more than one death.
        let mut ready = ready;
        while image_of(&world, &ready).await != second.id {
            kill(&world, &ready).await;
            ready = world.until_ready_again("counter", &ready).await;
        }

        // Without a registry, it is what the engine has.
        for flow in [Flow::Closed, Flow::Silent] {
            registry.set(flow);
            let asked = |status: &InstanceStatus| {
                let outdated = status.conditions.get(InstanceCondition::ImageOutdated);
                match &status.pull {
                    Some(pull) if pull.error.is_some() => {
                        flow == Flow::Closed && outdated.is_some_and(|found| found.reason == "PullFailed")
                    }
                    // The start has not waited for its end.
                    Some(_) => flow == Flow::Silent,
                    None => false,
                }
            };
            while !asked(&world.status("counter").await.unwrap()) {
                kill(&world, &ready).await;
                ready = world.until_ready_again("counter", &ready).await;
                assert_eq!(image_of(&world, &ready).await, second.id);
            }
        }
        assert_eq!(world.status("counter").await.unwrap().phase, Phase::Ready);
        let counted = restarts(&ready);
        assert_eq!(counted.keys().collect::<Vec<_>>(), [&"killed"], "{counted:?}");
    })
    .await;
}

#[tokio::test]
async fn an_image_is_verified_by_its_id_or_its_manifests_digest() {
    on_each_engine(|world| async move {
        let Some(registry) = Registry::start().await else { return };
        let published = publish(&world, &registry, "1", 1 << 10).await;
        world.configure_docker(&registry.login(PASSWORD));
        world.declare_runtime();
        let wants = |sha256: &str| {
            pulled("counter", &registry, PullPolicy::IfNotPresent).with("/spec/image/sha256", json!(sha256))
        };
        let nowhere = format!("sha256:{}", "0123456789abcdef".repeat(4));
        world.declare("counter.yaml", &[wants(&nowhere)]);
        world.start().await;
        let message =
            world.until_condition("counter", InstanceCondition::ImageVerified, "ImageMismatch").await;
        for part in [&published.id, &published.digest, &nowhere] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(world.containers().await.is_empty());

        for sha256 in [&published.digest, &published.id] {
            world.declare("counter.yaml", &[wants(sha256)]);
            let ready = world.until_ready("counter").await;
            world.until_condition("counter", InstanceCondition::ImageVerified, "Verified").await;
            assert_eq!(image_of(&world, &ready).await, published.id);
        }
    })
    .await;
}

#[tokio::test]
async fn a_tag_that_moves_between_verification_and_start_cannot_slip_in() {
    on_each_engine(|world| async move {
        let wanted = world.engine.image_id(COUNTER).await;
        let repository = world.repository();
        world.tag(COUNTER, "1").await;
        world.declare_runtime();
        let image = json!({ "repository": repository, "tag": "1", "sha256": wanted });
        world.declare("counter.yaml", &[counter("counter").with("/spec/image", image)]);
        let engine = world.engine.clone();
        let mover = tokio::spawn(async move {
            for image in [HOSTILE, COUNTER].into_iter().cycle() {
                engine.tag(image, &repository, "1").await;
            }
        });
        world.start().await;
        let mut ready = SlotStatus::default();
        for _ in 0..8 {
            ready = world.until_ready_again("counter", &ready).await;
            assert_eq!(image_of(&world, &ready).await, wanted);
            kill(&world, &ready).await;
        }
        mover.abort();
        world.tag(COUNTER, "1").await;
        let ready = world.until_ready_again("counter", &ready).await;
        // Another image would not have been able to introduce itself.
        let counted = restarts(&ready);
        assert_eq!(counted.keys().collect::<Vec<_>>(), [&"killed"], "{counted:?}");
    })
    .await;
}
