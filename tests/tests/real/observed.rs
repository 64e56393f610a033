//! What Prometheus sees: each family of `deploy/metrics.md` through a real change, read from a real Prometheus; and what the dashboards of
//! `deploy/grafana` would show of that.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use plugward_engine::{ContainerId, Engine as _};
use plugward_tests::real::{
    DatabaseHost, HostOptions, NewUser, Prometheus, World, counter, database, on_one_engine,
    promtool_check_metrics, runtime, slot, starts,
};
use serde_json::{Value, json};

/// What is to be seen after the day of the test below: an expression for each family. It is true of some series at some time.
const SEEN: [&str; 55] = [
    r#"plugward_plugin_restarts_total{plugin_instance="db",reason="killed"} >= 1"#,
    r#"plugward_plugin_multiplexed_mounts{plugin_instance="db",slot="shared"} == 2"#,
    r#"plugward_plugin_phase{plugin_instance="broken",phase="BackingOff"} == 1"#,
    r#"plugward_plugin_slots{plugin_instance="db",state="ready"} == 1"#,
    r#"plugward_plugin_spares{plugin_instance="spared",state="ready"} == 1"#,
    r#"plugward_plugin_start_time_seconds{plugin_instance="db"} > time() - 600"#,
    r#"plugward_plugin_consecutive_failures{plugin_instance="broken"} > 1"#,
    r#"max_over_time(plugward_plugin_backoff_seconds{plugin_instance="broken"}[1h]) > 0"#,
    r#"plugward_plugin_image_info{plugin_instance="db",image_id=~"sha256:.*"} == 1"#,
    r#"plugward_plugin_start_duration_seconds_sum{phase="create"} > 0"#,
    r#"plugward_plugin_start_duration_seconds_sum{phase="start"} > 0"#,
    r#"plugward_plugin_start_duration_seconds_sum{phase="handshake"} > 0"#,
    r#"plugward_plugin_start_duration_seconds_sum{phase="replay"} > 0"#,
    r#"plugward_plugin_probes_total{plugin_instance="db",result="ok"} > 0"#,
    r#"plugward_plugin_cpu_seconds_total{plugin_instance="db",slot="shared"} > 0"#,
    r#"plugward_plugin_cpu_limit_cores{plugin_instance="db",slot="shared"} == 1.5"#,
    r#"plugward_plugin_memory_bytes{plugin_instance="db",slot="shared"} > 1e6"#,
    r#"plugward_plugin_memory_limit_bytes{plugin_instance="db",slot="shared"} == 256 * 1024 * 1024"#,
    r#"plugward_plugin_pids{plugin_instance="db",slot="shared"} > 0 < 200"#,
    r#"plugward_plugin_pids_limit{plugin_instance="db",slot="shared"} == 200"#,
    r#"plugward_requests_total{plugin_instance="db",mount="orders",class="work",code="OK"} > 1"#,
    r#"plugward_requests_total{plugin_instance="db",mount="orders",class="priming",code="OK"} == 1"#,
    r#"histogram_quantile(0.5, increase(plugward_request_duration_seconds_bucket{plugin_instance="db"}[1h])) > 0"#,
    r#"plugward_request_hold_seconds_count{plugin_instance="db"} >= 1"#,
    r#"plugward_request_hold_seconds_sum{plugin_instance="db"} > 0"#,
    r#"max_over_time(plugward_requests_waiting{plugin_instance="db"}[1h]) >= 1"#,
    r#"max_over_time(plugward_requests_in_flight{plugin_instance="db"}[1h]) >= 1"#,
    r#"plugward_replays_total{plugin_instance="db",result="ok"} >= 1"#,
    r#"plugward_request_bytes_total{plugin_instance="db",direction="answer"} > 0"#,
    r#"plugward_reconcile_total{result="success"} > 0"#,
    r#"plugward_reconcile_duration_seconds_sum{result="success"} > 0"#,
    r#"max_over_time(plugward_workqueue_depth{state="delayed"}[1h]) > 0"#,
    r#"plugward_workqueue_adds_total{priority="fresh"} > 0"#,
    "plugward_workqueue_retries_total > 1",
    "plugward_workqueue_queue_duration_seconds_count > 0",
    "max_over_time(plugward_workqueue_unfinished_work_seconds[1h]) > 0",
    "max_over_time(plugward_workqueue_longest_running_processor_seconds[1h]) > 0",
    r#"plugward_manifest_files{state="invalid"} == 1"#,
    "plugward_manifest_errors > 0",
    r#"plugward_manifest_records{kind="PluginInstance"} == 4"#,
    r#"plugward_engine_up{plugin_runtime="runc"} == 1"#,
    r#"plugward_engine_calls_total{operation="create",result="ok"} > 2"#,
    r#"plugward_engine_call_duration_seconds_sum{operation="create"} > 0"#,
    r#"plugward_engine_events_total{action="die"} > 0"#,
    "plugward_engine_resyncs_total > 0",
    r#"plugward_build_info{version!=""} == 1"#,
    r#"plugward_attach_sessions{plugin_instance="db",kind="shared"} == 1"#,
    r#"plugward_attach_total{plugin_instance="db",kind="shared"} == 2"#,
    r#"plugward_attach_duration_seconds_count{plugin_instance="db"} == 2"#,
    r#"plugward_attach_ended_total{plugin_instance="db",reason="shutdown"} == 1"#,
    r#"plugward_attach_refused_total{reason="unknown_instance"} >= 1"#,
    r#"plugward_requests_total{plugin_instance="db",mount="",class="work",code="OK"} >= 1"#,
    "process_cpu_seconds_total > 0 and process_resident_memory_bytes > 1e6 and process_virtual_memory_bytes > 1e6",
    "process_open_fds > 3 and process_max_fds > 3 and process_threads > 0",
    "process_start_time_seconds > time() - 600",
];

