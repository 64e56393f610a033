//! The plugin under a host that did not start it: go-plugin's client, reattached. Also the test of that host, `tests/hosts/generic`.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{path::Path, time::Duration};

use go_plugin::{Cookie, external::tonic::Code};
use plugward_tests::real::{BarePlugin, GenericHost, HostOptions, LIMIT, Load, Tally, reattach, skipped};
use rustix::process::{Signal, geteuid};
use tokio::{process::Command, time::timeout};

const MOUNT: &str = "numbers";

/// Shorter than anyone waits, for a call that is to run into it.
const SHORT: Option<Duration> = Some(Duration::from_millis(100));

const LONG: Option<Duration> = Some(LIMIT);

/// A user that owns nothing.
const NOBODY: u32 = 65534;

const LOAD: Load = Load { callers: 8, rate: None, deadline: Duration::from_secs(20) };

async fn plugin() -> BarePlugin {
    let cookie = Cookie::new("COUNTER_PLUGIN", "counter").unwrap();
    BarePlugin::start(&mut Command::new(env!("CARGO_BIN_EXE_counter-plugin")), cookie, &[1]).await
}

/// A host of the plugin that watches itself, as hosts of plugward do.
fn host(plugin: &BarePlugin) -> Option<GenericHost> {
    GenericHost::start(&plugin.reattach(&[MOUNT]), &HostOptions { own_pid: true, ..HostOptions::default() })
}

#[tokio::test]
async fn a_host_that_reattached_counts() {
    let plugin = plugin().await;
    let Some(host) = host(&plugin) else { return };

    assert_eq!(host.connect(MOUNT).await, Ok(1));
    assert_eq!(host.get(MOUNT, "hello", LONG).await, Ok(0));
    assert_eq!(host.increment(MOUNT, "hello", 2, None).await, Ok(2));
    assert_eq!(host.increment(MOUNT, "hello", -5, LONG).await, Ok(-3));
    assert_eq!(host.get(MOUNT, "hello", None).await, Ok(-3));
    host.ping(MOUNT).await.unwrap();
    assert_eq!(host.health(MOUNT, "plugin", LIMIT).await.unwrap(), "SERVING");
}

#[tokio::test]
async fn a_host_tells_what_calls_fail_with() {
    let plugin = plugin().await;
    let Some(host) = host(&plugin) else { return };

    let refused = host.increment(MOUNT, "", 1, LONG).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (Code::InvalidArgument, "a counter needs a key"));
    let unknown = host.health(MOUNT, "other", LIMIT).await.unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
    let elsewhere = host.get("letters", "hello", LONG).await.unwrap_err();
    assert!(elsewhere.message.contains("letters"), "{elsewhere:?}");
}

#[tokio::test]
async fn a_call_has_the_deadline_that_it_is_given() {
    let plugin = plugin().await;
    let Some(host) = host(&plugin) else { return };
    host.connect(MOUNT).await.unwrap();

    plugin.signal(Signal::STOP);
    assert_eq!(host.get(MOUNT, "hello", SHORT).await.unwrap_err().code, Code::DeadlineExceeded);
    let waits = host.get(MOUNT, "hello", None);
    plugin.signal(Signal::CONT);
    assert_eq!(waits.await, Ok(0));
}

#[tokio::test]
async fn every_call_of_a_load_is_counted() {
    let plugin = plugin().await;
    let Some(host) = host(&plugin) else { return };

    let load = host.load(MOUNT, &LOAD).await.unwrap();
    load.until_answered(10).await;
    let tally = load.stop().await;

    assert!(tally.answered >= 10, "{tally:?}");
    assert_eq!(tally, Tally { answered: tally.answered, slowest: tally.slowest, ..Tally::default() });
}

