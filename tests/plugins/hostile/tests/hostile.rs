//! Each way to misbehave, and what a host makes of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../../../../controller/go-plugin/tests/process/mod.rs"]
mod process;

use std::{os::unix::process::ExitStatusExt, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use go_plugin::{
    AddressError, CallError, Cookie, Expected, FileKind, Handshake, Health, LineError, Plugin, Problem,
    ReadLineError, SocketAddress, SocketError,
    external::{Bytes, http::uri::PathAndQuery},
    read_line,
};
use process::{LIMIT, Process};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{io::AsyncReadExt, process::Command};
use tonic::{Request, client::Grpc};
use tonic_prost::ProstCodec;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hostile-plugin");

/// A time limit that is meant to pass.
const SHORT: Duration = Duration::from_millis(200);

fn cookie() -> Cookie {
    Cookie::new("HOSTILE_PLUGIN", "hostile").unwrap()
}

fn start(arguments: &[&str]) -> Process {
    Process::start(Command::new(PROGRAM).args(arguments), cookie(), true)
}

/// What is wrong with its line.
async fn problem(behaviour: &str) -> Problem {
    let line = start(&[behaviour]).line().await.unwrap().line;
    match Handshake::parse(&line) {
        Err(error) => error.problem,
        Ok(handshake) => {
            let expected = Expected { versions: vec![1], automtls: true, multiplex_broker: false };
            handshake.check(&expected).unwrap_err()
        }
    }
}

/// What is wrong with its socket.
async fn socket_error(behaviour: &str) -> SocketError {
    let mut process = start(&[behaviour]);
    let handshake = process.handshake().await;
    process.address(&handshake).connect().await.unwrap_err()
}

fn send(process: &Process, signal: Signal) {
    let pid = Pid::from_raw(process.child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn a_line_that_is_no_handshake_is_called_so() {
    assert!(matches!(problem("garbage").await, Problem::TooFewFields { found: 1 }));
    assert_eq!(problem("core-version").await, Problem::CoreVersionUnsupported { found: 2 });
    assert_eq!(problem("app-version").await, Problem::AppVersionNotOffered { served: 99, offered: vec![1] });
    assert_eq!(problem("net-rpc").await, Problem::NetRpc);
    assert_eq!(problem("no-certificate").await, Problem::CertificateMissing);
}

#[tokio::test]
async fn an_endless_line_a_half_one_and_none_are_told_apart() {
    let error = start(&["endless-line"]).line().await.unwrap_err();
    assert!(matches!(error, ReadLineError::Line(LineError::TooLong(_))), "{error}");
    let error = start(&["half-line"]).line().await.unwrap_err();
    assert!(matches!(error, ReadLineError::Line(LineError::Incomplete(_))), "{error}");

    let mut silent = start(&["no-line"]);
    let error = read_line(silent.child.stdout.as_mut().unwrap(), SHORT).await.unwrap_err();
    assert!(matches!(error, ReadLineError::TimedOut { .. }), "{error}");
    send(&silent, Signal::TERM);
    assert!(!silent.child.wait().await.unwrap().success());
}

#[tokio::test]
async fn it_exits_with_the_code_and_words_it_was_given() {
    let mut process = start(&["exit", "--code", "7", "--message", "no database"]);
    assert_eq!(process.line().await.unwrap_err().as_str(), "no_line");
    assert_eq!(process.stderr().await, "no database\n");
    assert_eq!(process.child.wait().await.unwrap().code(), Some(7));
}

#[tokio::test]
async fn a_socket_that_is_not_there_or_not_one_is_refused() {
    assert!(matches!(socket_error("missing-socket").await, SocketError::Missing { .. }));
    let error = socket_error("symlink").await;
    assert!(matches!(error, SocketError::NotASocket { kind: FileKind::SymbolicLink, .. }), "{error}");

    let elsewhere = tempfile::TempDir::new().unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("outside").env("TMPDIR", elsewhere.path());
    let mut process = Process::start(&mut command, cookie(), true);
    let handshake = process.handshake().await;
    let directory = process.directory.path();
    let error = SocketAddress::translate(&handshake.address, directory, directory).unwrap_err();
    assert!(matches!(error, AddressError::Outside { .. }));
}

#[tokio::test]
async fn a_certificate_that_is_not_its_own_is_refused() {
    let mut process = start(&["wrong-certificate"]);
    let handshake = process.handshake().await;
    let settings = process.identity.as_ref().unwrap();
    let settings = settings.client_config(handshake.server_certificate.as_ref().unwrap()).unwrap();
    let address = process.address(&handshake);
    let error = Plugin::connect(&address, Some(Arc::new(settings)), LIMIT).await.unwrap_err();
    assert_eq!(error.as_str(), "tls");
}

#[tokio::test]
async fn one_that_accepts_nobody_costs_its_time_limit() {
    let mut process = start(&["no-accept"]);
    let handshake = process.handshake().await;
    let settings = process.identity.as_ref().unwrap();
    let settings = settings.client_config(handshake.server_certificate.as_ref().unwrap()).unwrap();
    let address = process.address(&handshake);
    let error = Plugin::connect(&address, Some(Arc::new(settings)), SHORT).await.unwrap_err();
    assert_eq!(error.as_str(), "connect_timed_out");
}

#[tokio::test]
async fn one_that_says_it_is_not_healthy_is_believed() {
    let mut process = start(&["not-serving"]);
    let plugin = process.plugin().await;
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::NotServing);
    plugin.shutdown(LIMIT).await.unwrap();
    assert!(process.child.wait().await.unwrap().success());
}

#[tokio::test]
async fn its_own_death_is_seen_with_its_code() {
    let mut process = start(&["die", "--on-signal", "--code", "3"]);
    let plugin = process.plugin().await;
    send(&process, Signal::USR1);
    plugin.closed().await;
    assert_eq!(process.child.wait().await.unwrap().code(), Some(3));
}

#[tokio::test]
async fn a_frozen_one_keeps_its_connection_and_answers_nothing() {
    let mut process = start(&["freeze", "--on-signal"]);
    let plugin = process.plugin().await;
    send(&process, Signal::USR1);
    while plugin.health(SHORT).await.is_ok() {}
    let error = plugin.health(SHORT).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
    assert!(futures::poll!(Box::pin(plugin.closed())).is_pending());
    assert!(plugin.shutdown(SHORT).await.is_err());
    send(&process, Signal::TERM);
    assert!(process.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn one_that_closes_its_connections_lives_on() {
    let mut process = start(&["close", "--on-signal"]);
    let plugin = process.plugin().await;
    send(&process, Signal::USR1);
    plugin.closed().await;
    assert!(process.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn the_immortal_one_survives_all_but_a_kill() {
    let mut process = start(&["immortal"]);
    let handshake = process.handshake().await;
    let plugin = process.connect(&handshake).await;
    send(&process, Signal::TERM);
    plugin.shutdown(LIMIT).await.unwrap();
    plugin.closed().await;

    let again = process.connect(&handshake).await;
    assert_eq!(again.health(LIMIT).await.unwrap(), Health::Serving);
    process.child.kill().await.unwrap();
    again.closed().await;
}

#[tokio::test]
async fn one_that_takes_all_memory_is_stopped_by_its_limit() {
    let mut command = Command::new("sh");
    // Address space, in KiB: it stands in for a container's memory limit.
    command.args(["-c", "ulimit -v 600000; exec \"$0\" allocate --on-signal", PROGRAM]);
    let mut process = Process::start(&mut command, cookie(), true);
    let plugin = process.plugin().await;
    send(&process, Signal::USR1);
    plugin.closed().await;
    assert!(process.child.wait().await.unwrap().signal().is_some());
}

#[tokio::test]
async fn a_flood_after_the_handshake_does_not_keep_it_from_serving() {
    for channel in ["stdout", "stderr", "stdio"] {
        let mut process = start(&["flood", channel]);
        let mut log = process.take_stderr();
        let drain = tokio::spawn(async move { tokio::io::copy(&mut log, &mut tokio::io::sink()).await });
        let plugin = process.plugin().await;
        assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving, "{channel}");
        drain.abort();
    }
}

#[tokio::test]
async fn a_flood_of_output_comes_through_the_connection() {
    let mut process = start(&["flood", "stdio"]);
    let plugin = process.plugin().await;
    let read: usize =
        plugin.stdio().take(10_000).map(|(_, piece)| piece.len()).collect::<Vec<_>>().await.iter().sum();
    assert!(read > 10_000);
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn a_flood_before_the_handshake_hides_it_only_on_standard_output() {
    let mut process = start(&["flood", "stdout", "--early"]);
    let line = process.line().await.unwrap().line;
    assert!(line.starts_with(b"[INFO] line 0"));

    let mut process = start(&["flood", "stderr", "--early"]);
    let mut log = process.take_stderr();
    let plugin = process.plugin().await;
    let mut some = vec![0; 1 << 20];
    log.read_exact(&mut some).await.unwrap();
    assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn bulk_goes_both_ways_to_the_last_byte() {
    let mut process = start(&["bulk"]);
    let plugin = process.plugin().await;
    let mut client = Grpc::new(plugin.channel());
    client.ready().await.unwrap();

    let (wanted, path) = (100_000_u64, PathAndQuery::from_static("/bulk.Bulk/Download"));
    let answer =
        client.server_streaming(Request::new(wanted), path, ProstCodec::<u64, Bytes>::default()).await;
    let pieces: Vec<Bytes> = answer.unwrap().into_inner().map(Result::unwrap).collect().await;
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [65_536, 34_464]);

    let path = PathAndQuery::from_static("/bulk.Bulk/Upload");
    let codec = ProstCodec::<Bytes, u64>::default();
    let answer = client.client_streaming(Request::new(stream::iter(pieces)), path, codec).await;
    assert_eq!(answer.unwrap().into_inner(), wanted);
}