/// Families that no day as this one moves, each with the test that does.
const ELSEWHERE: [(&str, &str); 4] = [
    ("plugward_engine_watch_restarts_total", include_str!("load.rs")),
    (
        "plugward_plugin_output_lost_total",
        include_str!("../../../controller/plugward/src/gateway/tests/own.rs"),
    ),
    ("plugward_attach_resumed_total", include_str!("attach_deaths.rs")),
    ("plugward_requests_refused_total", include_str!("../../../controller/plugward/src/metrics/requests.rs")),
];

#[tokio::test]
async fn what_happens_to_plugins_is_seen_in_prometheus() {
    on_one_engine(|world| async move {
        let Some(prometheus) = Prometheus::scraping(world.metrics_address()).await else { return };
        day(&world, &prometheus).await;
        let (_, scraped) = world.http("/metrics").await.unwrap();
        let lint = promtool_check_metrics(scraped.as_bytes()).await;
        let said =
            String::from_utf8_lossy(&lint.stderr).into_owned() + &String::from_utf8_lossy(&lint.stdout);
        assert!(lint.status.success(), "promtool check metrics: {said}");

        let families = families();
        let told = |family: &str| {
            SEEN.iter().any(|expression| {
                expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| {
                    word.strip_prefix(family)
                        .is_some_and(|rest| ["", "_bucket", "_count", "_sum"].contains(&rest))
                })
            })
        };
        let missing: Vec<&String> =
            families.iter().filter(|family| !told(family) && !moved_elsewhere(family)).collect();
        assert_eq!(missing, Vec::<&String>::new(), "no test moves them");

        for (panel, expression) in panels() {
            let what = format!("Prometheus has an answer for {panel}: {expression}");
            world.wait(&what, async || (!prometheus.query(&expression).await.is_empty()).then_some(())).await;
        }

        world.remove("db.yaml");
        world.until_gone("db").await;
        world
            .wait("the series of a record go with it", async || {
                prometheus.query(r#"{plugin_instance="db"}"#).await.is_empty().then_some(())
            })
            .await;
    })
    .await;
}

fn moved_elsewhere(family: &str) -> bool {
    ELSEWHERE.iter().any(|(name, test)| *name == family && test.contains(name))
}

