//! The command line against a controller that runs.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use plugward_api::Phase;
use plugward_tests::real::{COUNTER, counter, on_one_engine, runtime};
use serde_json::{Value, json};

/// The group that plugins share with a controller that is root.
const NOBODY: u32 = 65_534;

#[tokio::test]
async fn get_and_describe_show_what_runs() {
    on_one_engine(|world| async move {
        world.declare_runtime();
        let labelled = counter("counter").with("/metadata/labels/team", json!("orders"));
        world.declare("counter.yaml", &[labelled]);
        world.start().await;
        let ready = world.until_ready("counter").await;
        let container = ready.container_name.as_deref().unwrap();

        let table = world.cli_ok(&["get", "instances"]).await;
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NAME", "PLUGIN", "RUNTIME", "PHASE", "READY", "RESTARTS", "AGE"]);
        assert_eq!(lines[1][..6], ["counter", "plugin", "runc", "Ready", "1/1", "0"]);
        let wide = world.cli_ok(&["get", "instance", "counter", "-o", "wide"]).await;
        assert!(wide.contains(COUNTER) && wide.contains(container), "{wide}");
        let both = world.cli_ok(&["get"]).await;
        assert!(both.contains("OCI-RUNTIME") && both.contains("PHASE"), "{both}");

        let object: Value =
            serde_json::from_str(&world.cli_ok(&["get", "instances", "counter", "-o", "json"]).await)
                .unwrap();
        assert_eq!(object["apiVersion"], "plugward.dev/v1alpha1");
        assert_eq!(object["kind"], "PluginInstance");
        assert_eq!(object["metadata"]["labels"]["team"], "orders");
        assert_eq!(object["status"]["phase"], "Ready");
        assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
        assert_eq!(object["status"]["slots"][0]["containerName"], container);
        assert_eq!(object["status"]["slots"][0]["mounts"], json!(["counter"]));
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let is_ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        assert_eq!(is_ready["status"], "True");
        for field in ["reason", "message", "lastTransitionTime", "observedGeneration"] {
            assert!(!is_ready[field].is_null(), "{field}");
        }
        let list: Value = serde_json::from_str(&world.cli_ok(&["get", "-o", "json"]).await).unwrap();
        assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("List"), 2));
        let yaml = world.cli_ok(&["get", "runtime", "runc", "-o", "yaml"]).await;
        assert!(yaml.contains("kind: PluginRuntime") && yaml.contains("ociRuntime: runc"), "{yaml}");

        let described = world.cli_ok(&["describe", "instance", "counter"]).await;
        for phrase in ["team=orders", "Phase:", "Slot shared:", container, "Conditions:", "Events:"] {
            assert!(described.contains(phrase), "{phrase:?} is not in {described}");
        }
        let described = world.cli_ok(&["describe", "runtime", "runc"]).await;
        assert!(described.contains("EngineReachable"), "{described}");

        let sessions: Value =
            serde_json::from_str(&world.cli_ok(&["get", "sessions", "-o", "json"]).await).unwrap();
        assert_eq!((&sessions["kind"], &sessions["items"]), (&json!("List"), &json!([])));
        let missing = world.cli(&["get", "session", "nobody"]).await;
        assert_eq!(missing.code, Some(1));
        assert_eq!(missing.stderr, "plugward: session \"nobody\" not found: no host is attached\n");
        let host = world.cli_ok(&["host", "generic", "counter", "--launcher", "/bin/sh"]).await;
        let run_directory = world.sockets().parent().unwrap().to_string_lossy().into_owned();
        let command = format!("exec.Command(\"/bin/sh\", \"--run-dir\", \"{run_directory}\", \"counter\")");
        for phrase in [&command, "COUNTER_PLUGIN", "// Mend this first:"] {
            assert!(host.contains(phrase), "{phrase:?} is not in {host}");
        }
    })
    .await;
}

