//! A control socket that says what a test wants, for commands that ask a controller.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use axum::Router;
use axum::http::{StatusCode, Uri};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixListener;

/// Answers to these paths until the process ends. The run directory is told.
pub(super) fn controller<const N: usize>(answers: [(&str, Value); N]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("test");
    std::fs::create_dir(&root).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(root.join("control.sock")).unwrap();
    let answers = answers.map(|(path, answer)| (path.to_owned(), answer.to_string()));
    thread::spawn(move || serve(socket, BTreeMap::from(answers)));
    directory
}

/// The words by which a command finds the controller.
pub(super) fn words(directory: &Path) -> [String; 2] {
    ["--run-dir".to_owned(), directory.display().to_string()]
}

fn serve(socket: std::os::unix::net::UnixListener, answers: BTreeMap<String, String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        socket.set_nonblocking(true).unwrap();
        let socket = UnixListener::from_std(socket).unwrap();
        let router = Router::new().fallback(move |uri: Uri| {
            let answer = answers.get(uri.path()).cloned();
            async move { answer.ok_or((StatusCode::NOT_FOUND, r#"{"message":"not found"}"#)) }
        });
        axum::serve(socket, router).await.unwrap();
    });
}
