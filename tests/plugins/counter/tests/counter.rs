//! The plugin as its host sees it: a process.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../../../../controller/go-plugin/tests/process/mod.rs"]
mod process;

use futures::StreamExt;
use go_plugin::{Cookie, Health, Plugin, StdioChannel, external::http::uri::PathAndQuery};
use process::{LIMIT, Process};
use proto::{GetRequest, IncrementRequest, counter_client::CounterClient};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
use tonic::{Code, Request, client::Grpc, metadata::MetadataValue};
use tonic_prost::ProstCodec;

mod proto {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, reason = "generated")]
    tonic::include_proto!("counter");
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_counter-plugin");

fn start(arguments: &[&str]) -> Process {
    let cookie = Cookie::new("COUNTER_PLUGIN", "counter").unwrap();
    Process::start(Command::new(PROGRAM).args(arguments), cookie, true)
}

async fn increment(plugin: &Plugin, key: &str, delta: i64) -> Result<i64, Code> {
    let request = IncrementRequest { key: key.to_owned(), delta };
    let answer = CounterClient::new(plugin.channel()).increment(request).await;
    answer.map(|answer| answer.into_inner().value).map_err(|status| status.code())
}

/// What the plugin says, if it says anything. On the wire both messages are ones that prost has.
async fn multiplexes(plugin: &Plugin) -> Result<bool, Code> {
    let mut client = Grpc::new(plugin.channel());
    client.ready().await.unwrap();
    let path = "/pluginutil.multiplexing.PluginMultiplexing/MultiplexingSupport";
    let codec = ProstCodec::<(), bool>::default();
    let answer = client.unary(Request::new(()), PathAndQuery::from_static(path), codec).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status.code())
}

async fn get(plugin: &Plugin, key: &str) -> i64 {
    let request = GetRequest { key: key.to_owned() };
    CounterClient::new(plugin.channel()).get(request).await.unwrap().into_inner().value
}

#[tokio::test]
async fn it_counts() {
    let plugin_process = &mut start(&[]);
    let plugin = plugin_process.plugin().await;

    assert_eq!(get(&plugin, "hello").await, 0);
    assert_eq!(increment(&plugin, "hello", 1).await, Ok(1));
    assert_eq!(increment(&plugin, "hello", 2).await, Ok(3));
    assert_eq!(increment(&plugin, "world", -2).await, Ok(-2));
    assert_eq!(get(&plugin, "hello").await, 3);
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused() {
    let mut process = start(&[]);
    let plugin = process.plugin().await;

    assert_eq!(increment(&plugin, "", 1).await, Err(Code::InvalidArgument));
    assert_eq!(increment(&plugin, "full", i64::MAX).await, Ok(i64::MAX));
    assert_eq!(increment(&plugin, "full", 1).await, Err(Code::OutOfRange));
    assert_eq!(get(&plugin, "full").await, i64::MAX);
}

#[tokio::test]
async fn multiplexed_it_keeps_the_counters_of_each_mount_apart() {
    let mut process = start(&["--multiplex"]);
    let plugin = process.plugin().await;
    let increment = async |mount: &[&'static str]| {
        let mut request = Request::new(IncrementRequest { key: "hello".to_owned(), delta: 1 });
        for mount in mount {
            request.metadata_mut().append("multiplex_id", MetadataValue::from_static(mount));
        }
        let answer = CounterClient::new(plugin.channel()).increment(request).await;
        answer.map(|answer| answer.into_inner().value).map_err(|status| status.code())
    };

    assert_eq!(multiplexes(&plugin).await, Ok(true));
    assert_eq!(increment(&["orders"]).await, Ok(1));
    assert_eq!(increment(&["orders"]).await, Ok(2));
    assert_eq!(increment(&["billing"]).await, Ok(1));
    assert_eq!(increment(&[]).await, Err(Code::InvalidArgument));
    assert_eq!(increment(&["orders", "billing"]).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn unless_told_to_it_does_not_multiplex() {
    let mut process = start(&[]);
    let plugin = process.plugin().await;
    assert_eq!(multiplexes(&plugin).await, Err(Code::Unimplemented));
}

#[tokio::test]
async fn it_is_healthy_and_ends_when_told() {
    let mut process = start(&["--start-delay-ms", "10"]);
    let plugin = process.plugin().await;
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);

    plugin.shutdown(LIMIT).await.unwrap();

    assert!(process.child.wait().await.unwrap().success());
    assert!(process.left_nothing());
}

#[tokio::test]
async fn it_greets_in_its_log_and_its_output() {
    let mut process = start(&["--greeting", "good day"]);
    let mut log = BufReader::new(process.take_stderr()).lines();
    let plugin = process.plugin().await;

    assert_eq!(log.next_line().await.unwrap().unwrap(), "good day");
    assert_eq!(plugin.stdio().next().await.unwrap(), (StdioChannel::Stdout, "good day\n".into()));
}

#[tokio::test]
async fn started_by_hand_it_explains_itself() {
    let cookie = Cookie::new("COUNTER_PLUGIN", "something else").unwrap();
    let mut process = Process::start(&mut Command::new(PROGRAM), cookie, true);

    assert_eq!(process.line().await.unwrap_err().as_str(), "no_line");
    assert!(process.stderr().await.contains("started by its host"));
    assert_eq!(process.child.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn its_death_is_seen_at_once() {
    let mut process = start(&[]);
    let plugin = process.plugin().await;
    plugin.health(LIMIT).await.unwrap();

    process.child.start_kill().unwrap();

    plugin.closed().await;
    assert_eq!(increment(&plugin, "hello", 1).await, Err(Code::Unavailable));
}

#[tokio::test]
async fn it_ignores_interrupts_and_heeds_termination() {
    let mut process = start(&[]);
    let plugin = process.plugin().await;
    let pid = Pid::from_raw(process.child.id().unwrap().cast_signed()).unwrap();

    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
    kill_process(pid, Signal::TERM).unwrap();

    assert_eq!(process.child.wait().await.unwrap().code(), Some(143));
    assert!(process.left_nothing());
}
