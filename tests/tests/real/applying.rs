//! Records that are put, restarted and taken away by commands, by those who may.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use plugward_api::Phase;
use plugward_tests::real::{
    LIMIT, Load, RunningLoad, Said, World, counter, on_each_engine, on_one_engine, restarts, runtime, slot,
};
use serde_json::json;

/// Enough to have calls under way at any moment.
const LOAD: Load = Load { callers: 8, rate: Some(400.0), deadline: LIMIT };

/// What must be answered before and after a restart.
const SOME: u64 = 50;

/// Users who are not root and have no account, and their group, which may talk to the controller.
const OWNER: (u32, u32) = (54_331, 54_330);
const STRANGER: (u32, u32) = (54_332, 54_330);

#[tokio::test]
async fn a_plugin_is_applied_changed_restarted_under_load_and_deleted() {
    on_each_engine(|world| async move {
        world.start().await;
        let first = [runtime(&world.engine.host), counter("counter")];
        let draft = world.draft("draft.yaml", &first);
        let apply = |more: &'static [&str]| {
            let mut words = vec!["apply", "-f", draft.as_str()];
            words.extend(more);
            words
        };
        let dry = world.cli_ok(&apply(&["--dry-run=server"])).await;
        assert_eq!(
            dry,
            "pluginruntime/runc created (server dry run)\nplugininstance/counter created (server dry run)\n"
        );
        assert_eq!(fs::read_dir(world.manifests()).unwrap().count(), 0, "nothing was written");

        let applied = world.cli_ok(&apply(&["--wait", "--timeout", "90s"])).await;
        assert!(
            applied.starts_with("pluginruntime/runc created\nplugininstance/counter created\n"),
            "{applied}"
        );
        assert!(
            applied.contains("plugininstance/counter: Ready\n") && !applied.contains('\x1b'),
            "{applied}"
        );
        let ready = world.until_ready("counter").await;
        let file = world.manifests().join("plugininstance-counter.yaml");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        let again = world.cli_ok(&apply(&["--wait"])).await;
        assert!(again.contains("plugininstance/counter unchanged\n"), "{again}");

        let edited = counter("counter").with("/spec/env/EDIT", json!("1"));
        world.draft("draft.yaml", &[first[0].clone(), edited]);
        let changed = world.cli_ok(&apply(&["--wait", "--timeout", "90s", "--diff"])).await;
        assert!(changed.contains("pluginruntime/runc unchanged\n"), "{changed}");
        assert!(
            changed.contains("plugininstance/counter configured\n") && changed.contains("\n+"),
            "{changed}"
        );
        let edited = slot(&world.status("counter").await.unwrap()).clone();
        assert_ne!(edited.container_id, ready.container_id, "it waited for the edit");

        restart_under_load(&world).await;

        let deleted = world.cli_ok(&["delete", "-f", &draft, "--wait", "--timeout", "90s"]).await;
        assert!(deleted.contains("plugininstance \"counter\" deleted\n"), "{deleted}");
        assert!(deleted.contains("pluginruntime \"runc\" deleted\n"), "{deleted}");
        assert!(world.containers_of("counter").await.is_empty());
        assert_eq!(fs::read_dir(world.manifests()).unwrap().count(), 0);
    })
    .await;
}

/// A restart replaces the container, fails no call, counts as none, and says who asked.
async fn restart_under_load(world: &World) {
    let before = slot(&world.status("counter").await.unwrap()).clone();
    let Some(host) = world.generic_host("counter").await else { return };
    let load = host.load("counter", &LOAD).await.unwrap();
    more(&load).await;
    let said = world.cli_ok(&["restart", "counter", "--wait", "--timeout", "90s"]).await;
    assert!(said.starts_with("plugininstance/counter restarted\n"), "{said}");
    let after = slot(&world.status("counter").await.unwrap()).clone();
    assert_ne!(after.container_id, before.container_id, "it waited for the new container");
    more(&load).await;
    let tally = load.stop().await;
    assert_eq!((tally.failures(), tally.lost, tally.repeated), (0, 0, 0), "{tally:?}");
    assert!(restarts(&after).is_empty(), "{:?}", restarts(&after));
    let events = world.cli_ok(&["events", "--for", "instance/counter"]).await;
    assert!(events.contains("user 0 asked for new containers"), "{events}");
}

async fn more(load: &RunningLoad<'_>) {
    let before = load.tally().await;
    load.until_answered(before.answered + SOME).await;
}

#[tokio::test]
async fn what_cannot_be_put_is_refused_with_its_reason_and_nothing_is_touched() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.declare("by-hand.yaml", &[counter("counter"), counter("other")]);
        world.start().await;
        world.until_ready("counter").await;
        let by_hand = fs::read_to_string(world.manifests().join("by-hand.yaml")).unwrap();

        let both = world.draft("both.yaml", &[counter("new"), counter("counter")]);
        let refused = world.cli(&["apply", "-f", &both]).await;
        assert_refused(
            &refused,
            &["nothing was applied", "is declared in", "by-hand.yaml:2:1, with other records"],
        );
        let wrong =
            world.draft("wrong.yaml", &[counter("new"), counter("newer").with("/spec/mount", json!([]))]);
        let refused = world.cli(&["apply", "-f", &wrong]).await;
        assert_refused(&refused, &["nothing was applied", "there is no field \"mount\"", &wrong]);
        let refused = world.cli(&["delete", "instance", "counter"]).await;
        assert_refused(&refused, &["by-hand.yaml:2:1, with other records: take it out there by hand"]);
        assert_refused(
            &world.cli(&["restart", "nobody"]).await,
            &["instance \"nobody\" not found", "plugward get instances"],
        );

        let missing =
            counter("missing").with("/spec/image/tag", json!("none")).with("/spec/runtime", json!("runc"));
        let draft = world.draft("missing.yaml", &[missing]);
        let late = world.cli(&["apply", "-f", &draft, "--wait", "--timeout", "2s"]).await;
        assert_eq!(late.code, Some(1), "{late:?}");
        assert!(late.stdout.contains("plugininstance/missing created\n"), "{late:?}");
        for phrase in
            ["does not work after 2 s", "is not on the engine", "`plugward describe instance missing`"]
        {
            assert!(late.stderr.contains(phrase), "{phrase:?} is not in {late:?}");
        }
        assert_eq!(fs::read_to_string(world.manifests().join("by-hand.yaml")).unwrap(), by_hand);
        assert!(!world.manifests().join("plugininstance-new.yaml").exists());
    })
    .await;
}

