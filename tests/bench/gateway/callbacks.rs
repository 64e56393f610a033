//! Calls that call their host back: through a mount, and by a plugin that is a process of its host's, as it is without a gateway.
//!
//! Both have a host of the same program, on the real go-plugin, and the same plugin: one in a container, the other as the host starts
//! it, with AutoMTLS. The hosts make the load, in turns.

use std::path::Path;
use std::time::Instant;

use go_plugin::Application;
use plugward_tests::real::{
    BackendHost, CallbackHost, HostOptions, Instance, LIMIT, Load, RunningLoad, Start, TestEngine, World,
    callback, go_program, kv, starts,
};
use serde_json::json;

use crate::table::{Goal, Row};
use crate::turns::against_process;

/// What a plugin in a container should reach of one that is a process.
const GOAL: Goal = Goal::AtLeast(0.8);

/// Each plugin's instance and mount.
const NUMBERS: &str = "numbers";
const KV: &str = "kv";

/// A host, and what it is to call.
#[derive(Clone, Copy)]
enum Calls<'a> {
    /// One call with one callback, over a connection of its own.
    Numbers(&'a CallbackHost),
    /// A write of a new value and its reading: three calls, each of which uses the host's storage over the connection that is there since
    /// the backend was set up.
    Kv(&'a BackendHost),
}

pub(crate) async fn measure(engine: &TestEngine, engines: &[TestEngine]) -> Vec<Row> {
    eprintln!("gateway: calls that call back");
    let kv_package = "github.com/hashicorp/vault-plugin-secrets-kv/cmd/vault-plugin-secrets-kv";
    let (Some(numbers_program), Some(kv_program)) =
        (go_program("plugins/go", "./callback"), go_program("plugins/kv", kv_package))
    else {
        return vec![without_go()];
    };
    let world = World::new(engine.clone(), engines);
    world.declare_runtime();
    world.declare("backends.yaml", &[callback(NUMBERS), kv(KV)]);
    world.start().await;
    world.until_ready(NUMBERS).await;
    world.until_ready(KV).await;
    let mut rows = numbers(&world, &numbers_program).await;
    rows.extend(secrets(&world, &kv_program).await);
    world.terminate().await;
    world.clear_away().await;
    rows
}

fn without_go() -> Row {
    Row {
        work: "calls that call back".to_owned(),
        seen: "SKIPPED".to_owned(),
        against: "Go is not installed".to_owned(),
        goal: "≥ 0.80 ×".to_owned(),
        met: None,
    }
}

async fn numbers(world: &World, program: &Path) -> Vec<Row> {
    let mounted = world.callback_host(NUMBERS).await.expect("there is Go");
    let of_process =
        CallbackHost::start(&starts([(NUMBERS, Start::program(program, &[], 1))]), &HostOptions::default())
            .expect("there is Go");
    let ways = [Calls::Numbers(&mounted), Calls::Numbers(&of_process)];
    let rows = against_process("call with one callback", ways, Calls::begin, GOAL).await;
    of_process.close(NUMBERS).await.unwrap();
    rows
}

async fn secrets(world: &World, program: &Path) -> Vec<Row> {
    let mounted = world.backend_host(KV).await.expect("there is Go");
    let environment = Application::Backend.environment("1.21.0", false);
    let start = starts([(KV, Start::program(program, &[], 5).envs(environment))]);
    let of_process = BackendHost::start(&start, &HostOptions::default()).expect("there is Go");
    for host in [&mounted, &of_process] {
        host.enable(KV, KV, &[]).await.unwrap();
        // The plugin makes itself ready after it has answered.
        let deadline = Instant::now() + LIMIT;
        while let Err(error) = host.write(KV, "first", &json!({ "value": "first" })).await {
            assert!(Instant::now() < deadline, "{error:?}");
        }
    }
    let rows = against_process(
        "kv: write and read",
        [Calls::Kv(&mounted), Calls::Kv(&of_process)],
        Calls::begin,
        GOAL,
    )
    .await;
    of_process.shutdown(KV).await.unwrap();
    rows
}

// === impl Calls ===

impl<'a> Calls<'a> {
    async fn begin(self, load: &Load) -> RunningLoad<'a> {
        match self {
            Self::Numbers(host) => host.load(Instance::only(NUMBERS), load).await.unwrap(),
            Self::Kv(host) => host.load(KV, load).await.unwrap(),
        }
    }
}
