//! `mlock`: images whose user needs a capability of the program's file for it.

use plugward_api::{InstanceCondition, Phase};
use plugward_tests::real::{
    GO_COUNTER_MLOCK, GO_COUNTER_NONROOT, Manifest, World, go_counter_of, on_each_engine, slot,
};
use serde_json::json;
use tar::{Builder, EntryType, Header};

fn locking(image: &str) -> Manifest {
    go_counter_of("counter", image).with("/spec/mlock", json!(true))
}

/// Waits until the image is refused, and looks at what is said.
async fn is_refused(world: &World, path: &str) {
    let message =
        world.until_condition("counter", InstanceCondition::ImageVerified, "CannotLockMemory").await;
    let expected = format!("setcap cap_ipc_lock=+ep {path}");
    assert!(message.contains(&expected) && message.contains("mlock to false"), "{message}");
}

#[tokio::test]
async fn a_program_that_may_not_lock_its_memory_is_not_started_and_what_to_set_is_told() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[locking(GO_COUNTER_NONROOT)]);
        world.start().await;
        is_refused(&world, "/plugin-counter").await;
        world.settle().await;
        let status = world.status("counter").await.unwrap();
        assert_eq!((status.phase, status.slots.len()), (Phase::Pending, 0));
        assert!(world.containers().await.is_empty());

        world.declare("counter.yaml", &[locking(GO_COUNTER_MLOCK)]);
        let before = world.until_ready("counter").await;

        // An edit that cannot be followed ends nothing.
        world.declare("counter.yaml", &[locking(GO_COUNTER_NONROOT)]);
        is_refused(&world, "/plugin-counter").await;
        world.until_condition("counter", InstanceCondition::Progressing, "UpdateBlocked").await;
        world.settle().await;
        let status = world.status("counter").await.unwrap();
        assert_eq!((status.phase, &slot(&status).container_id), (Phase::Ready, &before.container_id));
        assert_eq!(world.containers().await.len(), 1);
    })
    .await;
}

/// A link to the program, and a script that is run by it.
fn other_ways() -> Vec<u8> {
    let header = |kind, size| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o755);
        header
    };
    let script = b"#!/plugin-counter\n";
    let mut archive = Builder::new(Vec::new());
    archive.append_link(&mut header(EntryType::Symlink, 0), "link", "plugin-counter").unwrap();
    archive.append_data(&mut header(EntryType::Regular, script.len() as u64), "script", &script[..]).unwrap();
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn a_link_to_such_a_program_is_followed_and_of_a_script_nothing_is_presumed() {
    on_each_engine(|world| async move {
        let repository = world.repository();
        world.take_away(&format!("{repository}:1.0.0"));
        world.engine.derive(GO_COUNTER_NONROOT, &repository, "1.0.0", other_ways().into()).await;
        let plugin = locking(&format!("{repository}:1.0.0"));
        world.declare_runtime();
        world.declare("counter.yaml", &[plugin.clone().with("/spec/command", json!(["/link"]))]);
        world.start().await;
        is_refused(&world, "/link").await;
        world.declare("counter.yaml", &[plugin.with("/spec/command", json!(["/script"]))]);
        world.until_ready("counter").await;
    })
    .await;
}
