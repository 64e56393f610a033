//! The plugin under Vault's own client for database plugins, reattached. Also the test of that host, `tests/hosts/database`.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::path::Path;

use go_plugin::external::tonic::Code;
use plugward_tests::real::{BarePlugin, DatabaseHost, Failure, HostOptions, NewUser};
use rustix::process::Signal;
use serde_json::json;

const MOUNT: &str = "shared";

async fn plugin(versions: &[u32]) -> BarePlugin {
    BarePlugin::database(Path::new(env!("CARGO_BIN_EXE_database-plugin")), versions).await
}

fn host(plugin: &BarePlugin) -> Option<DatabaseHost> {
    DatabaseHost::start(&plugin.reattach(&[MOUNT]), &HostOptions::default())
}

async fn new_user(host: &DatabaseHost, connection: &str) -> Result<String, Failure> {
    host.new_user(connection, &NewUser::default()).await
}

fn not_initialized() -> Failure {
    Failure { code: Code::Internal, message: "connection has not been initialized".to_owned() }
}

#[tokio::test]
async fn connections_that_share_a_plugin_are_not_mixed_up() {
    let plugin = plugin(&[5, 6]).await;
    let Some(host) = host(&plugin) else { return };
    for (connection, label) in [("orders", "o"), ("billing", "b")] {
        assert!(host.open(connection, MOUNT).await.unwrap());
        let config = json!({ "label": label, "password": "hidden", "retries": 3 });
        assert_eq!(host.initialize(connection, &config).await.unwrap(), config);
    }

    let of_orders = new_user(&host, "orders").await.unwrap();
    let process = of_orders.strip_prefix("o_1@").unwrap();
    assert!(process.ends_with(&format!(":{}", plugin.pid())), "{process}");
    assert_eq!(new_user(&host, "billing").await.unwrap(), format!("b_1@{process}"));
    assert_eq!(new_user(&host, "orders").await.unwrap(), format!("o_2@{process}"));

    host.update_user("orders", &of_orders, "another").await.unwrap();
    assert_eq!(host.update_user("billing", &of_orders, "another").await.unwrap_err().code, Code::Internal);
    host.delete_user("billing", &of_orders).await.unwrap();
    host.delete_user("orders", &of_orders).await.unwrap();
    assert_eq!(host.update_user("orders", &of_orders, "another").await.unwrap_err().code, Code::Internal);
    assert_eq!(host.kind("orders").await.unwrap(), "memory");
}

#[tokio::test]
async fn nothing_is_done_before_initialize() {
    let plugin = plugin(&[6]).await;
    let Some(host) = host(&plugin) else { return };
    for connection in ["orders", "billing"] {
        host.open(connection, MOUNT).await.unwrap();
    }
    host.initialize("orders", &json!({ "label": "o" })).await.unwrap();

    assert_eq!(new_user(&host, "billing").await, Err(not_initialized()));
    assert_eq!(host.update_user("billing", "o_1", "another").await, Err(not_initialized()));
    assert_eq!(host.delete_user("billing", "o_1").await, Err(not_initialized()));
    new_user(&host, "orders").await.unwrap();
}

#[tokio::test]
async fn a_configuration_that_it_cannot_use_is_refused_and_another_replaces_the_last() {
    let plugin = plugin(&[6]).await;
    let Some(host) = host(&plugin) else { return };
    host.open("orders", MOUNT).await.unwrap();

    for config in [json!({}), json!({ "label": 1 }), json!({ "label": "o", "delay_ms": -1 })] {
        let refused = host.initialize("orders", &config).await.unwrap_err();
        assert_eq!(refused.code, Code::Internal, "{config}: {refused:?}");
    }
    assert_eq!(new_user(&host, "orders").await, Err(not_initialized()));

    host.initialize("orders", &json!({ "label": "old" })).await.unwrap();
    host.initialize("orders", &json!({ "label": "new", "delay_ms": 1 })).await.unwrap();
    assert!(new_user(&host, "orders").await.unwrap().starts_with("new_1@"));
}

#[tokio::test]
async fn without_multiplexing_all_connections_are_one() {
    let plugin = plugin(&[5]).await;
    let Some(host) = host(&plugin) else { return };
    for connection in ["orders", "billing"] {
        assert!(!host.open(connection, MOUNT).await.unwrap());
    }

    host.initialize("orders", &json!({ "label": "only" })).await.unwrap();
    assert!(new_user(&host, "billing").await.unwrap().starts_with("only_1@"));

    host.close("orders").await.unwrap();
    assert_eq!(new_user(&host, "billing").await, Err(not_initialized()));
}

#[tokio::test]
async fn a_call_that_hangs_fails_when_the_plugin_is_killed() {
    let plugin = plugin(&[6]).await;
    let Some(host) = host(&plugin) else { return };
    host.open("orders", MOUNT).await.unwrap();
    host.initialize("orders", &json!({ "label": "o" })).await.unwrap();

    let hangs = host.new_user("orders", &NewUser { statements: &["hang"], ..NewUser::default() });
    // Numbers are ours, one after the other, until the plugin has the one that hangs.
    let mut ours = 1;
    while new_user(&host, "orders").await.unwrap().starts_with(&format!("o_{ours}@")) {
        ours += 1;
    }
    plugin.signal(Signal::KILL);

    assert_eq!(hangs.await.unwrap_err().code, Code::Unavailable);
}

#[tokio::test]
async fn shutdown_ends_it() {
    let plugin = plugin(&[6]).await;
    let Some(host) = host(&plugin) else { return };
    host.open("orders", MOUNT).await.unwrap();

    host.shutdown(MOUNT).await.unwrap();

    assert!(plugin.ended().await.success());
}
