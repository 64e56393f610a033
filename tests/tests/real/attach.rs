//! Hosts that start the launcher as if it were the plugin: they call it, are called back, and never see their plugin's container die.

use std::time::Duration;

use go_plugin::external::tonic::Code;
use plugward_tests::real::{
    BackendHost, CallbackHost, DatabaseHost, HostOptions, Instance, LIMIT, Load, Manifest, NewUser,
    RedisServer, Sdk, Tally, World, callback, copy_for_all, go_counter, kv, launcher, on_each_engine,
    on_one_engine, redis, runtime, skipped, starts,
};
use serde_json::{Value, json};

const LONG: Option<Duration> = Some(LIMIT);

const NUMBERS: Instance<'_> = Instance::only("numbers");

/// What a user of Redis may do.
const READ: NewUser<'_> = NewUser { password: "first", statements: &[r#"["+@read"]"#], deadline: LIMIT };

const LOAD: Load = Load { callers: 4, rate: Some(60.0), deadline: LIMIT };

/// A user whom the machine does not know.
const UNKNOWN: u32 = 4_242;

/// How often a container is killed under load.
const KILLS: usize = 2;

/// A controller with such a plugin on the runtime `runc`, on this network.
pub(super) async fn controller(world: &World, plugin: Manifest, network: &str) {
    let name = plugin.name().to_owned();
    world.declare("runtime.yaml", &[runtime(&world.engine.host).with("/spec/network", json!(network))]);
    world.declare("plugin.yaml", &[plugin]);
    world.start().await;
    world.until_open(&name).await;
}

/// What became of calls while their plugin was killed: none is lost, and those that failed were under way with it.
fn spared(tally: &Tally) {
    let died = tally.failed_with(Code::Unavailable).count;
    assert_eq!((tally.failures(), tally.lost, tally.wrong), (died, 0, 0), "{tally:?}");
}

#[tokio::test]
async fn redis_under_both_sdks_makes_users_whatever_becomes_of_its_container() {
    on_each_engine(|world| async move {
        let Some(server) = RedisServer::start().await else { return };
        controller(&world, redis("db").attachable(&["root"]), "host").await;
        for sdk in Sdk::ALL {
            let mounts = starts([("db", world.attach("db", 5))]);
            let Some(host) = DatabaseHost::with(sdk, &mounts, &HostOptions::default()) else { return };
            let sockets = host.process().sockets();
            let before = world.left(sockets).await;
            assert_eq!(host.open("orders", "db").await, Ok(false), "it does not multiplex");
            host.initialize_and_verify("orders", &server.config()).await.unwrap();
            let first = host.new_user("orders", &READ).await.unwrap();
            assert!(server.lets_in(&first, "first").await);
            world.until_sessions(1).await;
            let launcher = host.process().child();

            world.kill_containers_of("db").await;
            let second = host.new_user("orders", &READ).await.unwrap();
            assert!(server.lets_in(&second, "first").await, "{sdk:?}");
            let load = host.load("orders", &READ, &LOAD).await.unwrap();
            for kill in 1..=KILLS {
                load.until_answered(20 * kill as u64).await;
                world.kill_containers_of("db").await;
            }
            load.until_answered(load.tally().await.answered + 20).await;
            spared(&load.stop().await);
            for user in [&first, &second] {
                host.delete_user("orders", user).await.unwrap();
            }
            assert_eq!(host.process().child(), launcher, "{sdk:?}: the host saw one plugin");

            host.close("orders").await.unwrap();
            assert!(!host.client("db").log().await.contains("failed to exit"), "{sdk:?}");
            world.until_left(before, sockets).await;
        }
    })
    .await;
}

#[tokio::test]
async fn each_session_of_a_plugin_that_does_not_multiplex_has_a_container() {
    on_one_engine(|world| async move {
        let Some(server) = RedisServer::start().await else { return };
        controller(&world, redis("db").attachable(&["root"]), "host").await;
        let mounts = starts([("db", world.attach("db", 5))]);
        let Some(host) = DatabaseHost::start(&mounts, &HostOptions::default()) else { return };
        let before = world.left(host.process().sockets()).await;
        for connection in ["orders", "billing"] {
            host.open(connection, "db").await.unwrap();
        }
        world.until_sessions(2).await;
        assert_eq!(world.containers_of("db").await.len(), 2);
        host.initialize_and_verify("orders", &server.config()).await.unwrap();
        let refused = host.new_user("billing", &READ).await.unwrap_err();
        assert!(refused.message.contains("connection has not been initialized"), "{refused:?}");
        for connection in ["orders", "billing"] {
            host.close(connection).await.unwrap();
        }
        world.until_left(before, host.process().sockets()).await;
    })
    .await;
}