fn assert_refused(said: &Said, phrases: &[&str]) {
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    for phrase in phrases {
        assert!(said.stderr.contains(phrase), "{phrase:?} is not in {said:?}");
    }
}

#[tokio::test]
async fn who_may_write_manifests_may_apply_and_restart_and_nobody_else_may() {
    on_one_engine(|world| async move {
        world.give_manifests_to(OWNER.0);
        world.declare_runtime();
        let draft = world.draft("draft.yaml", &[counter("counter")]);
        world.start_with(&[&format!("--socket-group={}", OWNER.1)]).await;

        let refused = world.cli_as(STRANGER, &["apply", "-f", &draft]).await;
        assert_refused(
            &refused,
            &["cannot write", "run this as root, or as somebody who may write", "ls -ld"],
        );
        let applied = world.cli_as(OWNER, &["apply", "-f", &draft, "--wait", "--timeout", "90s"]).await;
        assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""), "{applied:?}");
        let before = world.until_ready("counter").await;

        let refused = world.cli_as(STRANGER, &["restart", "counter"]).await;
        assert_refused(&refused, &["restarting is for those who may write manifests", "ls -ld"]);
        let refused = world.cli_as(STRANGER, &["delete", "instance", "counter"]).await;
        assert_refused(
            &refused,
            &["plugininstance-counter.yaml", "run this as root, or as somebody who may"],
        );
        world.settle().await;
        let unharmed = slot(&world.status("counter").await.unwrap()).clone();
        assert_eq!(unharmed.container_id, before.container_id);

        let restarted = world.cli_as(OWNER, &["restart", "counter", "--wait", "--timeout", "90s"]).await;
        assert_eq!((restarted.code, restarted.stderr.as_str()), (Some(0), ""), "{restarted:?}");
        let events = world.cli_ok(&["events", "--for", "instance/counter"]).await;
        assert!(events.contains(&format!("user {} asked for new containers", OWNER.0)), "{events}");
        let hidden = fs::read_dir(world.manifests())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0, "no proof is left");
        let deleted = world.cli_as(OWNER, &["delete", "instance", "counter"]).await;
        assert_eq!((deleted.code, deleted.stderr.as_str()), (Some(0), ""), "{deleted:?}");
        world.until_gone("counter").await;
    })
    .await;
}

#[tokio::test]
async fn a_restart_that_was_asked_for_happens_though_the_controller_is_killed() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let slow = counter("counter").with("/spec/env/COUNTER_START_DELAY_MS", json!("1500"));
        world.declare("counter.yaml", &[slow]);
        world.start().await;
        let before = world.until_ready("counter").await;
        world.cli_ok(&["restart", "counter"]).await;
        world.kill().await;
        world.start().await;
        let after = world.until_ready_again("counter", &before).await;
        world.until_ready("counter").await;
        world.settle().await;
        let status = world.status("counter").await.unwrap();
        assert_eq!(status.phase, Phase::Ready);
        assert_eq!(slot(&status).container_id, after.container_id, "once, and not again");
        assert!(restarts(slot(&status)).is_empty(), "{:?}", restarts(slot(&status)));
    })
    .await;
}

#[tokio::test]
async fn on_a_terminal_progress_is_redrawn_in_place_and_ctrl_c_leaves_all_as_it_was() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        world.start().await;
        let missing = counter("missing").with("/spec/image/tag", json!("none"));
        let draft = world.draft("missing.yaml", &[missing]);
        let mut terminal = world.cli_on_terminal(200, &["apply", "-f", &draft, "--wait", "--timeout", "5m"]);
        terminal.until("the reason is shown", |written| written.contains("is not on the engine: pull")).await;
        // Narrower than the line: it is cut, and the rows that it took are cleared.
        terminal.resize(40);
        terminal.until("it is drawn anew", |written| drawn_last(written).chars().count() == 39).await;
        let written = terminal.written();
        let up = written.rsplit("\r\x1b[J").nth(1).unwrap();
        assert!(up.ends_with('A') && !up.ends_with("\x1b[1A"), "{written:?}");

        terminal.interrupt();
        assert_eq!(terminal.ended().await, Some(130));
        let written = terminal.written();
        assert!(written.contains("plugward: interrupted; what was asked for goes on"), "{written:?}");
        assert!(terminal.is_sane());
        assert!(world.manifests().join("plugininstance-missing.yaml").exists());
    })
    .await;
}

/// The line that was drawn last.
fn drawn_last(written: &str) -> &str {
    written.rsplit("\r\x1b[J").next().unwrap_or_default().trim_end()
}