/// A plugin is used, killed, and used at once; another cannot be started; a third has a spare; a fourth cannot be stored for a while;
/// and a manifest is wrong.
async fn day(world: &Arc<World>, prometheus: &Prometheus) {
    let limits = json!({ "cpu": "1500m", "memory": "256Mi", "pids": 200 });
    world.declare("runtime.yaml", &[runtime(&world.engine.host).with("/spec/resources", limits)]);
    let attach = json!({ "enabled": true, "users": ["root"] });
    world.declare("db.yaml", &[database("db").serving(&["orders"]).with("/spec/attach", attach)]);
    world.start().await;
    world
        .wait("Prometheus scrapes", async || {
            (!prometheus.query("plugward_build_info").await.is_empty()).then_some(())
        })
        .await;
    let before = world.until_ready("db").await;
    let host = world.database_host("db").await.expect("a host in Go");
    host.open("eu", "orders").await.unwrap();
    host.initialize("eu", &json!({ "label": "eu" })).await.unwrap();
    host.new_user("eu", &NewUser::default()).await.unwrap();
    world.engine.kill(before.container_id.as_deref().unwrap()).await;
    host.new_user("eu", &NewUser::default()).await.unwrap();

    let attached = ["staying", "leaving", "lost"].map(|mount| {
        let instance = if mount == "lost" { "nowhere" } else { "db" };
        (mount, world.attach(instance, 6))
    });
    let attached = DatabaseHost::start(&starts(attached), &HostOptions::default()).expect("a host in Go");
    for mount in ["staying", "leaving"] {
        attached.open(mount, mount).await.unwrap();
        attached.initialize(mount, &json!({ "label": mount })).await.unwrap();
        attached.new_user(mount, &NewUser::default()).await.unwrap();
    }
    attached.close("leaving").await.unwrap();
    attached.open("lost", "lost").await.unwrap_err();

    let broken = counter("broken").with("/spec/command", json!(["/not-there"]));
    world.declare("others.yaml", &[broken, counter("spared").with("/spec/standby", json!(1))]);
    world.write("wrong.yaml", "kind: Nothing\n");
    let in_the_way = world.state().join("slots/unstored");
    std::fs::write(&in_the_way, "").unwrap();
    world.declare("unstored.yaml", &[counter("unstored")]);
    for expression in SEEN {
        world
            .wait(&format!("Prometheus sees {expression}"), async || {
                if let sight @ Some(()) = (!prometheus.query(expression).await.is_empty()).then_some(()) {
                    return sight;
                }
                if expression.starts_with("max_over_time") {
                    // A moment, which no scrape may have met: once more.
                    if let Some(container) = &slot(&world.status("db").await?).container_id {
                        let _ = world.engine.port.kill(&ContainerId::new(container.as_str())).await;
                    }
                    let _ = host.new_user("eu", &NewUser::default()).await;
                }
                None
            })
            .await;
    }
    std::fs::remove_file(&in_the_way).unwrap();
    world.until_ready("unstored").await;
}

/// What the panels of the dashboards ask, each with its name, as Grafana asks it for the instance `db`.
fn panels() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana/dashboards");
    let mut asked = Vec::new();
    for name in ["overview", "instance", "controller"] {
        let text = std::fs::read_to_string(directory.join(format!("{name}.json"))).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"]
                    .as_str()
                    .unwrap()
                    .replace("$__rate_interval", "1h")
                    .replace("$job", ".*")
                    .replace("instance=\"$controller\"", "instance!=\"\"")
                    .replace("$instance", "db");
                assert!(!expression.contains('$'), "{name}: {title}: {expression}");
                asked.push((format!("{name}: {title}"), expression));
            }
        }
    }
    assert!(asked.len() > 40, "{asked:?}");
    asked
}

/// The names of all families, by the catalogue.
fn families() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let names: BTreeSet<String> = names.map(ToOwned::to_owned).collect();
    assert!(names.len() > 30, "{names:?}");
    names
}