#[tokio::test]
async fn kv_keeps_what_is_whose_for_hosts_of_both_sdks_in_one_container() {
    on_each_engine(|world| async move {
        controller(&world, kv("kv").attachable(&["root"]), "none").await;
        world.until_ready("kv").await;
        let mounts = starts([("kv", world.attach("kv", 5))]);
        let before = world.left(None).await;
        let mut hosts = Vec::new();
        for sdk in Sdk::ALL {
            let Some(host) = BackendHost::with(sdk, &mounts, &HostOptions::default()) else { return };
            for backend in ["orders", "billing"] {
                host.enable(backend, "kv", &[]).await.unwrap();
                host.write(backend, "one", &of(sdk, backend)).await.unwrap();
            }
            hosts.push((sdk, host));
        }
        world.until_sessions(2).await;
        assert_eq!(world.containers_of("kv").await.len(), 1);

        world.kill_containers_of("kv").await;
        for (sdk, host) in &hosts {
            for backend in ["orders", "billing"] {
                assert_eq!(host.read(backend, "one").await.unwrap().data, of(*sdk, backend));
                host.write(backend, "two", &of(*sdk, backend)).await.unwrap();
                assert_eq!(host.keys(backend).await.unwrap(), ["one", "two"]);
            }
        }
        let (_, host) = &hosts[0];
        let load = host.load("orders", &LOAD).await.unwrap();
        load.until_answered(20).await;
        world.kill_containers_of("kv").await;
        load.until_answered(load.tally().await.answered + 20).await;
        spared(&load.stop().await);

        for (_, host) in &hosts {
            for backend in ["orders", "billing"] {
                host.cleanup(backend).await.unwrap();
            }
            host.process().until_children(0).await;
        }
        world.until_left(before, None).await;
    })
    .await;
}

fn of(sdk: Sdk, backend: &str) -> Value {
    json!({ "of": format!("{sdk:?} {backend}") })
}

#[tokio::test]
async fn hosts_of_both_sdks_ask_kv_what_it_is() {
    on_one_engine(|world| async move {
        controller(&world, kv("kv").attachable(&["root"]), "none").await;
        let before = world.until_ready("kv").await;
        for sdk in Sdk::ALL {
            let mounts = starts([("kv", world.attach("kv", 5))]);
            let Some(host) = BackendHost::with(sdk, &mounts, &HostOptions::default()) else { return };
            host.open_for_metadata("what", "kv").await.unwrap();
            host.setup("what", &[]).await.unwrap();
            assert_eq!(host.about("what").await.unwrap().0, "secret", "{sdk:?}");
            host.cleanup("what").await.unwrap();
            host.process().until_children(0).await;
        }
        let after = world.until_ready("kv").await;
        assert_eq!(after.container_id, before.container_id, "the shared container was asked");
    })
    .await;
}

/// Calls in both directions, over a kill, in the host's mode of the broker. The host sees one plugin.
async fn call_in_both_directions(world: &World, host: &CallbackHost) {
    assert_eq!(host.add(NUMBERS, "hello", 2, LONG).await, Ok(2));
    host.attach(NUMBERS).await.unwrap();
    assert_eq!(host.add_kept(NUMBERS, "hello", 3, LONG).await, Ok(5));
    let opened = host.open(NUMBERS).await.unwrap();
    assert_eq!(host.echo(&opened, "hello").await.unwrap(), ("hello".to_owned(), 1));
    host.end(&opened).await.unwrap();
    let launcher = host.process().child();
    host.print(NUMBERS, "out", "error").await.unwrap();

    world.kill_containers_of("numbers").await;
    assert_eq!(host.add(NUMBERS, "hello", 1, LONG).await, Ok(6));
    let load = host.load(NUMBERS, &LOAD).await.unwrap();
    load.until_answered(20).await;
    world.kill_containers_of("numbers").await;
    load.until_answered(load.tally().await.answered + 20).await;
    spared(&load.stop().await);
    let opened = host.open(NUMBERS).await.unwrap();
    assert_eq!(host.echo(&opened, "again").await.unwrap(), ("again".to_owned(), 1));
    assert_eq!(host.process().child(), launcher);
}

