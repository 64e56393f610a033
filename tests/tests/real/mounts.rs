//! Mounts' sockets: where hosts find a plugin, from the record's beginning to its end.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::slice;
use std::time::Duration;

use go_plugin::external::tonic::Code;
use plugward_api::{InstanceCondition, Phase};
use plugward_tests::real::{
    COUNTER, GenericHost, HostOptions, LIMIT, NewUser, World, counter, database, on_each_engine,
    on_one_engine, slot,
};
use serde_json::json;

/// A user and group that have no account, and no rights but what the world gives everybody.
const NOBODY: u32 = 54_321;

#[tokio::test]
async fn a_call_that_comes_before_the_image_waits_for_it() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        let early = counter("counter")
            .with("/spec/image", json!({ "repository": world.repository(), "tag": "later" }))
            .with("/spec/hold/timeout", json!("200ms"));
        world.declare("counter.yaml", slice::from_ref(&early));
        world.start().await;
        world.until_condition("counter", InstanceCondition::ImageVerified, "ImageNotFound").await;
        let socket = world.mount_socket("counter", "counter");
        assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
        let Some(host) = world.early_host("counter", &["counter"]) else { return };

        let failure = host.increment("counter", "a", 1, Some(LIMIT)).await.unwrap_err();
        assert_eq!(failure.code, Code::Unavailable, "{failure:?}");
        assert!(failure.message.contains("the image is not on the engine"), "{failure:?}");

        let patient = early.with("/spec/hold/timeout", json!("2m"));
        world.declare("counter.yaml", &[patient]);
        world.settle().await;
        let call = host.increment("counter", "a", 1, Some(LIMIT));
        world.tag(COUNTER, "later").await;
        assert_eq!(call.await, Ok(1));
        assert_eq!(slot(&world.status("counter").await.unwrap()).restarts, 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_in_the_place_of_a_socket_is_told_and_left_alone() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("other.yaml", &[counter("other")]);
        world.start().await;
        let other = world.until_ready("other").await;
        let socket = world.mount_socket("counter", "counter");
        fs::create_dir(socket.parent().unwrap()).unwrap();
        fs::write(&socket, "somebody's").unwrap();

        world.declare("counter.yaml", &[counter("counter")]);
        let message = world.until_condition("counter", InstanceCondition::Ready, "SocketUnavailable").await;
        for phrase in [&*socket.to_string_lossy(), "is a file", "remove it"] {
            assert!(message.contains(phrase), "{phrase:?} is not in {message:?}");
        }
        assert_eq!(fs::read_to_string(&socket).unwrap(), "somebody's");
        assert_eq!(world.until_ready("other").await.container_id, other.container_id);

        fs::remove_file(&socket).unwrap();
        world.until_ready("counter").await;
        let Some(host) = world.generic_host("counter").await else { return };
        assert_eq!(host.increment("counter", "a", 1, Some(LIMIT)).await, Ok(1));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_plugin_tells_its_hosts_so_until_its_last_call_is_over() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let orders = database("orders").with("/spec/update/drainTimeout", json!("8s"));
        world.declare("orders.yaml", &[orders]);
        world.start().await;
        world.until_ready("orders").await;
        let Some(host) = world.database_host("orders").await else { return };
        host.open("first", "orders").await.unwrap();
        host.initialize("first", &json!({ "label": "eu" })).await.unwrap();
        let hangs = NewUser { statements: &["hang"], ..NewUser::default() };
        let under_way = host.new_user("first", &hangs);
        let mut made = 0;
        world
            .wait("the call that hangs is at the plugin", async || {
                made += 1;
                let user = host.new_user("first", &NewUser::default()).await.unwrap();
                (!user.starts_with(&format!("eu_{made}@"))).then_some(())
            })
            .await;

        world.remove("orders.yaml");
        world.until("orders", "goes", |status| status.phase == Phase::Terminating).await;
        let failure = host.new_user("first", &NewUser::default()).await.unwrap_err();
        assert_eq!(failure.code, Code::Unavailable, "{failure:?}");
        assert!(failure.message.contains("deleted"), "{failure:?}");

        let failure = under_way.await.unwrap_err();
        assert_eq!(failure.code, Code::Unavailable, "{failure:?}");
        assert!(failure.message.contains("did not end within 8s"), "{failure:?}");
        world.until_gone("orders").await;
        assert!(!world.mount_socket("orders", "orders").parent().unwrap().exists());
    })
    .await;
}

