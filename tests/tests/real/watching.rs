//! Commands that show how all stands, and go on with what changes, against a controller and plugins that run.

use plugward_tests::real::{Following, counter, on_one_engine};
use serde_json::{Value, json};

#[tokio::test]
async fn what_becomes_of_a_plugin_is_shown_while_it_happens() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.start().await;
        world.until_synced().await;
        let mut records = world.cli_following(&["get", "instances", "--watch", "-o", "json"]);
        let mut rows = world.cli_following(&["get", "instances", "--watch"]);
        let mut events = world.cli_following(&["events", "--watch", "-o", "json"]);
        rows.until("there are titles", |line| line.starts_with("NAME").then_some(())).await;

        world.declare("counter.yaml", &[counter("counter")]);
        until_change(&mut records, "ADDED", |_| true).await;
        until_change(&mut records, "MODIFIED", |object| object["status"]["phase"] == "Ready").await;
        rows.until("it is ready", |line| line.contains("Ready").then_some(())).await;
        until_event(&mut events, "Normal", "ready").await;

        let before = world.until_ready("counter").await;
        world.engine.kill(before.container_id.as_deref().unwrap()).await;
        until_event(&mut events, "Warning", "137").await;
        until_change(&mut records, "MODIFIED", |object| {
            object["status"]["phase"] == "Ready" && object["status"]["slots"][0]["restarts"] == 1
        })
        .await;

        world.remove("counter.yaml");
        until_change(&mut records, "DELETED", |_| true).await;
        rows.until("it is gone", |line| line.contains("<deleted>").then_some(())).await;

        // Whoever watches goes on when the next controller is there, and is told nothing twice.
        world.declare("second.yaml", &[counter("second")]);
        world.declare("steady.yaml", &[counter("steady")]);
        world.until_ready("second").await;
        world.until_ready("steady").await;
        let ready = |line: &str| (line.starts_with("second ") && line.contains("Ready")).then_some(());
        rows.until("it is ready", ready).await;
        let is = |line: &str, object: &str, reason: &str| {
            let event: Value = serde_json::from_str(line).expect("a line is an object");
            event["object"] == object && event["reason"] == reason
        };
        events.until("it is started", |line| is(line, "instance/steady", "Started").then_some(())).await;
        world.terminate().await;
        world.remove("second.yaml");
        world.declare("other.yaml", &[counter("other")]);
        world.start().await;
        let (mut gone, mut ready) = (false, false);
        let next = |line: &str| {
            assert!(!(line.starts_with("second ") && line.contains("runc")), "it was told: {line}");
            gone |= line.starts_with("second ") && line.contains("<deleted>");
            ready |= line.starts_with("other ") && line.contains("Ready");
            (gone && ready).then_some(())
        };
        rows.until("another is ready, and that one gone", next).await;
        let next = |line: &str| {
            assert!(!is(line, "instance/steady", "Started"), "it was told: {line}");
            is(line, "instance/other", "Ready").then_some(())
        };
        events.until("another is ready", next).await;
        for command in [records, rows, events] {
            command.interrupt();
            let said = command.ended().await;
            assert_eq!(said.code, Some(130), "{}", said.stderr);
            assert!(said.stderr.contains("the controller is back"), "{}", said.stderr);
        }
    })
    .await;
}

#[tokio::test]
async fn one_screen_says_how_all_stands_and_what_is_wrong() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let labelled = counter("counter").with("/metadata/labels/team", json!("orders"));
        world.declare("counter.yaml", &[labelled, counter("other")]);
        world.start().await;
        world.until_ready("counter").await;
        world.until_ready("other").await;
        let well = world.cli_ok(&["status"]).await;
        assert!(well.contains("2: 2 Ready") && well.contains("Nothing is wrong."), "{well}");
        let names = world.cli_ok(&["get", "instances", "-l", "team=orders", "-o", "name"]).await;
        assert_eq!(names, "instance/counter\n");
        let sorted = world.cli_ok(&["get", "instances", "--sort-by", ".metadata.name", "-o", "name"]).await;
        assert_eq!(sorted, "instance/counter\ninstance/other\n");

        world.write("wrong.yaml", "kind: Nothing\n");
        let wrong = world
            .wait("the mistake is told", async || {
                let said = world.cli(&["status"]).await;
                said.stdout.contains("wrong.yaml").then_some(said.stdout)
            })
            .await;
        assert!(wrong.contains("Wrong now:") && wrong.contains("plugward validate"), "{wrong}");
        let events = world.cli(&["events", "--for", "instance/other"]).await.stdout;
        assert!(events.contains("instance/other") && !events.contains("instance/counter"), "{events}");
    })
    .await;
}

#[tokio::test]
async fn fields_are_explained_where_no_controller_runs() {
    on_one_engine(|world| async move {
        let said = world.cli_ok(&["explain", "instance.spec.image.pullPolicy"]).await;
        assert!(said.contains("IfNotPresent"), "{said}");
        let unknown = world.cli(&["explain", "instance.spec.image.pullPolicies"]).await;
        assert_eq!(unknown.code, Some(2));
        assert!(unknown.stderr.contains("did you mean"), "{}", unknown.stderr);
    })
    .await;
}

async fn until_change(records: &mut Following, kind: &str, is_it: impl Fn(&Value) -> bool) {
    let look = |line: &str| {
        let change: Value = serde_json::from_str(line).expect("a line is an object");
        (change["type"] == kind && is_it(&change["object"])).then_some(())
    };
    records.until(&format!("a record is {kind}"), look).await;
}

async fn until_event(events: &mut Following, kind: &str, said: &str) {
    let look = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("a line is an object");
        (event["type"] == kind && event["message"].as_str()?.contains(said)).then_some(())
    };
    events.until(&format!("a {kind} event says {said}"), look).await;
}
