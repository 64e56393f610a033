//! Plugins that call their hosts back, and hosts that dial what their plugins offer, over deaths and restarts.

use std::fs;
use std::slice;
use std::time::Duration;

use go_plugin::external::tonic::Code;
use plugward_tests::real::{
    CallbackHost, Instance, LIMIT, Load, Output, Watch, World, busy, callback, go_counter, on_each_engine,
    on_one_engine, restarts, runtime,
};
use serde_json::json;

const LONG: Option<Duration> = Some(LIMIT);

const KILLS: u64 = 10;

/// Callers that each have one call, and its callback, under way.
const LOAD: Load = Load { callers: 8, rate: Some(100.0), deadline: LIMIT };

/// Calls with servers of their own: more than there may be servers at a time.
const CALLS: u64 = 3000;

/// How often a plugin offers its host a server, and takes it back.
const OFFERS: usize = 50;

fn only(mount: &str) -> Instance<'_> {
    Instance::only(mount)
}

/// A host of a plugin on this OCI runtime, with this for `brokerMultiplexing`, once that is ready.
async fn numbers_on(world: &World, oci_runtime: &str, multiplexing: &str) -> Option<CallbackHost> {
    world.declare("runtime.yaml", &[runtime(&world.engine.host).on(oci_runtime)]);
    let plugin = callback("numbers").on(oci_runtime);
    world.declare("numbers.yaml", &[plugin.with("/spec/brokerMultiplexing", json!(multiplexing))]);
    world.start().await;
    world.until_ready("numbers").await;
    world.callback_host("numbers").await
}

async fn calls_back_before_and_after_a_kill(world: &World, host: &CallbackHost) {
    let seen = world.until_ready("numbers").await;
    assert_eq!(host.add(only("numbers"), "a", 1, LONG).await, Ok(1));
    assert_eq!(host.add(only("numbers"), "a", 1, LONG).await, Ok(2));
    world.engine.kill(seen.container_id.as_deref().unwrap()).await;
    world.until_ready_again("numbers", &seen).await;
    assert_eq!(host.add(only("numbers"), "a", 1, LONG).await, Ok(3));
}

/// Each message of a stream is a callback.
async fn streams_with_callbacks(host: &CallbackHost) {
    let watch = Watch { key: "seen", messages: Some(20), take: None, kept: false };
    host.watch(only("numbers"), &watch).await.unwrap();
    assert_eq!(host.stored(only("numbers"), "seen").await, 20);
}

/// No call is lost, and none fails but those that a killed plugin had.
async fn kills_under_load(world: &World, host: &CallbackHost, load: &Load) {
    let mut seen = world.until_ready("numbers").await;
    let callers = load.callers as u64;
    let load = host.load(only("numbers"), load).await.unwrap();
    for _ in 0..KILLS {
        load.until_answered(load.tally().await.answered + 20).await;
        world.engine.kill(seen.container_id.as_deref().unwrap()).await;
        seen = world.until_ready_again("numbers", &seen).await;
    }
    load.until_answered(load.tally().await.answered + 20).await;
    let tally = load.stop().await;
    eprintln!("{}: ten kills during callbacks: {tally:?}", world.engine.name);
    assert_eq!((tally.lost, tally.repeated, tally.wrong), (0, 0, 0), "{tally:?}");
    let failed: u64 = tally.failed.values().map(|failed| failed.count).sum();
    assert!(failed <= KILLS * callers, "only what was under way: {tally:?}");
    assert_eq!(restarts(&seen).get("killed"), Some(&KILLS));
}

#[tokio::test]
async fn a_plugin_calls_its_host_back_and_goes_on_after_ten_kills() {
    let _alone = busy().await;
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("numbers.yaml", &[callback("numbers")]);
        world.start().await;
        world.until_ready("numbers").await;
        let Some(host) = world.callback_host("numbers").await else { return };
        let numbers = only("numbers");
        for round in 1..=3 {
            assert_eq!(host.add(numbers, "a", 1, LONG).await, Ok(round));
        }
        kills_under_load(&world, &host, &LOAD).await;
        assert_eq!(host.add(numbers, "a", 1, LONG).await, Ok(4), "the host's numbers are the host's");
    })
    .await;
}

