//! Vault's own database plugins under Vault's own client, with nothing of ours between them: what the gateway has to leave as it is.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use go_plugin::external::tonic::Code;
use plugward_tests::real::{BarePlugin, DatabaseHost, HostOptions, LIMIT, NewUser, RedisServer, go_program};

const CONNECTION: &str = "orders";
const MOUNT: &str = "orders";

/// What a user of Redis may do.
const READ: NewUser<'_> = NewUser { password: "first", statements: &[r#"["+@read"]"#], deadline: LIMIT };

/// A plugin, a host with a connection to it, and whether the plugin says that it multiplexes.
async fn started(name: &str) -> Option<(BarePlugin, DatabaseHost, bool)> {
    let package =
        format!("github.com/hashicorp/vault-plugin-database-{name}/cmd/vault-plugin-database-{name}");
    let program = go_program(&format!("plugins/{name}"), &package)?;
    let plugin = BarePlugin::database(&program, &[5, 6]).await;
    let host = DatabaseHost::start(&plugin.reattach(&[MOUNT]), &HostOptions::default())?;
    let multiplexes = host.open(CONNECTION, MOUNT).await.unwrap();
    Some((plugin, host, multiplexes))
}

#[tokio::test]
async fn the_redis_plugin_manages_the_users_of_a_real_redis() {
    let Some(redis) = RedisServer::start().await else { return };
    let Some((_plugin, host, multiplexes)) = started("redis").await else { return };
    assert!(!multiplexes);
    host.initialize_and_verify(CONNECTION, &redis.config()).await.unwrap();

    let user = host.new_user(CONNECTION, &READ).await.unwrap();
    assert!(redis.lets_in(&user, "first").await);
    assert!(!redis.lets_in(&user, "second").await);

    host.update_user(CONNECTION, &user, "second").await.unwrap();
    assert!(redis.lets_in(&user, "second").await);
    assert!(!redis.lets_in(&user, "first").await);

    host.delete_user(CONNECTION, &user).await.unwrap();
    assert!(!redis.lets_in(&user, "second").await);
}

#[tokio::test]
async fn the_redis_plugin_does_nothing_before_it_is_initialized() {
    let Some((_plugin, host, _)) = started("redis").await else { return };

    let failure = host.new_user(CONNECTION, &READ).await.unwrap_err();
    assert_eq!(failure.code, Code::Internal);
    assert!(failure.message.contains("connection has not been initialized"), "{failure:?}");
}

#[tokio::test]
async fn the_couchbase_plugin_multiplexes() {
    let Some((_plugin, host, multiplexes)) = started("couchbase").await else { return };

    assert!(multiplexes);
    assert_eq!(host.kind(CONNECTION).await.unwrap(), "couchbase");
}
