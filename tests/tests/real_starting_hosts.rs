//! Hosts that start their plugin themselves, by a command: go-plugin's own client, and those of Vault's and OpenBao's SDKs. The plugins
//! are processes, with nothing of ours between them: it is what hosts are to find as they know it. Also the test of these hosts,
//! `tests/hosts`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use go_plugin::external::tonic::Code;
use plugward_tests::real::{
    BackendHost, CallbackHost, DatabaseHost, HostOptions, Instance, KilledPlugin, LIMIT, Load, NewUser,
    RedisServer, Sdk, Start, Tally, copy_for_all, go_program, gone, kill, skipped, starts,
};
use rustix::process::geteuid;
use serde_json::{Value, json};

const MOUNT: &str = "numbers";
const OTHER: &str = "letters";
const ONLY: Instance<'_> = Instance::only(MOUNT);

const LONG: Option<Duration> = Some(LIMIT);

const LOAD: Load = Load { callers: 4, rate: None, deadline: Duration::from_secs(30) };

/// What a user of Redis may do.
const READ: NewUser<'_> = NewUser { password: "first", statements: &[r#"["+@read"]"#], deadline: LIMIT };

/// A user whom the machine does not know.
const UNKNOWN: u32 = 4_242;

/// A group that is nobody's.
const GROUP: u32 = 4_243;

/// What is no program's.
const WRONG_SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn callback() -> Option<PathBuf> {
    go_program("plugins/go", "./callback")
}

fn started(program: &Path) -> Start {
    Start::program(program, &[], 1)
}

fn host(start: Start) -> Option<CallbackHost> {
    host_of(&starts([(MOUNT, start)]))
}

fn host_of(starts: &Value) -> Option<CallbackHost> {
    CallbackHost::start(starts, &HostOptions::default())
}

fn graceful(killed: &KilledPlugin) -> bool {
    killed.graceful && killed.ended == "exit status 0"
}

fn clean(tally: &Tally) -> Tally {
    Tally { answered: tally.answered, slowest: tally.slowest, ..Tally::default() }
}

/// What a process was started with.
fn environment(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap()
}

/// Calls in both directions.
async fn calls_back(host: &CallbackHost) {
    assert_eq!(host.add(ONLY, "hello", 2, LONG).await, Ok(2));
    host.attach(ONLY).await.unwrap();
    assert_eq!(host.add_kept(ONLY, "hello", 3, LONG).await, Ok(5));
    let opened = host.open(ONLY).await.unwrap();
    assert_eq!(host.echo(&opened, "hello").await.unwrap(), ("hello".to_owned(), 1));
    host.end(&opened).await.unwrap();
    assert_eq!(host.add(ONLY, "hello", 1, LONG).await, Ok(6));
}

#[tokio::test]
async fn a_host_starts_its_plugin_calls_it_is_called_back_and_sees_it_go() {
    let Some(program) = callback() else { return };
    let plain = started(&program).env("OWN", "own");
    // With TLS, with the broker's servers on one connection, with the host's environment.
    for (start, wanted) in [
        (plain.clone(), [true, false, true]),
        (plain.clone().plaintext(), [false, false, true]),
        (plain.clone().multiplexed(), [true, true, true]),
        (plain.clone().plaintext().multiplexed(), [false, true, true]),
        (plain.without_environment(), [true, false, false]),
    ] {
        let Some(host) = host(start.clone()) else { return };

        let plugin = host.client(MOUNT).start().await.unwrap();
        assert_eq!((plugin.pid, plugin.version), (host.process().child(), 1), "{start:?}");
        let environment = environment(plugin.pid);
        let found = ["PLUGIN_CLIENT_CERT=-----BEGIN", "PLUGIN_MULTIPLEX_GRPC=true", "TMPDIR="];
        assert_eq!(found.map(|variable| environment.contains(variable)), wanted, "{start:?}");
        assert!(environment.contains("OWN=own\0"), "{start:?}");
        calls_back(&host).await;

        let killed = host.client(MOUNT).kill().await.unwrap();
        assert!(graceful(&killed), "{start:?}: {killed:?}");
        assert_eq!(host.process().children(), [0; 0]);
    }
}