#[tokio::test]
async fn a_host_may_be_called_back_as_often_as_it_can_be() {
    let _alone = busy().await;
    on_one_engine(|world| async move {
        let Some(host) = numbers(&world).await else { return };
        // Each call has a server of its own, which is ended after it.
        let load = host.load(only("numbers"), &Load { callers: 64, rate: None, ..LOAD }).await.unwrap();
        load.until_answered(CALLS).await;
        let tally = load.stop().await;
        assert_eq!((tally.failures(), tally.lost, tally.repeated, tally.wrong), (0, 0, 0, 0), "{tally:?}");
    })
    .await;
}

#[tokio::test]
async fn a_plugin_in_gvisor_calls_its_host_back_over_sockets_of_ours_where_it_may_connect_to_them() {
    on_each_engine(|world| async move {
        let Some(host) = numbers_on(&world, "runsc-all", "Disabled").await else { return };
        calls_back_before_and_after_a_kill(&world, &host).await;
        let opened = host.open(only("numbers")).await.unwrap();
        assert_eq!(host.echo(&opened, "hello").await.unwrap().0, "hello");
    })
    .await;
}

#[tokio::test]
async fn a_plugin_in_gvisor_that_may_connect_to_no_socket_calls_its_host_back_over_its_one_connection() {
    on_each_engine(|world| async move {
        let Some(host) = numbers_on(&world, "runsc", "Enabled").await else { return };
        calls_back_before_and_after_a_kill(&world, &host).await;
        streams_with_callbacks(&host).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_is_made_to_share_its_connection_does_so_on_runc_too() {
    on_each_engine(|world| async move {
        let Some(host) = numbers_on(&world, "runc", "Enabled").await else { return };
        calls_back_before_and_after_a_kill(&world, &host).await;
        streams_with_callbacks(&host).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_shares_its_connection_goes_on_after_ten_kills() {
    let _alone = busy().await;
    on_one_engine(|world| async move {
        let Some(host) = numbers_on(&world, "runc", "Enabled").await else { return };
        kills_under_load(&world, &host, &LOAD).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_shares_its_connection_ends_with_its_controller_and_the_next_one_starts_another() {
    on_each_engine(|world| async move {
        let Some(host) = numbers_on(&world, "runc", "Enabled").await else { return };
        assert_eq!(host.add(only("numbers"), "a", 1, LONG).await, Ok(1));
        let before = world.until_ready("numbers").await;
        world.terminate().await;
        world.start().await;
        let after = world.until_ready_again("numbers", &before).await;
        assert_eq!(restarts(&after).get("not_adoptable"), Some(&1), "{after:?}");
        let Some(host) = world.callback_host("numbers").await else { return };
        assert_eq!(host.add(only("numbers"), "a", 1, LONG).await, Ok(1));
    })
    .await;
}

#[tokio::test]
async fn a_stream_calls_back_for_each_of_its_messages() {
    on_one_engine(|world| async move {
        let Some(host) = numbers(&world).await else { return };
        streams_with_callbacks(&host).await;
    })
    .await;
}

#[tokio::test]
async fn a_host_dials_what_its_plugin_offers_before_and_after_a_restart() {
    on_each_engine(|world| async move {
        let Some(host) = numbers(&world).await else { return };
        let seen = world.until_ready("numbers").await;
        let first = host.open(only("numbers")).await.unwrap();
        let second = host.open(only("numbers")).await.unwrap();
        assert_eq!(host.echo(&first, "hello").await.unwrap().0, "hello");
        assert_eq!(host.echo(&second, "again").await.unwrap().0, "again");
        world.engine.kill(seen.container_id.as_deref().unwrap()).await;
        world.until_ready_again("numbers", &seen).await;
        assert!(host.echo(&first, "late").await.is_err(), "it went with its plugin");
        // The numbers begin anew, and the host may still wait for one of the same number.
        let third = loop {
            if let Ok(opened) = host.open(only("numbers")).await {
                break opened;
            }
        };
        assert_eq!(host.echo(&third, "new").await.unwrap().0, "new");
    })
    .await;
}

#[tokio::test]
async fn what_is_declared_to_prime_a_plugin_may_need_the_hosts_server() {
    on_one_engine(|world| async move {
        let priming =
            json!([{ "method": "/callback.Callback/Attach", "until": "/callback.Callback/Detach" }]);
        world.declare_runtime();
        world.declare("numbers.yaml", &[callback("numbers").with("/spec/priming", priming)]);
        world.start().await;
        let seen = world.until_ready("numbers").await;
        let Some(host) = world.callback_host("numbers").await else { return };
        let numbers = only("numbers");
        host.attach(numbers).await.unwrap();
        assert_eq!(host.add_kept(numbers, "a", 1, LONG).await, Ok(1));
        assert_eq!(host.attachments(numbers).await, 1);
        world.engine.kill(seen.container_id.as_deref().unwrap()).await;
        world.until_ready_again("numbers", &seen).await;
        assert_eq!(host.add_kept(numbers, "a", 1, LONG).await, Ok(2), "without another word of the host's");
        assert_eq!(host.attachments(numbers).await, 2);
    })
    .await;
}

#[tokio::test]
async fn hashicorps_counter_keeps_its_numbers_with_its_host() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("counter.yaml", &[go_counter("counter")]);
        world.start().await;
        let seen = world.until_ready("counter").await;
        let Some(host) = world.callback_host("counter").await else { return };
        assert_eq!(host.increment(only("counter"), "hello", 1, LONG).await, Ok(1));
        assert_eq!(host.increment(only("counter"), "hello", 2, LONG).await, Ok(3));
        world.engine.kill(seen.container_id.as_deref().unwrap()).await;
        world.until_ready_again("counter", &seen).await;
        assert_eq!(host.increment(only("counter"), "hello", 2, LONG).await, Ok(5));
    })
    .await;
}

#[tokio::test]
async fn hosts_of_one_container_whose_servers_nobody_could_tell_apart_are_told_so() {
    on_one_engine(|world| async move {
        let shared = callback("numbers").serving(&["one", "two"]).with("/spec/args", json!(["-multiplex"]));
        world.declare_runtime();
        world.declare("numbers.yaml", slice::from_ref(&shared));
        world.start().await;
        world.until_ready("numbers").await;
        let (Some(one), Some(two)) =
            (world.callback_host("numbers").await, world.callback_host("numbers").await)
        else {
            return;
        };
        let [first, second] = ["one", "two"].map(|mount| Instance::named(mount, "a"));
        assert_eq!(one.add(first, "a", 1, LONG).await, Ok(1));
        let failure = two.add(second, "a", 1, LONG).await.unwrap_err();
        assert_ne!(failure.code, Code::Ok);
        assert_eq!(two.stored(second, "a").await, 0, "and never is one led to the other's");
        assert_eq!(one.add(first, "a", 1, LONG).await, Ok(2));
        // What they are told to do.
        world.declare("numbers.yaml", &[shared.with("/spec/multiplexing", json!("Disabled"))]);
        world.until_slots_are("numbers", &["mount-one", "mount-two"]).await;
        let Some(two) = world.callback_host("numbers").await else { return };
        assert_eq!(two.add(second, "a", 1, LONG).await, Ok(1));
        assert_eq!(one.add(first, "a", 1, LONG).await, Ok(3));
    })
    .await;
}

#[tokio::test]
async fn what_a_plugin_writes_reaches_each_host_and_goes_on_after_a_restart() {
    on_each_engine(|world| async move {
        let Some(host) = numbers(&world).await else { return };
        let Some(other) = world.callback_host("numbers").await else { return };
        host.connect("numbers").await.unwrap();
        other.connect("numbers").await.unwrap();
        let seen = world.until_ready("numbers").await;
        let output =
            |stdout: &str, stderr: &str| Output { stdout: stdout.to_owned(), stderr: stderr.to_owned() };
        host.print(only("numbers"), "out", "err").await.unwrap();
        for host in [&host, &other] {
            host.until_output("numbers", &output("out\n", "err\n")).await;
        }
        world.engine.kill(seen.container_id.as_deref().unwrap()).await;
        world.until_ready_again("numbers", &seen).await;
        host.print(only("numbers"), "more", "").await.unwrap();
        for host in [&host, &other] {
            host.until_output("numbers", &output("out\nmore\n", "err\n")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_used_its_broker_is_replaced_by_the_next_controller_and_one_that_did_not_is_adopted() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("both.yaml", &[callback("used"), callback("unused")]);
        world.start().await;
        let used = world.until_ready("used").await;
        let unused = world.until_ready("unused").await;
        let (Some(host), Some(idle)) =
            (world.callback_host("used").await, world.callback_host("unused").await)
        else {
            return;
        };
        assert_eq!(host.add(only("used"), "a", 1, LONG).await, Ok(1));
        idle.connect("unused").await.unwrap();
        world.terminate().await;
        world.start().await;
        let replaced = world.until_ready_again("used", &used).await;
        assert_eq!(restarts(&replaced).get("not_adoptable"), Some(&1));
        let adopted = world.until_ready("unused").await;
        assert_eq!((&adopted.container_id, adopted.restarts), (&unused.container_id, 0));
        // A host that comes now has a broker again, and one that the adopted plugin needs is worth a container.
        let (Some(host), Some(late)) =
            (world.callback_host("used").await, world.callback_host("unused").await)
        else {
            return;
        };
        assert_eq!(host.add(only("used"), "a", 1, LONG).await, Ok(1));
        // This call may reach the plugin before that is known.
        let _ = late.add(only("unused"), "a", 1, LONG).await;
        let again = world.until_ready_again("unused", &unused).await;
        assert_eq!(restarts(&again).get("not_adoptable"), Some(&1));
        assert!(late.add(only("unused"), "a", 1, LONG).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn no_socket_is_left_of_what_was_offered() {
    on_one_engine(|world| async move {
        let Some(host) = numbers(&world).await else { return };
        let numbers = only("numbers");
        host.add(numbers, "a", 1, LONG).await.unwrap();
        let sockets = || {
            let shared = fs::read_dir(world.sockets().join("plugins")).unwrap().flatten();
            let shared: usize = shared.map(|directory| fs::read_dir(directory.path()).unwrap().count()).sum();
            shared + fs::read_dir(world.sockets().join("mounts/.broker")).unwrap().count()
        };
        let files = || world.held().files;
        world.settle().await;
        let before = files();
        for _ in 0..OFFERS {
            host.add(numbers, "a", 1, LONG).await.unwrap();
            let opened = host.open(numbers).await.unwrap();
            host.echo(&opened, "hello").await.unwrap();
            host.end(&opened).await.unwrap();
        }
        let most = before + 8;
        world
            .wait("what was offered is gone", async || (sockets() <= 1 && files() <= most).then_some(()))
            .await;
    })
    .await;
}

/// A controller with the plugin `numbers`, ready, and a host of it. `None` where there is no Go.
async fn numbers(world: &World) -> Option<CallbackHost> {
    world.declare_runtime();
    world.declare("numbers.yaml", &[callback("numbers")]);
    world.start().await;
    world.until_ready("numbers").await;
    world.callback_host("numbers").await
}
