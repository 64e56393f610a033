use std::future::poll_fn;

use futures::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::yield_now,
};

use super::*;

fn pair() -> (PluginStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (PluginStream::plain(ours), theirs)
}

/// Resolves when nobody should have this connection any more.
async fn spoilt(stream: &mut PluginStream) {
    poll_fn(|context| stream.poll_spoilt(context)).await;
}

#[tokio::test]
async fn what_came_early_is_read_first_and_once() {
    let (mut ours, mut theirs) = pair();
    theirs.write_all(b"early").await.unwrap();
    while ours.early.len() < 5 {
        assert!(spoilt(&mut ours).now_or_never().is_none());
        yield_now().await;
    }
    theirs.write_all(b" and late").await.unwrap();
    drop(theirs);
    let mut piece = [0; 2];
    ours.read_exact(&mut piece).await.unwrap();
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).await.unwrap();
    assert_eq!((piece.as_slice(), rest.as_slice()), (b"ea".as_slice(), b"rly and late".as_slice()));
}

#[tokio::test]
async fn a_connection_is_spoilt_by_its_end_and_by_a_plugin_that_talks_without_end() {
    let (mut ours, theirs) = pair();
    drop(theirs);
    spoilt(&mut ours).await;

    let (mut ours, mut theirs) = pair();
    theirs.write_all(&[0; 2 * EARLY_LIMIT]).await.unwrap();
    spoilt(&mut ours).await;
    assert!(ours.early.len() < 2 * EARLY_LIMIT);
}

#[tokio::test]
async fn an_end_shows_at_once_even_behind_what_was_not_read() {
    let (ours, mut theirs) = pair();
    assert!(ours.is_open());
    theirs.write_all(b"unread").await.unwrap();
    assert!(ours.is_open());
    theirs.shutdown().await.unwrap();
    assert!(!ours.is_open());
}