#[tokio::test]
async fn a_host_starts_plugin_counter_with_the_cookie_that_it_wants() {
    let package = "github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/plugin-counter";
    let Some(program) = go_program("plugins/go", package) else { return };
    let Some(host) = host(started(&program).cookie("BASIC_PLUGIN", "hello")) else { return };

    assert_eq!(host.increment(ONLY, "hello", 1, LONG).await, Ok(1));
    assert_eq!(host.increment(ONLY, "hello", 2, LONG).await, Ok(3));

    assert!(graceful(&host.client(MOUNT).kill().await.unwrap()));
}

#[tokio::test]
async fn a_host_shows_what_a_plugin_says_that_does_not_start() {
    let Some(program) = callback() else { return };
    let Some(host) = host(started(&program).cookie("CALLBACK_PLUGIN", "another")) else { return };

    let failure = host.client(MOUNT).start().await.unwrap_err();

    assert!(failure.message.contains("Failed to read any lines"), "{failure:?}");
    host.client(MOUNT).until_logged("This binary is a plugin").await;
}

#[tokio::test]
async fn a_host_starts_only_the_program_that_is_pinned() {
    let Some(program) = callback() else { return };
    let Some(host) = host(started(&program).pinned(WRONG_SHA256)) else { return };

    let failure = host.client(MOUNT).start().await.unwrap_err();

    assert_eq!(failure.message, "checksums did not match");
    assert_eq!(host.process().children(), [0; 0]);
}

#[tokio::test]
async fn a_host_gives_a_plugin_up_that_does_not_say_where_it_serves() {
    let sleep = Start::program(Path::new("/bin/sleep"), &["1000"], 1).within(Duration::from_millis(50));
    let Some(host) = host(sleep) else { return };

    let failure = host.client(MOUNT).start().await.unwrap_err();

    assert!(failure.message.contains("timeout while waiting for plugin to start"), "{failure:?}");
    host.process().until_children(0).await;
}

#[tokio::test]
async fn a_plugins_sockets_are_the_groups_that_its_host_wants() {
    if !geteuid().is_root() {
        return skipped("only root can give sockets to any group");
    }
    let Some(program) = callback() else { return };
    let Some(host) = host(started(&program).group(&GROUP.to_string())) else { return };

    calls_back(&host).await;
    let place = std::fs::read_dir(host.process().sockets().unwrap()).unwrap();
    let sockets: Vec<_> = place.map(|entry| entry.unwrap().metadata().unwrap()).collect();
    // The plugin's own, and the host's one for what is attached.
    assert_eq!(sockets.len(), 2);
    for socket in sockets {
        assert_eq!((socket.gid(), socket.mode() & 0o777), (GROUP, 0o660));
    }

    let Some(host) = host_of(&starts([(MOUNT, started(&program).group("no such group"))])) else { return };
    host.client(MOUNT).start().await.unwrap_err();
    host.client(MOUNT).until_logged("no such group").await;
}

#[tokio::test]
async fn a_host_has_several_plugins_and_ends_those_that_are_managed() {
    let Some(program) = callback() else { return };
    let mounts = starts([
        (MOUNT, started(&program).managed()),
        (OTHER, started(&program)),
        ("third", started(&program)),
    ]);
    let Some(host) = host_of(&mounts) else { return };
    let (managed, other) = (host.client(MOUNT).start(), host.client(OTHER).start());
    let (managed, other) = (managed.await.unwrap(), other.await.unwrap());
    let third = host.client("third").start().await.unwrap();
    assert_eq!(host.process().children().len(), 3);

    host.client(MOUNT).cleanup_all().await.unwrap();

    let mut left = host.process().children();
    left.sort_unstable();
    let mut wanted = [other.pid, third.pid];
    wanted.sort_unstable();
    assert_eq!(left, wanted, "{managed:?}");
}

