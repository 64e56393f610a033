//! The host's half against a plugin made with the real go-plugin library.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod golang;
mod process;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use futures::StreamExt;
use go_plugin::{Cookie, Handshake, Health, Plugin, Problem, ReadLineError};
use process::{LIMIT, Process};
use tokio::process::Command;

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/plugins/go");
const PACKAGE: &str =
    "github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/plugin-counter";

fn cookie() -> Cookie {
    Cookie::new("BASIC_PLUGIN", "hello").unwrap()
}

/// Builds the plugin once for all tests. `None` where there is no Go.
fn plugin_counter() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| golang::build(MODULE, PACKAGE, "plugin-counter")).as_deref()
}

fn start(binary: &Path, automtls: bool) -> Process {
    Process::start(&mut Command::new(binary), cookie(), automtls)
}

#[tokio::test]
async fn it_is_healthy_and_ends_when_told() {
    let Some(binary) = plugin_counter() else { return };
    for automtls in [true, false] {
        let mut process = start(binary, automtls);
        let plugin = process.plugin().await;
        let mut stdio = plugin.stdio();
        assert!(futures::poll!(stdio.next()).is_pending());
        assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
        assert!(futures::poll!(stdio.next()).is_pending(), "its output is not open");

        plugin.shutdown(LIMIT).await.unwrap();

        plugin.closed().await;
        assert_eq!(stdio.next().await, None);
        assert!(process.child.wait().await.unwrap().success());
        assert!(process.left_nothing());
    }
}

#[tokio::test]
async fn its_death_is_seen_at_once() {
    let Some(binary) = plugin_counter() else { return };
    let mut process = start(binary, true);
    let plugin = process.plugin().await;
    let waiting = tokio::spawn({
        let plugin = plugin.clone();
        async move { plugin.closed().await }
    });
    plugin.health(LIMIT).await.unwrap();

    process.child.kill().await.unwrap();

    waiting.await.unwrap();
    assert_eq!(plugin.health(LIMIT).await.unwrap_err().as_str(), "connection_lost");
    assert_eq!(plugin.stdio().next().await, None);
}

#[tokio::test]
async fn it_lets_a_host_with_the_stored_identity_in_again() {
    let Some(binary) = plugin_counter() else { return };
    let mut process = start(binary, true);
    let handshake = process.handshake().await;
    drop(process.connect(&handshake).await);

    let stored = process.identity.as_ref().unwrap().to_pem();
    process.identity = Some(go_plugin::Identity::from_pem(&stored).unwrap());
    let stored = Handshake::parse(handshake.to_string().as_bytes()).unwrap();
    let again: Plugin = process.connect(&stored).await;

    assert_eq!(again.health(LIMIT).await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn without_its_cookie_it_prints_no_line() {
    let Some(binary) = plugin_counter() else { return };
    let cookie = Cookie::new("BASIC_PLUGIN", "goodbye").unwrap();
    let mut process = Process::start(&mut Command::new(binary), cookie, true);

    let error = process.line().await.unwrap_err();

    assert!(matches!(error, ReadLineError::Line(go_plugin::LineError::NoLine)), "{error}");
    assert_eq!(process.child.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn its_answers_to_what_it_was_not_made_for_are_understood() {
    let Some(binary) = plugin_counter() else { return };
    // env(1) replaces what the launch says.
    let line = async |name: &str, value: &str| {
        let mut command = Command::new("env");
        command.arg(format!("{name}={value}")).arg(binary);
        let mut process = Process::start(&mut command, cookie(), false);
        Handshake::parse(&process.line().await.unwrap().line).unwrap()
    };
    let expected =
        |versions, multiplex_broker| go_plugin::Expected { versions, automtls: false, multiplex_broker };

    let other_version = line("PLUGIN_PROTOCOL_VERSIONS", "2,3").await;
    assert_eq!(
        other_version.check(&expected(vec![2, 3], false)),
        Err(Problem::AppVersionNotOffered { served: 1, offered: vec![2, 3] })
    );
    let multiplexed = line("PLUGIN_MULTIPLEX_GRPC", "true").await;
    assert_eq!(multiplexed.check(&expected(vec![1], true)), Ok(()));
}
