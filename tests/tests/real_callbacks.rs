//! Plugins that call their host back, under go-plugin's own client and with nothing of ours between them: what the gateway has to carry.
//! Also the test of that host, `tests/hosts/callback`, and of that plugin, `tests/plugins/go/callback`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use go_plugin::Cookie;
use go_plugin::external::tonic::Code;
use plugward_tests::real::{
    BarePlugin, CallbackHost, HostOptions, Instance, LIMIT, Load, Output, Tally, Watch, go_program, reattach,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

const MOUNT: &str = "numbers";
const ONLY: Instance<'_> = Instance::only(MOUNT);
const ORDERS: Instance<'_> = Instance::named(MOUNT, "orders");
const BILLING: Instance<'_> = Instance::named(MOUNT, "billing");

const LONG: Option<Duration> = Some(LIMIT);

const LOAD: Load = Load { callers: 8, rate: None, deadline: Duration::from_secs(30) };

const WATCH: Watch<'_> = Watch { key: "seen", messages: None, take: None, kept: false };

/// What a plugin fails with whose host told it of nothing: it waits for that for 5 s.
const NOT_TOLD: &str = "timeout waiting for connection info";

async fn plugin(arguments: &[&str]) -> Option<BarePlugin> {
    let program = go_program("plugins/go", "./callback")?;
    let cookie = Cookie::new("CALLBACK_PLUGIN", "callback").unwrap();
    Some(BarePlugin::start(Command::new(program).args(arguments), cookie, &[1]).await)
}

async fn plugin_counter() -> Option<BarePlugin> {
    let package = "github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/plugin-counter";
    let program = go_program("plugins/go", package)?;
    Some(
        BarePlugin::start(&mut Command::new(program), Cookie::new("BASIC_PLUGIN", "hello").unwrap(), &[1])
            .await,
    )
}

fn host(plugin: &BarePlugin) -> Option<CallbackHost> {
    CallbackHost::start(&plugin.reattach(&[MOUNT]), &HostOptions { own_pid: true, ..HostOptions::default() })
}

/// A plugin, and a host of it.
async fn started(arguments: &[&str]) -> Option<(BarePlugin, CallbackHost)> {
    let plugin = plugin(arguments).await?;
    let host = host(&plugin)?;
    Some((plugin, host))
}

/// Only what was right.
fn clean(tally: &Tally) -> Tally {
    Tally { answered: tally.answered, slowest: tally.slowest, ..Tally::default() }
}

#[tokio::test]
async fn each_call_calls_back_over_a_connection_of_its_own() {
    let Some((_plugin, host)) = started(&[]).await else { return };

    assert!(!host.connect(MOUNT).await.unwrap());
    assert_eq!(host.add(ONLY, "hello", 2, LONG).await, Ok(2));
    assert_eq!(host.add(ONLY, "hello", -5, None).await, Ok(-3));
    assert_eq!(host.stored(ONLY, "hello").await, -3);
}

#[tokio::test]
async fn what_is_attached_is_kept_until_it_is_detached() {
    let Some((_plugin, host)) = started(&[]).await else { return };
    let unattached = host.add_kept(ONLY, "hello", 1, LONG).await.unwrap_err();
    assert_eq!(
        (unattached.code, unattached.message.as_str()),
        (Code::FailedPrecondition, "no storage is attached")
    );

    host.attach(ONLY).await.unwrap();
    assert_eq!(host.attachments(ONLY).await, 1);
    assert_eq!(host.add_kept(ONLY, "hello", 1, LONG).await, Ok(1));
    // Another takes the place of the first.
    host.attach(ONLY).await.unwrap();
    assert_eq!(host.attachments(ONLY).await, 2);
    assert_eq!(host.add_kept(ONLY, "hello", 1, LONG).await, Ok(2));

    host.detach(ONLY).await.unwrap();
    assert_eq!(host.add_kept(ONLY, "hello", 1, LONG).await, Err(unattached));
    assert_eq!(host.stored(ONLY, "hello").await, 2);
}

#[tokio::test]
async fn a_stream_calls_back_for_each_of_its_messages() {
    let Some((_plugin, host)) = started(&[]).await else { return };

    let five = Watch { messages: Some(5), ..WATCH };
    assert_eq!(host.watch(ONLY, &five).await.unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(host.stored(ONLY, "seen").await, 5);

    host.attach(ONLY).await.unwrap();
    let cancelled = Watch { key: "kept", take: Some(3), kept: true, ..WATCH };
    assert_eq!(host.watch(ONLY, &cancelled).await.unwrap(), [1, 2, 3]);
    assert_eq!(host.add(ONLY, "hello", 1, LONG).await, Ok(1));
}

#[tokio::test]
async fn a_host_calls_what_its_plugin_serves() {
    let Some((_plugin, host)) = started(&[]).await else { return };
    // Ids of the two sides are the same, and do not meet.
    host.attach(ONLY).await.unwrap();
    let (first, second) = (host.open(ONLY).await.unwrap(), host.open(ONLY).await.unwrap());

    assert_eq!(host.echo(&first, "hello").await.unwrap(), ("hello".to_owned(), 1));
    assert_eq!(host.echo(&first, "again").await.unwrap(), ("again".to_owned(), 2));
    assert_eq!(host.echo(&second, "hello").await.unwrap(), ("hello".to_owned(), 1));
    assert_eq!(host.add_kept(ONLY, "hello", 1, LONG).await, Ok(1));

    host.end(&first).await.unwrap();
    assert_eq!(host.echo(&first, "gone").await.unwrap_err().code, Code::Unavailable);
    assert_eq!(host.end(&first).await.unwrap_err().code, Code::NotFound);
    assert_eq!(host.echo(&second, "there").await.unwrap(), ("there".to_owned(), 2));
}

#[tokio::test]
async fn what_a_plugin_writes_comes_to_its_host() {
    let Some((_plugin, host)) = started(&[]).await else { return };

    host.print(ONLY, "out", "").await.unwrap();
    host.print(ONLY, "", "error").await.unwrap();
    // More than one piece of go-plugin's stream, and more than a pipe holds.
    let long = "long ".repeat(20_000);
    host.print(ONLY, &long, "").await.unwrap();

    let wanted = Output { stdout: format!("out\n{long}\n"), stderr: "error\n".to_owned() };
    host.until_output(MOUNT, &wanted).await;
}

#[tokio::test]
async fn instances_of_a_plugin_that_multiplexes_are_not_mixed_up() {
    let Some((_plugin, host)) = started(&["-multiplex"]).await else { return };
    assert!(host.connect(MOUNT).await.unwrap());

    host.attach(ORDERS).await.unwrap();
    assert_eq!(host.add_kept(BILLING, "hello", 1, LONG).await.unwrap_err().code, Code::FailedPrecondition);
    host.attach(BILLING).await.unwrap();
    assert_eq!(host.add_kept(ORDERS, "hello", 1, LONG).await, Ok(1));
    assert_eq!(host.add_kept(BILLING, "hello", 10, LONG).await, Ok(10));
    assert_eq!(host.add(ORDERS, "hello", 1, LONG).await, Ok(2));
    host.detach(ORDERS).await.unwrap();
    assert_eq!(host.add_kept(BILLING, "hello", 10, LONG).await, Ok(20));

    assert_eq!(host.add(ONLY, "hello", 1, LONG).await.unwrap_err().code, Code::InvalidArgument);
    assert_eq!((host.stored(ORDERS, "hello").await, host.stored(BILLING, "hello").await), (2, 20));
}

#[tokio::test]
async fn the_plugin_in_go_counts_in_its_host() {
    let Some(plugin) = plugin_counter().await else { return };
    let Some(host) = host(&plugin) else { return };

    assert_eq!(host.increment(ONLY, "hello", 1, LONG).await, Ok(1));
    assert_eq!(host.increment(ONLY, "hello", 2, LONG).await, Ok(3));
    assert_eq!(host.increment(ONLY, "world", 2, LONG).await, Ok(2));
    assert_eq!(host.stored(ONLY, "hello").await, 3);

    let load = host.load_increments(ONLY, &LOAD).await.unwrap();
    load.until_answered(20).await;
    let tally = load.stop().await;
    assert_eq!(tally, clean(&tally));
}

#[tokio::test]
async fn the_callbacks_of_every_call_of_a_load_are_counted() {
    let Some((_plugin, host)) = started(&[]).await else { return };
    host.attach(ONLY).await.unwrap();

    let (own, kept) = (host.load(ONLY, &LOAD).await.unwrap(), host.load_kept(ONLY, &LOAD).await.unwrap());
    own.until_answered(50).await;
    kept.until_answered(50).await;
    let key = own.key(0);
    let (own, kept) = (own.stop().await, kept.stop().await);

    assert_eq!((&own, &kept), (&clean(&own), &clean(&kept)));
    assert!(host.stored(ONLY, &key).await > 0);
}

#[tokio::test]
async fn a_load_notices_callbacks_that_nobody_called_for() {
    let Some((_plugin, host)) = started(&[]).await else { return };
    host.attach(ONLY).await.unwrap();

    let (kept, own) = (host.load_kept(ONLY, &LOAD).await.unwrap(), host.load(ONLY, &LOAD).await.unwrap());
    kept.until_answered(10).await;
    own.until_answered(10).await;
    for caller in [0, 1] {
        host.add(ONLY, &kept.key(caller), 1, LONG).await.unwrap();
        host.add(ONLY, &own.key(caller), 1, LONG).await.unwrap();
    }
    let noticed = async { while kept.tally().await.repeated < 2 {} };
    timeout(LIMIT, noticed).await.expect("a number that is too high stays so");
    kept.stop().await;

    // Those of the other load know which callbacks are theirs.
    let own = own.stop().await;
    assert_eq!(own, clean(&own));
}

#[tokio::test]
async fn a_plugin_that_is_killed_fails_what_is_under_way() {
    let Some((plugin, host)) = started(&[]).await else { return };
    let watch = host.watch(ONLY, &WATCH);
    let load = host.load(ONLY, &LOAD).await.unwrap();
    load.until_answered(10).await;
    host.until_stored(ONLY, WATCH.key, 10).await;

    plugin.signal(Signal::KILL);
    plugin.ended().await;
    assert_eq!(watch.await.unwrap_err().code, Code::Unavailable);
    let tally = load.stop().await;

    assert!(tally.answered >= 10 && tally.failures() >= 1, "{tally:?}");
    assert_eq!((tally.lost, tally.repeated, tally.wrong), (0, 0, 0), "{tally:?}");
}

#[tokio::test]
async fn without_a_gateway_a_plugin_that_was_replaced_cannot_call_back() {
    let Some(first) = plugin(&[]).await else { return };
    let place = TempDir::new().unwrap();
    let socket = place.path().join("plugin.sock");
    symlink(first.socket(), &socket).unwrap();
    let mounts = reattach([(MOUNT, socket.as_path())], first.version(), first.pid());
    let options = HostOptions { own_pid: true, ..HostOptions::default() };
    let Some(host) = CallbackHost::start(&mounts, &options) else { return };
    host.attach(ONLY).await.unwrap();
    host.print(ONLY, "first", "").await.unwrap();
    let first_only = Output { stdout: "first\n".to_owned(), ..Output::default() };
    host.until_output(MOUNT, &first_only).await;

    first.signal(Signal::KILL);
    first.ended().await;
    let Some(second) = plugin(&[]).await else { return };
    put_behind(&second, &socket);

    // Calls come through, from the same client, but it has opened the streams of its broker and of the output for the last time.
    until_printed(&host, "second").await;
    let failure = host.add(ONLY, "hello", 1, LONG).await.unwrap_err();
    assert!(failure.message.contains(NOT_TOLD), "{failure:?}");
    assert_eq!(host.add_kept(ONLY, "hello", 1, LONG).await.unwrap_err().code, Code::FailedPrecondition);
    assert_eq!(host.output(MOUNT).await, first_only);
}

/// Lets the path lead to another plugin's socket, at no time to none.
fn put_behind(plugin: &BarePlugin, path: &Path) {
    let fresh = path.with_extension("fresh");
    symlink(plugin.socket(), &fresh).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

/// Waits until the client has reconnected.
async fn until_printed(host: &CallbackHost, line: &str) {
    let printed = async { while host.print(ONLY, line, "").await.is_err() {} };
    timeout(LIMIT, printed).await.expect("the client reconnects");
}

#[tokio::test]
async fn without_a_gateway_the_first_host_that_leaves_takes_the_broker_of_all_others_along() {
    let Some((plugin, first)) = started(&[]).await else { return };
    let Some(second) = host(&plugin) else { return };
    assert_eq!(first.add(ONLY, "hello", 1, LONG).await, Ok(1));
    second.connect(MOUNT).await.unwrap();

    drop(first);

    // The plugin has one broker, whoever it is connected to.
    let closed = async {
        loop {
            match second.open(ONLY).await {
                Err(failure) if failure.code == Code::Unavailable => return failure,
                _ => (),
            }
        }
    };
    let closed = timeout(LIMIT, closed).await.expect("the plugin's broker is closed");
    assert_eq!(closed.message, "the host cannot be told of it");
    second.print(ONLY, "still there", "").await.unwrap();
}

#[tokio::test]
async fn shutdown_ends_it() {
    let Some((plugin, host)) = started(&[]).await else { return };
    host.attach(ONLY).await.unwrap();

    host.close(MOUNT).await.unwrap();

    assert!(plugin.ended().await.success());
}
