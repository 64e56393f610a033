//! What the gateway serves itself.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use bytes::Bytes;
use go_plugin::proto::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};
use prost::Message;

use super::super::*;
use super::support::*;

const SHUTDOWN: &str = "/plugin.GRPCController/Shutdown";
const STDIO: &str = "/plugin.GRPCStdio/StreamStdio";
const BROKER: &str = "/plugin.GRPCBroker/StartStream";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

fn asked(service: &str) -> Bytes {
    HealthCheckRequest { service: service.to_owned() }.encode_to_vec().into()
}

fn status(answer: Bytes) -> ServingStatus {
    HealthCheckResponse::decode(answer).unwrap().status()
}

async fn checked(world: &World, service: &str) -> ServingStatus {
    status(limited(world.host("orders").raw(CHECK, asked(service))).await.unwrap())
}

#[tokio::test]
async fn streams_of_ours_go_on_when_their_plugin_dies_and_end_when_their_host_ends_them() {
    let world = World::new(&["orders"]);
    let first = world.up(1);
    let mut host = world.host("orders");
    let mut stdio = host.open(STDIO, Some(Bytes::new())).await;
    let mut broker = host.open(BROKER, None).await;
    assert!(world.demand().is_idle(), "they are not calls");
    assert_eq!(*first.plugin.connections.borrow(), 0, "nor for the plugin");
    assert_eq!(host.call("Plain", "x").await.unwrap(), "p1 x");
    world.kill(&first);
    world.up(2);
    assert_eq!(limited(host.another().call("Plain", "y")).await.unwrap(), "p2 y");
    drop(broker.requests);
    assert!(limited(broker.answers.message()).await.unwrap().is_none());
    drop(stdio.requests);
    let ended = timeout(Duration::from_millis(50), stdio.answers.message()).await;
    assert!(ended.is_err(), "its host reads on: {ended:?}");
}

#[tokio::test]
async fn what_a_host_loses_of_the_output_that_it_does_not_read_is_counted() {
    const LOST: &str = r#"plugward_plugin_output_lost_total{plugin_instance="db"}"#;
    let world = World::new(&["orders"]);
    let container = world.up(1);
    let mut host = world.host("orders");
    host.call("Plain", "x").await.unwrap();
    let mut slow = host.open(STDIO, Some(Bytes::new())).await;
    let piece = Bytes::from(vec![b'x'; 4 << 10]);
    limited(async {
        while world.series(LOST).is_none_or(|lost| lost == 0.0) {
            for _ in 0..1000 {
                world.gateway.wrote(&container.place, StdioChannel::Stdout, &piece);
            }
            slow.answers.message().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn health_says_whether_a_call_would_be_served() {
    let world = World::new(&["orders"]);
    assert_eq!(checked(&world, "plugin").await, ServingStatus::Serving, "it would wait");
    let at = jiff::Timestamp::now() + Duration::from_secs(3600);
    world.prospect(Prospect::Later { reason: "exited 1".into(), at });
    assert_eq!(checked(&world, "plugin").await, ServingStatus::NotServing);
    assert_eq!(checked(&world, "").await, ServingStatus::NotServing);
    let status = world.host("orders").raw(CHECK, asked("well")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    world.up(1);
    assert_eq!(checked(&world, "plugin").await, ServingStatus::Serving);
    assert_eq!(checked(&world, "well").await, ServingStatus::Serving);
    assert_eq!(checked(&world, "ill").await, ServingStatus::NotServing);
    let status = world.host("orders").raw(CHECK, asked("none")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    world.gateway.refuse(&db(), "deleted");
    assert_eq!(checked(&world, "plugin").await, ServingStatus::NotServing);
    assert!(world.demand().is_idle());
}

#[tokio::test]
async fn who_watches_health_is_told_of_changes_alone() {
    let world = World::new(&["orders"]);
    let mut host = world.host("orders");
    let mut watching = host.open(WATCH, Some(asked("plugin"))).await;
    let mut unknown = host.open(WATCH, Some(asked("none"))).await;
    assert_eq!(status(limited(watching.answers.message()).await.unwrap().unwrap()), ServingStatus::Serving);
    world.prospect(Prospect::Asleep);
    // It comes within reach of what a call may wait: time alone changes the answer.
    let at = jiff::Timestamp::now() + Duration::from_millis(60_200);
    world.prospect(Prospect::Later { reason: "exited 1".into(), at });
    assert_eq!(
        status(limited(watching.answers.message()).await.unwrap().unwrap()),
        ServingStatus::NotServing
    );
    assert_eq!(status(limited(watching.answers.message()).await.unwrap().unwrap()), ServingStatus::Serving);
    assert_eq!(status(limited(unknown.answers.message()).await.unwrap().unwrap()), ServingStatus::NotServing);
    world.up(1);
    assert_eq!(
        status(limited(unknown.answers.message()).await.unwrap().unwrap()),
        ServingStatus::ServiceUnknown
    );
}

/// The other host of the test below: a process of its own, which that starts.
#[test]
fn another_process_calls_when_it_is_asked() {
    let Some(socket) = std::env::var_os("PLUGWARD_TEST_SOCKET") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut host = Host::new(socket.into());
    let mut client = runtime.block_on(host.connected());
    for line in std::io::stdin().lock().lines() {
        // On its one connection, or not at all.
        let answer = runtime.block_on(async {
            client.ready().await.unwrap();
            let request = tonic::Request::new(Bytes::from(line.unwrap()));
            client.unary(request, path("/test.Plugin/Plain"), Octets).await.unwrap().into_inner()
        });
        println!("answer: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_host_that_shuts_its_plugin_down_ends_its_own_connections_alone() {
    let world = World::new(&["orders"]);
    world.up(1);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gateway::tests::own::another_process_calls_when_it_is_asked", "--nocapture"])
        .env("PLUGWARD_TEST_SOCKET", world.socket("orders"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to_other, from_other) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (lines, mut answers) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from_other).lines().map_while(Result::ok) {
            let _ = line.split_once("answer: ").map(|(_, answer)| lines.send(answer.to_owned()));
        }
    });
    writeln!(to_other, "one").unwrap();
    assert_eq!(limited(answers.recv()).await.unwrap(), "p1 one");

    let (mut first, mut second) = (world.host("orders"), world.host("orders"));
    first.call("Plain", "x").await.unwrap();
    second.call("Plain", "x").await.unwrap();
    assert_eq!(first.raw(SHUTDOWN, Bytes::new()).await.unwrap(), "");
    // Both are of this process, and may connect again.
    for host in [&mut first, &mut second] {
        let mut client = host.connected().await;
        eventually_closed(&mut client).await;
        assert_eq!(host.call("Plain", "y").await.unwrap(), "p1 y");
    }
    writeln!(to_other, "two").unwrap();
    assert_eq!(limited(answers.recv()).await.unwrap(), "p1 two");
    drop(to_other);
    assert!(child.wait().unwrap().success());
}

async fn eventually_closed(client: &mut tonic::client::Grpc<Http>) {
    limited(async {
        while client.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