#[tokio::test]
async fn a_host_counts_the_starts_and_ends_of_many_plugins() {
    let Some(program) = callback() else { return };
    let Some(host) = host(started(&program)) else { return };

    let cycles = host.client(MOUNT).cycles(6, 3).await.unwrap();

    assert_eq!(cycles.len(), 6);
    for cycle in cycles {
        assert!(cycle.failure.is_none() && graceful(&cycle.killed), "{cycle:?}");
        assert!(Duration::ZERO < cycle.start && cycle.start < cycle.answer, "{cycle:?}");
    }
    assert_eq!(host.process().children(), [0; 0]);

    let Some(broken) = self::host(Start::program(Path::new("/bin/false"), &[], 1)) else { return };
    let cycles = broken.client(MOUNT).cycles(2, 1).await.unwrap();
    assert!(cycles.iter().all(|cycle| cycle.failure.is_some()), "{cycles:?}");
}

#[tokio::test]
async fn a_plugin_that_is_killed_fails_its_hosts_calls() {
    let Some(program) = callback() else { return };
    let Some(host) = host(started(&program)) else { return };
    let plugin = host.client(MOUNT).start().await.unwrap();
    let load = host.load(ONLY, &LOAD).await.unwrap();
    load.until_answered(20).await;
    let pace = load.pace().await;
    assert!(pace.rate > 0.0 && Duration::ZERO < pace.p50 && pace.p50 <= pace.p99, "{pace:?}");

    kill(plugin.pid);
    gone(plugin.pid).await;

    assert_eq!(host.add(ONLY, "hello", 1, LONG).await.unwrap_err().code, Code::Unavailable);
    assert!(load.stop().await.failures() > 0);
    let killed = host.client(MOUNT).kill().await.unwrap();
    assert_eq!(killed.ended, "signal: killed");
    assert_eq!(host.add(ONLY, "hello", 1, LONG).await, Ok(host.stored(ONLY, "hello").await));
}

#[tokio::test]
async fn a_host_that_is_killed_leaves_its_plugin_behind() {
    let Some(program) = callback() else { return };
    let Some(host) = host(started(&program)) else { return };
    let plugin = host.client(MOUNT).start().await.unwrap();

    host.process().kill();
    assert!(!host.process().ended().await.success());

    assert!(Path::new(&format!("/proc/{}", plugin.pid)).exists());
    kill(plugin.pid);
    gone(plugin.pid).await;
}

#[tokio::test]
async fn a_host_may_be_any_user_behind_a_tmp_of_its_own() {
    if !geteuid().is_root() {
        return skipped("only root can start a host as another user");
    }
    let Some(program) = callback() else { return };
    let (place, program) = copy_for_all(&program);
    let options = HostOptions {
        user: Some(UNKNOWN),
        private_tmp: Some(vec![place.path().to_owned()]),
        ..HostOptions::default()
    };
    let Some(host) = CallbackHost::start(&starts([(MOUNT, started(&program))]), &options) else { return };

    calls_back(&host).await;

    let status = std::fs::read_to_string(format!("/proc/{}/status", host.process().child())).unwrap();
    let ids = format!("{UNKNOWN}\t{UNKNOWN}\t{UNKNOWN}\t{UNKNOWN}");
    assert!(
        status.contains(&format!("Uid:\t{ids}\n")) && status.contains(&format!("Gid:\t{ids}\n")),
        "{status}"
    );
    assert!(status.contains("Groups:\t \n"), "{status}");
    // Its plugin's socket, and none of ours.
    let seen: Vec<_> = std::fs::read_dir(format!("/proc/{}/root/tmp", host.pid()))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !place.path().starts_with(Path::new("/tmp").join(path.file_name().unwrap())))
        .filter(|path| !path.is_dir())
        .collect();
    assert!(
        !seen.is_empty()
            && seen.iter().all(|path| !Path::new("/tmp").join(path.file_name().unwrap()).exists())
    );
    assert!(graceful(&host.client(MOUNT).kill().await.unwrap()));
}