#[tokio::test]
async fn a_load_survives_its_plugin_and_counts_what_failed() {
    let plugin = plugin().await;
    let Some(host) = host(&plugin) else { return };

    let load = host.load(MOUNT, &LOAD).await.unwrap();
    load.until_answered(10).await;
    plugin.signal(Signal::KILL);
    plugin.ended().await;
    // It is answered when the channel has seen the end.
    host.ping(MOUNT).await.unwrap_err();
    let tally = load.stop().await;

    let unavailable = tally.failed_with(Code::Unavailable);
    assert!(tally.answered >= 10 && unavailable.count >= 1 && !unavailable.messages.is_empty(), "{tally:?}");
    assert_eq!((tally.failures(), tally.lost, tally.repeated), (unavailable.count, 0, 0), "{tally:?}");
}

#[tokio::test]
async fn a_load_notices_what_was_done_twice() {
    let plugin = plugin().await;
    let Some(host) = host(&plugin) else { return };

    let load = host.load(MOUNT, &LOAD).await.unwrap();
    load.until_answered(10).await;
    for caller in [0, 1] {
        host.increment(MOUNT, &load.key(caller), 1, LONG).await.unwrap();
    }
    timeout(LIMIT, async { while load.tally().await.repeated < 2 {} }).await.unwrap();

    assert_eq!(load.stop().await.repeated, 2);
}

#[tokio::test]
async fn a_load_keeps_to_its_rate() {
    let plugin = plugin().await;
    let Some(host) = host(&plugin) else { return };

    // One call of each caller, and the next in an hour.
    let load = host.load(MOUNT, &Load { rate: Some(8.0 / 3600.0), ..LOAD }).await.unwrap();
    load.until_answered(8).await;
    assert_eq!(load.stop().await.answered, 8);
}

#[tokio::test]
async fn a_host_that_watches_itself_thinks_that_its_plugin_lives_for_ever() {
    let plugin = plugin().await;
    let other = plugin.reattach(&[MOUNT]);
    let (Some(itself), Some(the_plugin)) =
        (host(&plugin), GenericHost::start(&other, &HostOptions::default()))
    else {
        return;
    };
    itself.connect(MOUNT).await.unwrap();
    the_plugin.connect(MOUNT).await.unwrap();
    assert!(!the_plugin.thinks_exited(MOUNT).await.unwrap());

    plugin.signal(Signal::KILL);
    plugin.ended().await;

    the_plugin.until_exited(MOUNT).await.unwrap();
    assert!(!itself.thinks_exited(MOUNT).await.unwrap());
}

#[tokio::test]
async fn a_kill_leaves_what_was_reattached_alone_and_a_close_does_not() {
    let plugin = plugin().await;
    let Some(host) = host(&plugin) else { return };
    host.connect(MOUNT).await.unwrap();

    host.client(MOUNT).kill().await.unwrap();
    assert_eq!(host.increment(MOUNT, "hello", 1, LONG).await, Ok(1));
    // The plugin closes its connections before it answers Shutdown: that the answer is lost is no failure.
    host.close(MOUNT).await.unwrap();

    assert!(plugin.ended().await.success());
}

#[tokio::test]
async fn a_host_can_be_another_user() {
    if !geteuid().is_root() {
        return skipped("only root can start a host as another user");
    }
    let plugin = plugin().await;
    let options = HostOptions { own_pid: true, user: Some(NOBODY), ..HostOptions::default() };
    let Some(host) = GenericHost::start(&plugin.reattach(&[MOUNT]), &options) else { return };

    // The socket's directory is ours alone.
    host.connect(MOUNT).await.unwrap_err();
    plugin.open_to_all();
    assert_eq!(host.increment(MOUNT, "hello", 1, LONG).await, Ok(1));
}

#[tokio::test]
async fn where_nobody_listens_a_host_cannot_connect() {
    let nowhere = reattach([(MOUNT, Path::new("/nonexistent/plugin.sock"))], 1, std::process::id());
    let Some(host) = GenericHost::start(&nowhere, &HostOptions::default()) else { return };

    let failure = host.connect(MOUNT).await.unwrap_err();
    assert!(failure.message.to_lowercase().contains("process"), "{failure:?}");
}