#[tokio::test]
async fn secrets_are_never_shown_logged_or_readable_by_others() {
    on_one_engine(|world| async move {
        let (password, cookie) = ("hunter2-is-the-password", "oreo-is-the-cookie");
        world.declare_runtime();
        let good = counter("good").with("/spec/env/PASSWORD", json!(password));
        // With the wrong cookie it never becomes ready: what is told of failures is looked at, too.
        let bad = counter("bad")
            .with("/spec/env/PASSWORD", json!(password))
            .with("/spec/handshake/cookieValue", json!(cookie));
        let broken = counter("broken")
            .with("/spec/env", json!([password]))
            .with("/spec/handshake", json!({ "cookieValue": [cookie] }));
        world.declare("records.yaml", &[good, bad]);
        world.declare("broken.yaml", &[broken]);
        world.start_with(&[]).await;
        let ready = world.until_ready("good").await;
        world.until("bad", "backs off", |status| status.phase == Phase::BackingOff).await;
        world.engine.kill(ready.container_id.as_deref().unwrap()).await;
        world.until_ready_again("good", &ready).await;

        let mut told =
            vec![("the log", world.log()), ("the metrics", world.http("/metrics").await.unwrap().1)];
        for command in [
            &["get"][..],
            &["get", "-o", "wide"],
            &["get", "-o", "json"],
            &["get", "-o", "yaml"],
            &["get", "instance", "good", "-o", "yaml"],
            &["describe", "instances"],
            &["describe", "runtimes"],
            &["describe", "manifests"],
            &["host", "generic", "good", "--launcher", "/bin/sh"],
            &["validate", &world.manifests().to_string_lossy()],
        ] {
            let said = world.cli(command).await;
            told.push(("a command's output", said.stdout));
            told.push(("a command's words", said.stderr));
        }
        for (what, text) in told {
            assert!(!text.contains(password), "the password is in {what}:\n{text}");
            assert!(!text.contains(cookie), "the cookie is in {what}:\n{text}");
        }
        // The keys are there, so it was not the whole environment that was missing.
        let shown = world.cli_ok(&["get", "instance", "good", "-o", "json"]).await;
        assert!(shown.contains("PASSWORD"), "{shown}");
        private(&world.state());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&world.sockets()), 0o751, "who attaches may pass, and sees nothing");
        assert_eq!(mode(&world.sockets().join("control.sock")), 0o660);
        // What plugins share with us is open to a group that nobody is in, behind a directory that others may not pass.
        let shared = world.sockets().join("plugins");
        assert_eq!((mode(&shared), fs::metadata(&shared).unwrap().gid()), (0o750, 0));
        let mut found = 0;
        for directory in fs::read_dir(shared).unwrap() {
            let path = directory.unwrap().path();
            assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (0o771, NOBODY));
            found += 1;
        }
        assert_ne!(found, 0, "there is a plugin");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_told_with_exit_code_1_and_wrong_usage_with_2() {
    on_one_engine(|world| async move {
        let nobody = world.cli(&["get"]).await;
        assert_eq!(nobody.code, Some(1));
        assert!(nobody.stderr.contains("no controller runs here"), "{}", nobody.stderr);
        assert!(nobody.stderr.contains("--run-dir"), "{}", nobody.stderr);

        world.declare_runtime();
        world.start().await;
        world.until_readyz(200).await;
        let absent = world.cli(&["get", "instance", "absent"]).await;
        assert_eq!(absent.code, Some(1));
        assert!(absent.stderr.contains("\"absent\" not found"), "{}", absent.stderr);
        assert_eq!(world.cli(&["describe", "runtime", "absent"]).await.code, Some(1));
        for wrong in [
            &["get", "plugins"][..],
            &["get", "-o", "xml"],
            &["frobnicate"],
            &["describe"],
            &["get", "instance", "NO"],
        ] {
            let said = world.cli(wrong).await;
            assert_eq!(said.code, Some(2), "{wrong:?}: {}", said.stderr);
        }
        assert_eq!(world.cli_ok(&["version"]).await, format!("plugward {}\n", env!("CARGO_PKG_VERSION")));

        world.kill().await;
        let dead = world.cli(&["get"]).await;
        assert_eq!(dead.code, Some(1));
        assert!(dead.stderr.contains("is `plugward run` running?"), "{}", dead.stderr);
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_no_failure() {
    on_one_engine(|world| async move {
        let many: Vec<_> =
            (0..200).map(|n| runtime(&world.engine.host).on(&format!("runtime-{n}"))).collect();
        world.declare("many.yaml", &many);
        world.start().await;
        world.wait("all are there", async || world.ask("/v1/runtimes/runtime-199").await).await;
        let said = world.cli_unread(&["get", "-o", "json"]).await;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    })
    .await;
}

/// Nobody but the owner can read anything below.
fn private(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            private(&entry.unwrap().path());
        }
    }
}
