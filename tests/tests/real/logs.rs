//! `plugward logs` against plugins that run, and that ran.

use plugward_api::{InstanceStatus, Phase};
use plugward_tests::real::{Said, counter, go_counter, hostile, on_one_engine};
use serde_json::{Value, json};

/// What go-plugin writes to its log when it starts, as hclog's text format has it.
const STARTED: &str = "[DEBUG] plugin address: address=/";

#[tokio::test]
async fn a_log_is_readable_and_goes_on_with_the_container_that_comes_after() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("go.yaml", &[go_counter("go")]);
        world.start().await;
        let before = world.until_ready("go").await;

        let text = world.cli_ok(&["logs", "go"]).await;
        assert!(text.lines().any(|line| line.starts_with("20") && line.contains(STARTED)), "{text}");
        assert!(!text.contains("|grpc|"), "the handshake is for hosts: {text}");
        let raw = world.cli_ok(&["logs", "instance/go", "-o", "raw"]).await;
        assert_eq!(raw.lines().count(), text.lines().count());
        let lines: Vec<Value> = raw.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().any(|line| line["@message"] == "plugin address"), "{raw}");
        let told = world.cli_ok(&["logs", "go", "-o", "json", "--tail", "1"]).await;
        let told: Value = serde_json::from_str(&told).expect("one line, the handshake not counted");
        assert_eq!(
            (&told["slot"], &told["stream"], told["container"].as_str()),
            (&json!("shared"), &json!("stderr"), before.container_name.as_deref())
        );
        let at = told["at"].as_str().unwrap();
        let since = world.cli_ok(&["logs", "go", "--since", at, "--timestamps"]).await;
        assert!(since.lines().count() == 1 && since.starts_with(&at[..19]), "{at}: {since}");
        assert_eq!(world.cli_ok(&["logs", "go", "--since", "2100-01-01T00:00:00Z"]).await, "");
        assert_eq!(world.cli_ok(&["logs", "go", "--since", "1h"]).await, text);
        let none = world.cli(&["logs", "go", "--previous"]).await;
        assert!(none.code == Some(1) && none.stderr.contains("no earlier container"), "{}", none.stderr);

        let mut follow = world.cli_following(&["logs", "go", "--follow", "--tail", "0", "-o", "json"]);
        // That it follows is seen by what is written next: by a container that comes after.
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        follow.until("the next one says so", started).await;
        let after = world.until_ready_again("go", &before).await;
        let previous = world
            .wait("the lines of the dead one are kept", async || {
                let said = world.cli(&["logs", "go", "--previous"]).await;
                said.stderr.contains("is gone").then_some(said)
            })
            .await;
        assert_eq!((previous.code, previous.stdout.as_str()), (Some(0), text.as_str()));
        assert!(previous.stderr.contains(before.container_name.as_deref().unwrap()), "{}", previous.stderr);
        assert_ne!(world.cli_ok(&["logs", "go"]).await, text);

        // The controller goes away, and the plugin says nothing meanwhile: what was shown is not shown again.
        world.kill().await;
        world.start().await;
        world
            .wait("it is read again, and followed", async || {
                let read =
                    world.metrics().await.get(r#"plugward_engine_calls_total{operation="logs",result="ok"}"#);
                read.filter(|calls| *calls >= 2.0)
            })
            .await;
        world.engine.kill(after.container_id.as_deref().unwrap()).await;
        let next = follow.until("it is followed again", started).await;
        assert_ne!(Some(next.as_str()), after.container_name.as_deref(), "it was told");
        follow.interrupt();
        let said = follow.ended().await;
        assert_eq!(said.code, Some(130), "{}", said.stderr);
        assert!(said.stderr.contains("takes the place of"), "{}", said.stderr);
        assert!(said.stderr.contains("the controller is back"), "{}", said.stderr);
    })
    .await;
}

/// Which container says in a line that it has started.
fn started(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).expect("a line is an object");
    let text = line["text"].as_str()?;
    text.contains("plugin address").then(|| line["container"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn the_last_words_of_a_plugin_that_failed_are_told_with_how_to_see_more() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let failing = hostile("failing", &["exit", "--message", "no such cheese"]);
        let two = counter("two")
            .with("/spec/mounts", json!([{ "name": "a" }, { "name": "b" }]))
            .with("/spec/env/COUNTER_GREETING", json!("hello"));
        world.declare("records.yaml", &[failing, two]);
        world.start().await;
        world.until("failing", "backs off", |status| status.phase == Phase::BackingOff).await;
        for command in [&["logs", "failing"][..], &["logs", "failing", "-p"]] {
            let said = world.cli(command).await;
            assert_eq!((said.code, said.stdout.as_str()), (Some(0), "no such cheese\n"), "{}", said.stderr);
        }
        let described = world.cli_ok(&["describe", "instance", "failing"]).await;
        for phrase in ["| no such cheese", "plugward logs failing --previous"] {
            assert!(described.contains(phrase), "{phrase:?} is not in {described}");
        }

        world.until_ready("two").await;
        let both = world
            .wait("both have said hello", async || {
                let text = world.cli_ok(&["logs", "two"]).await;
                (text.lines().count() == 2).then_some(text)
            })
            .await;
        let mut lines: Vec<&str> = both.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["[mount-a] hello", "[mount-b] hello"]);
        assert_eq!(world.cli_ok(&["logs", "two", "--slot", "mount-b"]).await, "hello\n");
        let absent = |said: &Said, phrase: &str| {
            assert!(said.code == Some(1) && said.stderr.contains(phrase), "{phrase:?}: {}", said.stderr);
        };
        absent(&world.cli(&["logs", "two", "--slot", "shared"]).await, "it has mount-a, mount-b");
        absent(&world.cli(&["logs", "twoo"]).await, "did you mean \"two\"?");

        let mut follow = world.cli_following(&["logs", "two", "--follow", "--slot", "mount-a"]);
        follow.until("it is followed", |line| (line == "hello").then_some(())).await;
        world.remove("records.yaml");
        let said = follow.ended().await;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), "plugward: instance \"two\" is deleted\n"));
    })
    .await;
}

#[tokio::test]
async fn the_last_words_of_a_container_that_a_spare_replaces_are_those_of_its_slot() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let spared = counter("spared")
            .with("/spec/standby", json!(1))
            .with("/spec/env/COUNTER_GREETING", json!("hello"));
        world.declare("spared.yaml", &[spared]);
        world.start().await;
        let before = world.until_ready("spared").await;
        let has_spare = |status: &InstanceStatus| {
            status.slots.iter().any(|slot| slot.name == "spare-1" && slot.ready_at.is_some())
        };
        let mut before = before;
        // Who took over was a spare, and has another name and label than those whose place it took.
        for _ in 0..2 {
            world.until("spared", "has a spare", has_spare).await;
            world.engine.kill(before.container_id.as_deref().unwrap()).await;
            let after = world.until_ready_again("spared", &before).await;
            let gone = format!("{} is gone", before.container_name.as_deref().unwrap());
            let said = world
                .wait("its last lines are kept", async || {
                    let said = world.cli(&["logs", "spared", "--previous", "--slot", &before.name]).await;
                    said.stderr.contains(&gone).then_some(said)
                })
                .await;
            assert_eq!((said.code, said.stdout.as_str()), (Some(0), "hello\n"), "{}", said.stderr);
            before = after;
        }
    })
    .await;
}
