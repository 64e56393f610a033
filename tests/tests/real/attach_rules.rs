//! What a record says of hosts that attach: who may, how many, what they pass on, and what is kept ready for them.

use plugward_tests::real::{
    CallbackHost, DatabaseHost, HostOptions, LIMIT, NewUser, Start, World, callback, copy_for_all, database,
    launcher, on_each_engine, on_one_engine, starts,
};
use serde_json::{Value, json};

use super::attach::controller;

const USER: NewUser<'_> = NewUser { password: "first", statements: &[], deadline: LIMIT };

/// A user whom the machine does not know.
const UNKNOWN: u32 = 4_242;

/// The database plugin with a container for each host.
fn apart(users: &[&str]) -> plugward_tests::real::Manifest {
    database("db").attachable(users).with("/spec/multiplexing", json!("Disabled"))
}

fn host(start: Start, options: &HostOptions) -> Option<DatabaseHost> {
    DatabaseHost::start(&starts([("db", start)]), options)
}

/// The environment of an instance's only container.
async fn environment(world: &World) -> Vec<String> {
    let containers = world
        .wait("there is one container", async || {
            Some(world.containers_of("db").await).filter(|containers| containers.len() == 1)
        })
        .await;
    let (_, seen) = world.engine.api("GET", &format!("/containers/{}/json", containers[0].id.as_str())).await;
    let variables = seen["Config"]["Env"].as_array().unwrap().iter();
    variables.map(|variable| variable.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_a_record_has_passed_on_reaches_the_container_and_nothing_else_of_a_hosts_environment() {
    on_one_engine(|world| async move {
        let plugin = apart(&["root"]).with("/spec/attach/passEnv", json!(["REGION", "UNSET"]));
        controller(&world, plugin, "none").await;
        let start = world.attach("db", 6).env("REGION", "north").env("PRIVATE", "hidden");
        let Some(host) = host(start, &HostOptions::default()) else { return };
        host.open("orders", "db").await.unwrap();
        host.initialize("orders", &json!({ "label": "one" })).await.unwrap();
        let environment = environment(&world).await;
        assert!(environment.contains(&"REGION=north".to_owned()), "{environment:?}");
        let others = ["UNSET", "PRIVATE", "PLUGWARD_RUN_DIR", "TMPDIR"];
        assert!(!environment.iter().any(|variable| others.iter().any(|other| variable.starts_with(other))));

        // The next controller knows it by what the launcher kept, and replaces nothing.
        let before = world.containers_of("db").await[0].id.clone();
        world.kill().await;
        world.start().await;
        world.until_sessions(1).await;
        host.new_user("orders", &USER).await.unwrap();
        world.settle().await;
        assert_eq!(world.containers_of("db").await[0].id, before);
        world.kill_containers_of("db").await;
        host.new_user("orders", &USER).await.unwrap();
        assert!(self::environment(&world).await.contains(&"REGION=north".to_owned()));
        assert!(!world.log().contains("north"), "a value is never shown");
    })
    .await;
}

#[tokio::test]
async fn no_more_hosts_attach_than_their_record_lets() {
    on_one_engine(|world| async move {
        let plugin = database("db").attachable(&["root"]).with("/spec/attach/maxSessions", json!(1));
        controller(&world, plugin, "none").await;
        let start = || host(world.attach("db", 6), &HostOptions::default());
        let (Some(first), Some(second)) = (start(), start()) else { return };
        first.open("orders", "db").await.unwrap();
        second.open("orders", "db").await.unwrap_err();
        second.client("db").until_logged("spec.attach.maxSessions").await;
        first.close("orders").await.unwrap();
        world.until_sessions(0).await;
        second.open("orders", "db").await.unwrap();
        let events = world.cli_ok(&["describe", "instance", "db"]).await;
        assert!(events.contains("AttachRefused") && events.contains("Attached"), "{events}");
    })
    .await;
}

#[tokio::test]
async fn a_host_gets_the_container_that_is_kept_ready() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("plugin.yaml", &[apart(&["root"]).with("/spec/standby", json!(1))]);
        world.start().await;
        let spare = async || {
            let containers = world.containers_of("db").await;
            let ready = world
                .status("db")
                .await?
                .slots
                .iter()
                .any(|slot| slot.name.starts_with("spare-") && slot.ready_at.is_some());
            (ready && containers.len() == 1).then(|| containers[0].id.clone())
        };
        let spare = world.wait("a spare is ready", spare).await;
        let Some(host) = host(world.attach("db", 6), &HostOptions::default()) else { return };
        host.open("orders", "db").await.unwrap();
        host.initialize("orders", &json!({ "label": "one" })).await.unwrap();
        // Another takes its place, and it has become the session's.
        world
            .wait("another spare is kept", async || {
                (world.containers_of("db").await.len() == 2).then_some(())
            })
            .await;
        world.settle().await;
        let sessions = world.until_sessions(1).await;
        let slot = sessions[0]["status"]["slot"].as_str().unwrap().to_owned();
        let status = world.status("db").await.unwrap();
        let its = status.slots.iter().find(|found| found.name == slot).unwrap();
        assert_eq!(its.container_id.as_deref(), Some(spare.as_str()));
        host.new_user("orders", &USER).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn hosts_are_detached_that_their_record_permits_no_more() {
    on_one_engine(|world| async move {
        world.open_to_all();
        let user = UNKNOWN.to_string();
        // Nothing is under way but what hosts have open all the time: that is not waited for.
        let permitting =
            |users: &[&str]| database("db").attachable(users).with("/spec/update/drainTimeout", json!("1h"));
        controller(&world, permitting(&[&user]), "none").await;
        let (_place, launcher) = copy_for_all(&launcher());
        let options = HostOptions { user: Some(UNKNOWN), ..HostOptions::default() };
        let Some(host) = host(world.attach_by(&launcher, "db", 6), &options) else { return };
        for (edit, why) in [
            (Some(permitting(&["daemon"])), "not permitted"),
            (
                Some(permitting(&[&user]).with("/spec/attach/enabled", json!(false)).serving(&["db"])),
                "spec.attach.enabled",
            ),
            (None, "deleted"),
        ] {
            world.declare("plugin.yaml", &[permitting(&[&user])]);
            world.until_open("db").await;
            world.settle().await;
            host.open("orders", "db").await.unwrap();
            host.initialize("orders", &json!({ "label": "one" })).await.unwrap();
            let launcher = host.process().child();
            match edit {
                Some(edit) => world.declare("plugin.yaml", &[edit]),
                None => world.remove("plugin.yaml"),
            }
            plugward_tests::real::gone(launcher).await;
            host.client("db").until_logged(why).await;
            world.until_sessions(0).await;
            // The host has seen its plugin end, and would start it again.
            host.new_user("orders", &USER).await.unwrap_err();
            let _ = host.client("db").kill().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_plugin_writes_to_its_standard_error_is_what_its_host_logs() {
    on_each_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let mounts = starts([("numbers", world.attach("numbers", 1))]);
        let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
        let started = host.client("numbers").start().await.unwrap();
        assert_eq!(started.pid, host.process().child());
        // go-plugin's own first words.
        host.client("numbers").until_logged("plugin address").await;
        let sessions = world.sessions().await;
        assert_ne!(sessions[0]["status"]["slot"], Value::from("shared"));
    })
    .await;
}