#[tokio::test]
async fn a_plugin_calls_back_in_both_modes_of_the_broker() {
    on_each_engine(|world| async move {
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let start = world.attach("numbers", 1);
        for start in [start.clone(), start.clone().multiplexed(), start.plaintext()] {
            let Some(host) =
                CallbackHost::start(&starts([("numbers", start.clone())]), &HostOptions::default())
            else {
                return;
            };
            let before = world.left(host.process().sockets()).await;
            call_in_both_directions(&world, &host).await;
            let killed = host.client("numbers").kill().await.unwrap();
            assert!(killed.graceful && killed.ended == "exit status 0", "{start:?}: {killed:?}");
            world.until_left(before, host.process().sockets()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn plugin_counter_counts_in_its_host_in_both_modes_on_both_sides() {
    on_one_engine(|world| async move {
        for plugin_mode in ["Enabled", "Disabled"] {
            let plugin = go_counter("numbers").with("/spec/brokerMultiplexing", json!(plugin_mode));
            world.declare_runtime();
            world.declare("plugin.yaml", &[plugin.attachable(&["root"])]);
            if plugin_mode == "Enabled" {
                world.start().await;
            }
            world.settle().await;
            let start = world.attach("numbers", 1).cookie("BASIC_PLUGIN", "hello");
            for (multiplexed, start) in [(false, start.clone()), (true, start.multiplexed())] {
                let mounts = starts([("numbers", start)]);
                let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
                if multiplexed && plugin_mode == "Disabled" {
                    // Nobody tells the plugin of a server for which it would have to knock.
                    let late = host.increment(NUMBERS, "a", 1, LONG).await.unwrap_err();
                    assert!(late.message.contains("timeout waiting for connection info"), "{late:?}");
                    continue;
                }
                assert_eq!(host.increment(NUMBERS, "a", 1, LONG).await, Ok(1), "{plugin_mode}");
                world.kill_containers_of("numbers").await;
                assert_eq!(host.increment(NUMBERS, "a", 2, LONG).await, Ok(3), "{plugin_mode}");
                assert!(host.client("numbers").kill().await.unwrap().graceful);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_of_another_user_behind_a_tmp_of_its_own_is_called_back() {
    on_each_engine(|world| async move {
        world.open_to_all();
        controller(&world, callback("numbers").attachable(&[&UNKNOWN.to_string()]), "none").await;
        let (place, launcher) = copy_for_all(&launcher());
        let start = world.attach_by(&launcher, "numbers", 1);
        for start in [start.clone(), start.multiplexed()] {
            let options = HostOptions {
                user: Some(UNKNOWN),
                private_tmp: Some(vec![world.home().to_owned(), place.path().to_owned()]),
                ..HostOptions::default()
            };
            let before = world.left(None).await;
            let Some(host) = CallbackHost::start(&starts([("numbers", start)]), &options) else { return };
            call_in_both_directions(&world, &host).await;
            assert!(host.client("numbers").kill().await.unwrap().graceful);
            world.until_left(before, None).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_plugin_in_gvisor_serves_a_host_that_attaches_in_both_directions() {
    on_each_engine(|world| async move {
        // Its sandbox lets it connect to no socket: the host's one connection is led on over the plugin's.
        let runtimes = world.engine.oci_runtimes().await;
        if !runtimes.iter().any(|known| known == "runsc") {
            return skipped("this engine has no gVisor");
        }
        world.declare("runtime.yaml", &[runtime(&world.engine.host).on("runsc")]);
        world.declare("plugin.yaml", &[callback("numbers").attachable(&["root"]).on("runsc")]);
        world.start().await;
        world.until_open("numbers").await;
        let mounts = starts([("numbers", world.attach("numbers", 1).multiplexed())]);
        let Some(host) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
        let before = world.left(host.process().sockets()).await;
        call_in_both_directions(&world, &host).await;
        assert!(host.client("numbers").kill().await.unwrap().graceful);
        world.until_left(before, host.process().sockets()).await;
    })
    .await;
}

#[tokio::test]
async fn a_host_that_may_not_attach_is_told_so() {
    on_one_engine(|world| async move {
        world.open_to_all();
        controller(&world, callback("numbers").attachable(&["root"]), "none").await;
        let (_place, launcher) = copy_for_all(&launcher());
        let mounts = starts([
            ("numbers", world.attach_by(&launcher, "numbers", 1)),
            ("unknown", world.attach_by(&launcher, "unknown", 1)),
            ("cookie", world.attach_by(&launcher, "numbers", 1).cookie("CALLBACK_PLUGIN", "another")),
        ]);
        let stranger = HostOptions { user: Some(UNKNOWN), ..HostOptions::default() };
        let Some(stranger) = CallbackHost::start(&mounts, &stranger) else { return };
        let Some(root) = CallbackHost::start(&mounts, &HostOptions::default()) else { return };
        for (host, mount) in [(&stranger, "numbers"), (&root, "unknown"), (&root, "cookie")] {
            host.client(mount).start().await.unwrap_err();
            // The launcher's one line says of what.
            let said = if mount == "unknown" { "unknown" } else { "numbers" };
            host.client(mount).until_logged(said).await;
        }
        assert_eq!(world.sessions().await, [Value::Null; 0]);
    })
    .await;
}
