//! The host's half against a plugin made with the real go-plugin library.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod golang;
mod process;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use futures::StreamExt;
use go_plugin::{
    Answer, Cookie, Handshake, Health, Plugin, Problem, ReadLineError,
    external::{
        Bytes,
        http::{HeaderMap, Request, uri::PathAndQuery},
        rustls::HandshakeKind,
        tonic::Code,
    },
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use process::{LIMIT, Process};
use tokio::{process::Command, time};

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/plugins/go");
const PACKAGE: &str =
    "github.com/hashicorp/go-secure-stdlib/plugincontainer/examples/container/plugin-counter";

fn cookie() -> Cookie {
    Cookie::new("BASIC_PLUGIN", "hello").unwrap()
}

/// Builds the plugin once for all tests. `None` where there is no Go.
fn plugin_counter() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| golang::build(MODULE, PACKAGE, "plugin-counter")).as_deref()
}

fn start(binary: &Path, automtls: bool) -> Process {
    Process::start(&mut Command::new(binary), cookie(), automtls)
}

#[tokio::test]
async fn it_is_healthy_and_ends_when_told() {
    let Some(binary) = plugin_counter() else { return };
    for automtls in [true, false] {
        let mut process = start(binary, automtls);
        let plugin = process.plugin().await;
        let mut stdio = plugin.stdio();
        assert!(futures::poll!(stdio.next()).is_pending());
        assert_eq!(plugin.health(LIMIT).await.unwrap(), Health::Serving);
        assert!(futures::poll!(stdio.next()).is_pending(), "its output is not open");

        plugin.shutdown(LIMIT).await.unwrap();

        plugin.closed().await;
        assert_eq!(stdio.next().await, None);
        assert!(process.child.wait().await.unwrap().success());
        assert!(process.left_nothing());
    }
}

#[tokio::test]
async fn its_death_is_seen_at_once() {
    let Some(binary) = plugin_counter() else { return };
    let mut process = start(binary, true);
    let plugin = process.plugin().await;
    let waiting = tokio::spawn({
        let plugin = plugin.clone();
        async move { plugin.closed().await }
    });
    plugin.health(LIMIT).await.unwrap();
    let _dialled = plugin.dial(LIMIT).await.unwrap();

    process.child.kill().await.unwrap();

    waiting.await.unwrap();
    assert_eq!(plugin.dial(LIMIT).await.unwrap_err().as_str(), "socket_refused");
    assert_eq!(plugin.health(LIMIT).await.unwrap_err().as_str(), "connection_lost");
    assert_eq!(plugin.stdio().next().await, None);
}

/// The content of a request for the health of a service, with gRPC's head.
fn health_of(service: &str) -> Vec<u8> {
    let size = u8::try_from(service.len()).unwrap();
    [&[0, 0, 0, 0, size + 2, 0x0a, size], service.as_bytes()].concat()
}

#[tokio::test]
async fn each_of_its_hosts_has_a_connection_that_resumes_a_session() {
    let Some(binary) = plugin_counter() else { return };
    let mut process = start(binary, true);
    let plugin = process.plugin().await;
    // Its first session comes after the handshake, and before the first answer.
    plugin.health(LIMIT).await.unwrap();

    for _ in 0..5 {
        let stream = plugin.dial(LIMIT).await.unwrap();
        assert_eq!(stream.handshake_kind(), Some(HandshakeKind::Resumed));
        let (mut requests, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("http://localhost/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::<Bytes>::from(health_of("plugin")))
            .unwrap();
        let answer = requests.send_request(request).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(answer.to_bytes(), [0, 0, 0, 0, 2, 0x08, 1].as_slice());
    }

    // By now there is a spare connection, too, for which grpc-go would wait two minutes.
    plugin.shutdown(LIMIT).await.unwrap();
    let ended = time::timeout(LIMIT, process.child.wait()).await.expect("it does not end");
    assert!(ended.unwrap().success());
}

#[tokio::test]
async fn it_is_asked_what_it_knows_and_what_it_does_not() {
    let Some(binary) = plugin_counter() else { return };
    let mut process = start(binary, true);
    let plugin = process.plugin().await;
    assert!(!plugin.multiplexes(LIMIT).await.unwrap());
    assert_eq!(plugin.health_of("plugin", LIMIT).await.unwrap(), Health::Serving);
    assert_eq!(plugin.health_of("other", LIMIT).await.unwrap(), Health::Unimplemented);

    let call = async |path, service| {
        let message = Bytes::from(health_of(service)).slice(5..);
        plugin.call(PathAndQuery::from_static(path), HeaderMap::new(), message, LIMIT).await.unwrap()
    };
    let check = "/grpc.health.v1.Health/Check";
    assert_eq!(call(check, "plugin").await, Answer::Message(vec![0x08, 1].into()));
    assert!(matches!(
        call(check, "other").await,
        Answer::Status { code: Code::NotFound, message } if message == "unknown service"
    ));
    assert!(matches!(
        call("/other.Service/Method", "").await,
        Answer::Status { code: Code::Unimplemented, .. }
    ));
}

#[tokio::test]
async fn it_lets_a_host_with_the_stored_identity_in_again() {
    let Some(binary) = plugin_counter() else { return };
    let mut process = start(binary, true);
    let handshake = process.handshake().await;
    drop(process.connect(&handshake).await);

    let stored = process.identity.as_ref().unwrap().to_pem();
    process.identity = Some(go_plugin::Identity::from_pem(&stored).unwrap());
    let stored = Handshake::parse(handshake.to_string().as_bytes()).unwrap();
    let again: Plugin = process.connect(&stored).await;

    assert_eq!(again.health(LIMIT).await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn without_its_cookie_it_prints_no_line() {
    let Some(binary) = plugin_counter() else { return };
    let cookie = Cookie::new("BASIC_PLUGIN", "goodbye").unwrap();
    let mut process = Process::start(&mut Command::new(binary), cookie, true);

    let error = process.line().await.unwrap_err();

    assert!(matches!(error, ReadLineError::Line(go_plugin::LineError::NoLine)), "{error}");
    assert_eq!(process.child.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn its_answers_to_what_it_was_not_made_for_are_understood() {
    let Some(binary) = plugin_counter() else { return };
    // env(1) replaces what the launch says.
    let line = async |name: &str, value: &str| {
        let mut command = Command::new("env");
        command.arg(format!("{name}={value}")).arg(binary);
        let mut process = Process::start(&mut command, cookie(), false);
        Handshake::parse(&process.line().await.unwrap().line).unwrap()
    };
    let expected =
        |versions, multiplex_broker| go_plugin::Expected { versions, automtls: false, multiplex_broker };

    let other_version = line("PLUGIN_PROTOCOL_VERSIONS", "2,3").await;
    assert_eq!(
        other_version.check(&expected(vec![2, 3], false)),
        Err(Problem::AppVersionNotOffered { served: 1, offered: vec![2, 3] })
    );
    let multiplexed = line("PLUGIN_MULTIPLEX_GRPC", "true").await;
    assert_eq!(multiplexed.check(&expected(vec![1], true)), Ok(()));
}
