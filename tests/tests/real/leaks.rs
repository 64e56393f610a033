//! Nothing is left of hosts and plugins that were: no descriptor, no socket, and no memory.

use std::time::Duration;

use plugward_tests::real::{CallbackHost, Held, Instance, LIMIT, World, callback, on_each_engine};

const LONG: Option<Duration> = Some(LIMIT);

/// How often a host comes and goes.
const ROUNDS: usize = 200;

/// In each round of this number its plugin is killed while it is there.
const PLUGIN_KILLED: usize = 20;

/// In each round of this number the host is killed, instead of going by itself.
const HOST_KILLED: usize = 25;

const NUMBERS: Instance<'_> = Instance::only("numbers");

#[tokio::test]
async fn nothing_is_left_of_two_hundred_hosts_and_their_servers() {
    on_each_engine(|world| async move {
        world.declare_runtime();
        world.declare("numbers.yaml", &[callback("numbers")]);
        world.start().await;
        world.until_ready("numbers").await;
        let sockets = world.held().sockets;
        // What comes with the first host and the first kill, and stays, is no leak: connections to the engine, and one to the plugin that is
        // kept ready.
        let Some(host) = world.callback_host("numbers").await else { return };
        visit(&world, &host, true).await;
        drop(host);
        kill_plugin(&world).await;
        until(&world, "the first host is gone", |now| now.sockets == sockets).await;
        world.settle().await;
        let before = world.held();

        let mut host = None;
        for round in 1..=ROUNDS {
            let visitor = match host.take() {
                Some(host) => host,
                None => world.callback_host("numbers").await.unwrap(),
            };
            visit(&world, &visitor, round.is_multiple_of(PLUGIN_KILLED)).await;
            if !round.is_multiple_of(HOST_KILLED) {
                visitor.close("numbers").await.unwrap();
                host = Some(visitor);
            }
        }
        drop(host);
        until(&world, "nothing is left in the controller", |now| {
            now.files <= before.files && now.offered == 0
        })
        .await;
        // A plugin may keep what it has offered for as long as it lives.
        kill_plugin(&world).await;
        until(&world, "nothing is left", |now| now.files <= before.files && now.sockets == before.sockets)
            .await;
        let after = world.held();
        assert!(after.has_memory_of(&before), "memory is left: before {before:?}, after {after:?}");
    })
    .await;
}

/// A host that may just have come is called back, and opens what the plugin offers, which is still there when this returns.
async fn visit(world: &World, host: &CallbackHost, kills: bool) {
    host.add(NUMBERS, "a", 1, LONG).await.unwrap();
    let opened = host.open(NUMBERS).await.unwrap();
    host.echo(&opened, "hello").await.unwrap();
    if kills {
        kill_plugin(world).await;
        // Its numbers begin anew, for which a host's broker may not be ready yet.
        host.close("numbers").await.unwrap();
        host.add(NUMBERS, "a", 1, LONG).await.unwrap();
        host.open(NUMBERS).await.unwrap();
    }
}

async fn kill_plugin(world: &World) {
    let seen = world.until_ready("numbers").await;
    world.engine.kill(seen.container_id.as_deref().unwrap()).await;
    world.until_ready_again("numbers", &seen).await;
}

async fn until(world: &World, what: &str, wanted: impl Fn(&Held) -> bool) {
    let mut seen: Option<Held> = None;
    let is_so = async || {
        let now = world.held();
        // For a test that fails: what it came to.
        if seen.replace(now).is_none_or(|before| (before.files, before.sockets) != (now.files, now.sockets)) {
            eprintln!("{}: until {what}: {now:?}", world.engine.name);
        }
        wanted(&now).then_some(())
    };
    world.wait(what, is_so).await;
}
