//! Vault's own secrets and auth plugins under Vault's own client, with nothing of ours between them: what the gateway has to leave as it
//! is. Also the test of that host, `tests/hosts/backend`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use go_plugin::external::tonic::Code;
use plugward_tests::real::{BackendHost, BarePlugin, Failure, HostOptions, Load, Tally, go_program};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

const MOUNT: &str = "shared";

const LOAD: Load = Load { callers: 8, rate: None, deadline: Duration::from_secs(30) };

/// Who signs the tokens.
const ISSUER: &str = "https://issuer.test";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvvyfEmGdq5Kp5qoHWVhuOj4CxBVf
FQsq1wzsV2JBpRA+t9VVuJ0YVqJe15mxMOd0b7H2RHiKM6VBy3NoG8VnoQ==
-----END PUBLIC KEY-----";

/// Signed with that key, which exists no more: of `ada`, for `plugward`, from 2026 to 2100.
const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0Iiwic3ViIjoiYWRhIiwiYXVkIjoicGx1Z3dhcmQiLCJpYXQiOjE3NjcyMjU2MDAsIm5iZiI6MTc2NzIyNTYwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.\
    3Hc2uOzs_oCFetkp9K13yKfsZL3z3cgLz242JVV4IHi-19IhBwItYmWLqhdzApFr9O7q9QBeSUOsP1qHmfA1hg";

async fn plugin(name: &str, published: &str) -> Option<BarePlugin> {
    let package = format!("github.com/hashicorp/{published}/cmd/{published}");
    let program = go_program(&format!("plugins/{name}"), &package)?;
    Some(BarePlugin::backend(&program).await)
}

fn host(plugin: &BarePlugin) -> Option<BackendHost> {
    let options = HostOptions { own_pid: true, ..HostOptions::default() };
    BackendHost::start(&plugin.reattach(&[MOUNT]), &options)
}

async fn kv() -> Option<(BarePlugin, BackendHost)> {
    let plugin = plugin("kv", "vault-plugin-secrets-kv").await?;
    let host = host(&plugin)?;
    Some((plugin, host))
}

async fn jwt() -> Option<(BarePlugin, BackendHost)> {
    let plugin = plugin("jwt", "vault-plugin-auth-jwt").await?;
    let host = host(&plugin)?;
    Some((plugin, host))
}

/// Writes, from when the plugin has made itself ready, which it does after it has answered `Initialize`.
async fn until_written(host: &BackendHost, backend: &str, path: &str, data: &Value) {
    let written = async { while host.write(backend, path, data).await.is_err() {} };
    timeout(Duration::from_secs(60), written).await.expect("the plugin makes itself ready");
}

fn data_of(value: &str) -> Value {
    json!({ "value": value })
}

async fn stored(host: &BackendHost, backend: &str, path: &str) -> Result<Value, Failure> {
    Ok(host.read(backend, path).await?.data)
}

#[tokio::test]
async fn the_kv_plugin_keeps_what_backends_store_apart() {
    let Some((_plugin, host)) = kv().await else { return };
    for backend in ["orders", "billing"] {
        assert!(host.open(backend, MOUNT).await.unwrap());
        host.setup(backend, &[]).await.unwrap();
        host.initialize(backend).await.unwrap();
    }
    assert_eq!(host.about("orders").await.unwrap().0, "secret");

    host.write("orders", "of/ada", &data_of("a book")).await.unwrap();
    host.write("billing", "of/ada", &data_of("twelve")).await.unwrap();
    host.write("billing", "of/bob", &data_of("ten")).await.unwrap();

    assert_eq!(stored(&host, "orders", "of/ada").await.unwrap(), data_of("a book"));
    assert_eq!(stored(&host, "billing", "of/ada").await.unwrap(), data_of("twelve"));
    assert_eq!(stored(&host, "orders", "of/bob").await.unwrap(), Value::Null);
    assert_eq!(host.list("billing", "of/").await.unwrap(), ["ada", "bob"]);
    assert_eq!(host.keys("orders").await.unwrap(), ["of/ada"]);
    assert_eq!(host.keys("billing").await.unwrap(), ["of/ada", "of/bob"]);

    host.delete("billing", "of/ada").await.unwrap();
    assert_eq!(host.keys("billing").await.unwrap(), ["of/bob"]);
    assert_eq!(stored(&host, "orders", "of/ada").await.unwrap(), data_of("a book"));
}

#[tokio::test]
async fn the_kv_plugin_keeps_versions_where_it_is_configured_to() {
    let Some((_plugin, host)) = kv().await else { return };
    host.enable("plain", MOUNT, &[]).await.unwrap();
    host.enable("versioned", MOUNT, &[("version", "2")]).await.unwrap();

    until_written(&host, "versioned", "data/of/ada", &json!({ "data": data_of("a book") })).await;
    let second =
        host.write("versioned", "data/of/ada", &json!({ "data": data_of("two books") })).await.unwrap();
    assert_eq!(second.data["version"], json!(2));
    let read = stored(&host, "versioned", "data/of/ada").await.unwrap();
    assert_eq!((&read["data"], &read["metadata"]["version"]), (&data_of("two books"), &json!(2)));

    assert_eq!(host.keys("plain").await.unwrap(), [""; 0]);
    host.write("plain", "data/of/ada", &data_of("a pen")).await.unwrap();
    assert_eq!(stored(&host, "plain", "data/of/ada").await.unwrap(), data_of("a pen"));
}

