//! What h2spec says of the relay as a server, with a plugin that answers behind it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod golang;
mod support;

use std::convert::Infallible;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plugward_relay::Limits;
use support::program::Mount;
use tokio::{net::UnixListener, process::Command};
use tonic::codegen::http;

/// Cases that the relay may fail, by their names, and why that is right.
const DEVIATIONS: [(&str, &str); 1] = [(
    "Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame",
    "takes the next SETTINGS for the acknowledgement of its own; where the plugin is bound between the two, it is the frame that tells \
     the host of the plugin's settings",
)];

/// A server that reads each request and answers it.
async fn answers(
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<bytes::Bytes>>, Infallible> {
    // One that is reset has no body to its end.
    let _ = request.into_body().collect().await;
    Ok(http::Response::new(Full::new("an answer".into())))
}

#[tokio::test]
async fn h2spec_is_content() {
    let Some(h2spec) = golang::build("github.com/summerwind/h2spec/cmd/h2spec", "h2spec") else { return };
    let directory = tempfile::tempdir().unwrap();
    let plugin = UnixListener::bind(directory.path().join("plugin")).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = plugin.accept().await {
            let service = hyper::service::service_fn(answers);
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    // Where h2spec tries more streams than are announced, it opens one for each.
    let limits = Limits { streams: 100, ..Limits::default() };
    let mount = Mount::start(directory.path().join("mount"), limits.clone());
    mount.set_plugin(Some(directory.path().join("plugin")));
    let address = mount.listen(limits).await;
    let output = Command::new(h2spec)
        .args(["--host", "127.0.0.1", "--timeout", "3", "--port", &address.port().to_string()])
        .output()
        .await
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let failures = output.split_once("Failures:").map_or("", |(_, failures)| failures);
    let failed: Vec<&str> = failures
        .lines()
        .filter_map(|line| line.trim().strip_prefix("×")?.split_once(": ").map(|(_, name)| name))
        .collect();
    let known = |name: &&str| DEVIATIONS.iter().any(|(deviation, _)| deviation == name);
    assert!(failed.iter().all(known), "{output}");
    let summary = output.lines().rfind(|line| line.contains(" passed, ")).unwrap();
    assert_eq!(
        summary,
        format!("145 tests, {} passed, 0 skipped, {} failed", 145 - failed.len(), failed.len()),
        "{output}"
    );
}