#[tokio::test]
async fn both_sdks_start_the_redis_plugin_for_each_connection() {
    let Some(redis) = RedisServer::start().await else { return };
    let package = "github.com/hashicorp/vault-plugin-database-redis/cmd/vault-plugin-database-redis";
    let Some(program) = go_program("plugins/redis", package) else { return };
    for sdk in Sdk::ALL {
        let mounts = starts([(MOUNT, Start::program(&program, &[], 5))]);
        let Some(host) = DatabaseHost::with(sdk, &mounts, &HostOptions::default()) else { return };
        assert!(!host.open("orders", MOUNT).await.unwrap());
        assert!(!host.open("billing", MOUNT).await.unwrap());
        assert_eq!(host.process().children().len(), 2, "{sdk:?}");

        host.initialize_and_verify("orders", &redis.config()).await.unwrap();
        let user = host.new_user("orders", &READ).await.unwrap();
        assert!(redis.lets_in(&user, "first").await);
        host.update_user("orders", &user, "second").await.unwrap();
        assert!(redis.lets_in(&user, "second").await);
        host.delete_user("orders", &user).await.unwrap();
        assert!(!redis.lets_in(&user, "second").await);
        let refused = host.new_user("billing", &READ).await.unwrap_err();
        assert!(refused.message.contains("connection has not been initialized"), "{refused:?}");
        let load = host.load("orders", &READ, &LOAD).await.unwrap();
        load.until_answered(10).await;
        let tally = load.stop().await;
        assert_eq!(tally, clean(&tally), "{sdk:?}");

        for connection in ["orders", "billing"] {
            host.close(connection).await.unwrap();
        }
        assert_eq!(host.process().children(), [0; 0], "{sdk:?}");
        let log = host.client(MOUNT).log().await;
        assert!(log.contains("plugin process exited") && !log.contains("failed to exit"), "{log}");
    }
}

#[tokio::test]
async fn both_sdks_share_the_kv_plugin_among_backends() {
    let package = "github.com/hashicorp/vault-plugin-secrets-kv/cmd/vault-plugin-secrets-kv";
    let Some(program) = go_program("plugins/kv", package) else { return };
    for sdk in Sdk::ALL {
        let mounts = starts([(MOUNT, Start::program(&program, &[], 5))]);
        let Some(host) = BackendHost::with(sdk, &mounts, &HostOptions::default()) else { return };
        for backend in ["orders", "billing"] {
            host.enable(backend, MOUNT, &[]).await.unwrap();
        }
        host.process().child();
        let value = json!({ "value": "a book" });
        host.write("orders", "of/ada", &value).await.unwrap();
        assert_eq!(host.read("orders", "of/ada").await.unwrap().data, value);
        assert_eq!(host.read("billing", "of/ada").await.unwrap().data, Value::Null);
        assert_eq!(host.keys("orders").await.unwrap(), ["of/ada"]);

        host.cleanup("orders").await.unwrap();
        host.write("billing", "of/ada", &value).await.unwrap();
        host.cleanup("billing").await.unwrap();

        assert_eq!(host.process().children(), [0; 0], "{sdk:?}");
        let log = host.client(MOUNT).log().await;
        assert!(log.contains("plugin process exited") && !log.contains("failed to exit"), "{log}");
    }
}

#[tokio::test]
async fn both_sdks_ask_a_plugin_what_it_is_in_metadata_mode() {
    let package = "github.com/hashicorp/vault-plugin-secrets-kv/cmd/vault-plugin-secrets-kv";
    let Some(program) = go_program("plugins/kv", package) else { return };
    for sdk in Sdk::ALL {
        let mounts = starts([(MOUNT, Start::program(&program, &[], 5))]);
        let Some(host) = BackendHost::with(sdk, &mounts, &HostOptions::default()) else { return };

        host.open_for_metadata("orders", MOUNT).await.unwrap();
        host.setup("orders", &[]).await.unwrap();
        assert_eq!(host.about("orders").await.unwrap().0, "secret");
        // A plugin in this mode refuses whatever is not about itself.
        host.read("orders", "of/ada").await.unwrap_err();
        let environment =
            std::fs::read_to_string(format!("/proc/{}/environ", host.process().child())).unwrap();
        assert!(environment.contains("VAULT_PLUGIN_METADATA_MODE=true"), "{sdk:?}");

        host.cleanup("orders").await.unwrap();
        assert_eq!(host.process().children(), [0; 0], "{sdk:?}");
    }
}