#[tokio::test]
async fn a_backend_does_nothing_before_setup_or_after_cleanup() {
    let Some((_plugin, host)) = kv().await else { return };
    host.open("orders", MOUNT).await.unwrap();
    host.enable("billing", MOUNT, &[]).await.unwrap();

    let early = stored(&host, "orders", "of/ada").await.unwrap_err();
    assert!(early.message.contains("no backend instance found"), "{early:?}");
    assert!(host.initialize("orders").await.is_err());

    host.setup("orders", &[]).await.unwrap();
    host.write("orders", "of/ada", &data_of("a book")).await.unwrap();
    assert!(host.setup("orders", &[]).await.is_err());

    host.cleanup("orders").await.unwrap();
    assert!(stored(&host, "orders", "of/ada").await.is_err());
    host.write("billing", "of/ada", &data_of("twelve")).await.unwrap();

    // As Vault reloads it: a new client, over the same storage.
    host.enable("orders", MOUNT, &[]).await.unwrap();
    assert_eq!(stored(&host, "orders", "of/ada").await.unwrap(), data_of("a book"));
}

#[tokio::test]
async fn every_write_of_a_load_is_read_again() {
    let Some((_plugin, host)) = kv().await else { return };
    for backend in ["orders", "billing"] {
        host.enable(backend, MOUNT, &[]).await.unwrap();
    }

    let (orders, billing) =
        (host.load("orders", &LOAD).await.unwrap(), host.load("billing", &LOAD).await.unwrap());
    orders.until_answered(20).await;
    billing.until_answered(20).await;
    let (orders, billing) = (orders.stop().await, billing.stop().await);

    for tally in [orders, billing] {
        assert_eq!(tally, Tally { answered: tally.answered, slowest: tally.slowest, ..Tally::default() });
    }
    assert_eq!(host.keys("orders").await.unwrap().len(), 8);
}

#[tokio::test]
async fn what_the_kv_plugin_stored_outlives_it() {
    let Some((plugin, host)) = kv().await else { return };
    host.enable("orders", MOUNT, &[]).await.unwrap();
    host.write("orders", "of/ada", &data_of("a book")).await.unwrap();

    plugin.signal(Signal::KILL);
    plugin.ended().await;

    assert_eq!(stored(&host, "orders", "of/ada").await.unwrap_err().code, Code::Unavailable);
    assert_eq!(host.keys("orders").await.unwrap(), ["of/ada"]);
}

#[tokio::test]
async fn shutdown_ends_the_kv_plugin() {
    let Some((plugin, host)) = kv().await else { return };
    host.enable("orders", MOUNT, &[]).await.unwrap();

    host.shutdown(MOUNT).await.unwrap();

    assert!(plugin.ended().await.success());
}

#[tokio::test]
async fn the_jwt_plugin_keeps_its_configuration_and_its_roles() {
    let Some((_plugin, host)) = jwt().await else { return };
    for backend in ["people", "machines"] {
        host.enable(backend, MOUNT, &[]).await.unwrap();
    }
    assert_eq!(host.about("people").await.unwrap().0, "auth");

    configure(&host, "people").await;

    let config = stored(&host, "people", "config").await.unwrap();
    assert_eq!(
        (&config["bound_issuer"], &config["jwt_validation_pubkeys"]),
        (&json!(ISSUER), &json!([PUBLIC_KEY]))
    );
    let role = stored(&host, "people", "role/reader").await.unwrap();
    assert_eq!((&role["user_claim"], &role["token_policies"]), (&json!("sub"), &json!(["readers"])));
    assert_eq!(host.list("people", "role/").await.unwrap(), ["reader"]);
    assert_eq!(host.keys("people").await.unwrap(), ["config", "role/reader"]);

    assert_eq!(stored(&host, "machines", "config").await.unwrap(), Value::Null);
    assert_eq!(host.keys("machines").await.unwrap(), [""; 0]);
    let refused = host.write("people", "role/writer", &json!({ "role_type": "jwt" })).await.unwrap_err();
    assert_eq!(refused.code, Code::Unknown);
}

#[tokio::test]
async fn the_jwt_plugin_lets_in_whose_token_is_signed() {
    let Some((_plugin, host)) = jwt().await else { return };
    host.enable("people", MOUNT, &[]).await.unwrap();
    configure(&host, "people").await;
    let login = |token: &str| host.write("people", "login", &json!({ "role": "reader", "jwt": token }));

    let auth = login(TOKEN).await.unwrap().auth;
    assert_eq!((&auth["policies"], &auth["alias"]["name"]), (&json!(["readers"]), &json!("ada")), "{auth}");

    let forged = TOKEN.replace("IhBwItY", "IhBwItZ");
    assert!(login(&forged).await.unwrap_err().message.contains("token"));
}

async fn configure(host: &BackendHost, backend: &str) {
    let config = json!({ "jwt_validation_pubkeys": [PUBLIC_KEY], "bound_issuer": ISSUER });
    host.write(backend, "config", &config).await.unwrap();
    let role = json!({
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": ["plugward"],
        "token_policies": ["readers"],
    });
    host.write(backend, "role/reader", &role).await.unwrap();
}