#[tokio::test]
async fn a_host_goes_on_with_the_same_container_over_restarts_of_the_controller() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.start().await;
        let before = world.until_ready("counter").await;
        let Some(host) = world.generic_host("counter").await else { return };
        assert_eq!(host.increment("counter", "a", 7, Some(LIMIT)).await, Ok(7));

        world.terminate().await;
        world.start().await;
        goes_on(&world, &host).await;

        world.kill().await;
        world.start().await;
        goes_on(&world, &host).await;
        assert_eq!(world.until_ready("counter").await.container_id, before.container_id);
    })
    .await;
}

#[tokio::test]
async fn a_host_without_privileges_uses_a_plugin_as_a_member_of_the_sockets_group() {
    on_one_engine(|world| async move {
        // The test's own directory is made for nobody else.
        fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).unwrap();
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        let group = format!("--socket-group={NOBODY}");
        world.start_with(&[&group]).await;
        world.until_ready("counter").await;
        let socket = world.mount_socket("counter", "counter");
        let (group_of, mode_of) = (
            |path: &Path| fs::metadata(path).unwrap().gid(),
            |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777,
        );
        assert_eq!((group_of(&socket), mode_of(&socket)), (NOBODY, 0o660));
        let directory = socket.parent().unwrap();
        assert_eq!((group_of(directory), mode_of(directory)), (NOBODY, 0o750));

        let reattach = world.reattach("counter").await;
        let member = HostOptions { own_pid: true, user: Some(NOBODY), ..HostOptions::default() };
        let Some(host) = GenericHost::start(&reattach, &member) else { return };
        assert_eq!(host.increment("counter", "a", 7, Some(LIMIT)).await, Ok(7));
        let stranger = HostOptions { own_pid: true, user: Some(NOBODY + 1), ..HostOptions::default() };
        let stranger = GenericHost::start(&reattach, &stranger).unwrap();
        let refused = stranger.increment("counter", "a", 1, Some(LIMIT)).await.unwrap_err();
        // go-plugin's word for any socket that cannot be connected to.
        assert!(refused.message.contains("reattachment process not found"), "{refused:?}");

        world.terminate().await;
        world.start_with(&[&group]).await;
        goes_on(&world, &host).await;
    })
    .await;
}

#[tokio::test]
async fn what_hosts_take_names_the_process_that_they_are_to_watch() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let later = json!({ "repository": world.repository(), "tag": "later" });
        world.declare("counter.yaml", &[counter("counter").with("/spec/image", later)]);
        world.start().await;
        world.until_condition("counter", InstanceCondition::ImageVerified, "ImageNotFound").await;
        let said = world.cli(&["get", "instance", "counter", "-o", "reattach"]).await;
        assert_eq!(said.code, Some(1), "the version is the plugin's to say: {}", said.stdout);
        assert!(said.stderr.contains("not known before its first start"), "{}", said.stderr);

        world.tag(COUNTER, "later").await;
        world.until_ready("counter").await;
        let description = |pid: u32| {
            json!({ "counter": {
                "Protocol": "grpc",
                "ProtocolVersion": 1,
                "Pid": pid,
                "Test": true,
                "Addr": { "Network": "unix", "String": world.mount_socket("counter", "counter") },
            }})
        };
        assert_eq!(world.reattach("counter").await, description(std::process::id()), "who runs the command");
        let said = world.cli(&["get", "instance", "counter", "-o", "reattach", "--pid", "4711"]).await;
        assert_eq!(serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap(), description(4711));

        // A process that ends is what go-plugin takes for the plugin's end: this is what a host is saved from.
        let controller = world.with_program(|program| program.pid()).to_string();
        let said = world.cli(&["get", "instance", "counter", "-o", "reattach", "--pid", &controller]).await;
        let reattach = serde_json::from_str(&said.stdout).unwrap();
        let Some(host) = GenericHost::start(&reattach, &HostOptions::default()) else { return };
        assert_eq!(host.increment("counter", "a", 7, Some(LIMIT)).await, Ok(7));
        world.terminate().await;
        host.until_exited("counter").await.unwrap();
    })
    .await;
}

/// A host that had counted to seven finds that count again, after a restart of the controller.
async fn goes_on(world: &World, host: &GenericHost) {
    let counted = world
        .wait("a host's call is answered", async || {
            host.get("counter", "a", Some(Duration::from_secs(10))).await.ok()
        })
        .await;
    assert_eq!(counted, 7);
    assert_eq!(host.thinks_exited("counter").await, Ok(false));
}
