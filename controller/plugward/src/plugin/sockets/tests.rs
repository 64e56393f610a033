use std::fs;

use tempfile::TempDir;
use tokio::net::UnixListener;

use go_plugin::Handshake;

use super::*;
use crate::slot::StoredIdentity;

fn address(directory: &TempDir) -> PluginAddress {
    let line = format!("1|1|unix|{PLUGIN_SIDE_DIRECTORY}/plugin1|grpc");
    PluginAddress {
        directory: directory.path().to_owned(),
        handshake: Handshake::parse(line.as_bytes()).unwrap(),
        identity: StoredIdentity::new(""),
        shared: false,
        group: None,
    }
}

fn call(metadata: &[(&str, &[u8])]) -> UnaryCall {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec()));
    UnaryCall {
        path: "/test.Plugin/Initialize".to_owned(),
        metadata: metadata.collect(),
        message: Arc::new(b"s3cret".to_vec().into()),
        limit: CALL_LIMIT,
    }
}

#[tokio::test]
async fn what_a_dead_plugin_does_not_do_may_yet_be_done_by_another() {
    let directory = TempDir::new().unwrap();
    let listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    let conversation = SocketPlugins.connect(&address(&directory)).await.unwrap();
    drop(listener);

    conversation.closed().await;
    assert!(!conversation.call(call(&[])).await.unwrap_err().permanent);
    assert!(!conversation.multiplexes().await.unwrap_err().permanent);
    assert!(!conversation.health_of("other").await.unwrap_err().permanent);
    let Err(error) = conversation.dial().await else { panic!("there is nobody to dial") };
    assert!(!error.permanent, "{error}");
}

#[tokio::test]
async fn what_is_no_socket_stays_none() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("plugin1"), "").unwrap();
    let Err(error) = SocketPlugins.connect(&address(&directory)).await else { panic!("it is a file") };
    assert!(error.permanent, "{error}");
}

#[tokio::test]
async fn a_call_that_cannot_be_made_is_said_to_be_so_without_what_it_carries() {
    let directory = TempDir::new().unwrap();
    let _listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    let conversation = SocketPlugins.connect(&address(&directory)).await.unwrap();
    let no_path = UnaryCall { path: "no path".to_owned(), ..call(&[]) };
    for wrong in [call(&[("a key", b"s3cret")]), call(&[("key", b"s3cret\n")]), no_path] {
        let error = conversation.call(wrong).await.unwrap_err();
        assert!(error.permanent && !error.message.contains("s3cret"), "{error}");
    }
}

#[test]
fn metadata_keeps_its_order_and_its_values() {
    let headers = call(&[("many", b"1"), ("trace-bin", b"AAE"), ("many", b"\xe4")]).headers().unwrap();
    assert_eq!(
        headers.get_all("many").iter().map(HeaderValue::as_bytes).collect::<Vec<_>>(),
        [b"1", b"\xe4"]
    );
    assert_eq!(headers["trace-bin"], "AAE");
}

#[test]
fn an_error_is_an_answer_with_a_code_of_grpc() {
    let refused = Answer::Status { code: Code::FailedPrecondition, message: "not initialized".to_owned() };
    let refused = UnaryAnswer::from(refused);
    assert_eq!(
        (refused.code, refused.status_message.as_str(), refused.is_ok()),
        (9, "not initialized", false)
    );
    let answered = UnaryAnswer::from(Answer::Message(b"done".to_vec().into()));
    assert_eq!((answered.message.as_slice(), answered.is_ok()), (b"done".as_slice(), true));
}

#[test]
fn no_debug_shows_what_calls_carry() {
    let answer =
        UnaryAnswer { code: 2, status_message: "s3cret".to_owned(), message: b"s3cret".to_vec().into() };
    let shown = format!("{:?} {answer:?}", call(&[("token", b"s3cret")]));
    let bytes = format!("{:?}", b"s3cret");
    assert!(!shown.contains("s3cret") && !shown.contains(&bytes[1..bytes.len() - 1]), "{shown}");
}
