//! Calls of grpc-go, with grpc-go on both ends of the relay.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod golang;
mod support;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use plugward_relay::{Limits, Outcome};
use support::program::Mount;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

/// The host and the plugin, built once. `None` where there is no Go.
fn programs() -> Option<&'static (PathBuf, PathBuf)> {
    static BUILT: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            Some((golang::build("./host", "relay-host")?, golang::build("./plugin", "relay-plugin")?))
        })
        .as_ref()
}

struct World {
    directory: TempDir,
    mount: Mount,
    host: &'static Path,
    plugin: &'static Path,
}

/// A plugin that runs.
struct Plugin {
    path: PathBuf,
    process: Child,
}

fn world() -> Option<World> {
    let (host, plugin) = programs()?;
    let directory = tempfile::tempdir().unwrap();
    let mount = Mount::start(directory.path().join("mount"), Limits::default());
    Some(World { directory, mount, host, plugin })
}

impl World {
    /// Starts a plugin, to which new connections go.
    async fn start(&self, name: &str, more: &[&str]) -> Plugin {
        let path = self.directory.path().join(name);
        let mut command = Command::new(self.plugin);
        let mut process =
            command.arg(&path).args(more).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        assert_eq!(line, "ready\n");
        self.mount.set_plugin(Some(path.clone()));
        Plugin { path, process }
    }

    fn host(&self, socket: &Path, arguments: &[&str]) -> Child {
        let mut command = Command::new(self.host);
        command.arg(socket).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    async fn output(&self, socket: &Path, arguments: &[&str]) -> String {
        let output = self.host(socket, arguments).wait_with_output().await.unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }
}

/// How many calls of a load had which outcome.
fn outcomes(output: &str) -> Vec<(usize, &str)> {
    output
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(count, outcome)| (count.parse().unwrap(), outcome))
        .collect()
}

#[tokio::test]
async fn every_kind_of_call_is_the_same_with_and_without_the_relay() {
    let Some(world) = world() else { return };
    let plugin = world.start("plugin", &[]).await;
    let direct = world.output(&plugin.path, &["calls"]).await;
    assert!(direct.lines().count() >= 27, "{direct}");
    assert_eq!(world.output(&world.mount.path, &["calls"]).await, direct);
}

#[tokio::test]
async fn no_call_fails_when_hosts_are_moved_from_plugin_to_plugin() {
    let Some(world) = world() else { return };
    let mut plugin = world.start("plugin", &[]).await;
    let mut load = world.host(&world.mount.path, &["load", "16"]);
    for number in 0..30 {
        // Some calls of each.
        world.mount.told.ended(world.mount.told.count() + 50).await;
        let next = world.start(&format!("plugin-{number}"), &[]).await;
        let control = world.mount.control();
        control.drain();
        control.over().await;
        plugin.process.kill().await.unwrap();
        plugin = next;
    }
    drop(load.stdin.take());
    let output = String::from_utf8(load.wait_with_output().await.unwrap().stdout).unwrap();
    let outcomes = outcomes(&output);
    assert_eq!(outcomes.len(), 1, "{output}");
    assert!(outcomes[0].0 >= 1500 && outcomes[0].1.starts_with("OK"), "{output}");
}

#[tokio::test]
async fn a_plugin_that_stops_gracefully_fails_no_call() {
    let Some(world) = world() else { return };
    let mut plugin = world.start("plugin", &[]).await;
    let mut load = world.host(&world.mount.path, &["load", "16"]);
    for number in 0..10 {
        world.mount.told.ended(world.mount.told.count() + 50).await;
        let next = world.start(&format!("plugin-{number}"), &[]).await;
        let pid = plugin.process.id().unwrap().to_string();
        assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
        assert!(plugin.process.wait().await.unwrap().success(), "it waited for its calls and ended");
        plugin = next;
    }
    drop(load.stdin.take());
    let output = String::from_utf8(load.wait_with_output().await.unwrap().stdout).unwrap();
    let outcomes = outcomes(&output);
    assert_eq!(outcomes.len(), 1, "{output}");
    assert!(outcomes[0].1.starts_with("OK"), "{output}");
}

#[tokio::test]
async fn a_plugins_death_fails_what_it_had_and_nothing_else() {
    let Some(world) = world() else { return };
    let mut plugin = world.start("plugin", &[]).await;
    let mut load = world.host(&world.mount.path, &["load", "16"]);
    for number in 0..10 {
        world.mount.told.ended(world.mount.told.count() + 50).await;
        let next = world.start(&format!("plugin-{number}"), &[]).await;
        plugin.process.kill().await.unwrap();
        plugin = next;
    }
    world.mount.told.ended(world.mount.told.count() + 50).await;
    drop(load.stdin.take());
    let output = String::from_utf8(load.wait_with_output().await.unwrap().stdout).unwrap();
    let mut failed = 0;
    for (count, outcome) in outcomes(&output) {
        match outcome.split_once(' ').unwrap() {
            ("OK", _) => {
                assert!(count >= 500, "{output}");
                continue;
            }
            ("Unavailable", message) => {
                // grpc-go tries a call again once: one that two deaths refused has these.
                let refused = ["the connection is draining", "REFUSED_STREAM"];
                let died = message.contains("the plugin died during this call");
                assert!(died || refused.iter().any(|refused| message.contains(refused)), "{output}");
            }
            // In the middle of a message, whatever it is told.
            ("Internal", message) => assert!(message.contains("unexpected EOF"), "{output}"),
            _ => panic!("{output}"),
        }
        failed += count;
    }
    assert!(failed <= 160, "more than were in flight: {output}");
}

#[tokio::test]
async fn calls_that_a_dead_plugin_never_saw_are_served_by_the_next() {
    let Some(world) = world() else { return };
    let mut plugin = world.start("plugin", &["1"]).await;
    let mut host = world.host(&world.mount.path, &["wait", "14"]);
    let mut output = BufReader::new(host.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).await.unwrap();
    assert_eq!(line, "hanging\n");
    // One is at the plugin, which takes no more, and the others wait here.
    while world.mount.budget.waiting() < 14 {
        tokio::task::yield_now().await;
    }
    let _next = world.start("next", &[]).await;
    plugin.process.kill().await.unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "hung: Unavailable \"the plugin died during this call\" []\n14 OK \"\" []\n");
    let ended = world.mount.told.ended(29).await;
    let refused = ended.iter().filter(|(_, ended)| ended.outcome == Outcome::Refused).count();
    assert_eq!(refused, 14);
}

#[tokio::test]
async fn a_stream_of_our_own_goes_on_while_its_host_moves_to_the_next_plugin() {
    let Some(mut world) = world() else { return };
    let mut plugin = world.start("plugin", &[]).await;
    let mut host = world.host(&world.mount.path, &["own"]);
    let mut served = world.mount.served.recv().await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = served.message().await {
            served.send(message).await.unwrap();
        }
    });
    let mut input = host.stdin.take().unwrap();
    let mut output = BufReader::new(host.stdout.take().unwrap()).lines();
    for number in 0..3 {
        let line = output.next_line().await.unwrap();
        assert_eq!(line.as_deref(), Some("on a stream of the relay's own OK \"\" []"));
        let next = world.start(&format!("plugin-{number}"), &[]).await;
        plugin.process.kill().await.unwrap();
        plugin = next;
        input.write_all(b"again\n").await.unwrap();
    }
    assert!(output.next_line().await.unwrap().is_some());
    // The first connection is there for the stream, and the last for calls.
    world.mount.told.until_running(2).await;
    drop(input);
    world.mount.told.until_running(0).await;
}
