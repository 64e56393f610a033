//! gRPC calls of tonic through a relay: what a host does and sees is what it does and sees without one.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use bytes::Bytes;
use futures::{StreamExt, stream};
use plugward_relay::{
    Limits, Outcome,
    grpc::{self, Code},
};
use support::{Client, Octets, connect, echo::Echo, program::Mount};
use tempfile::TempDir;
use tonic::{Request, codegen::http::uri::PathAndQuery};

struct World {
    directory: TempDir,
    mount: Mount,
    echo: Echo,
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let echo = Echo::start(directory.path().join("plugin"));
    let mount = Mount::start(directory.path().join("mount"), Limits::default());
    mount.set_plugin(Some(echo.path.clone()));
    World { directory, mount, echo }
}

impl World {
    async fn client(&self) -> Client {
        connect(&self.mount.path).await.0
    }

    /// Another plugin, which new connections go to.
    fn replace(&mut self, name: &str) -> Echo {
        let echo = Echo::start(self.directory.path().join(name));
        self.mount.set_plugin(Some(echo.path.clone()));
        std::mem::replace(&mut self.echo, echo)
    }
}

fn path(method: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/test.Echo/{method}")).unwrap()
}

async fn unary(
    client: &mut Client,
    method: &str,
    message: &str,
) -> Result<tonic::Response<Bytes>, tonic::Status> {
    let request = Request::new(Bytes::copy_from_slice(message.as_bytes()));
    client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    client.unary(request, path(method), Octets).await
}

#[tokio::test]
async fn a_call_is_answered_and_its_metadata_passes_both_ways() {
    let world = world();
    let mut client = world.client().await;
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::from_static(b"hello"));
    request.metadata_mut().insert("echo", "there and back".parse().unwrap());
    request.metadata_mut().insert("multiplex-id", "theirs".parse().unwrap());
    request.metadata_mut().insert_bin("raw-bin", tonic::metadata::MetadataValue::from_bytes(b"\0\xff"));
    let answer = client.unary(request, path("Unary"), Octets).await.unwrap();
    assert_eq!(answer.metadata().get("echo").unwrap(), "there and back");
    assert_eq!(answer.into_inner(), "hello");
    let seen = world.echo.seen.metadata.lock().unwrap().clone().unwrap();
    assert_eq!(seen.get_all("multiplex-id").iter().collect::<Vec<_>>(), ["ours"]);
    assert_eq!(seen.get_bin("raw-bin").unwrap().to_bytes().unwrap(), &b"\0\xff"[..]);
    let ended = world.mount.told.ended(1).await;
    assert_eq!(ended[0].0, "/test.Echo/Unary");
    assert_eq!(ended[0].1.outcome, Outcome::Answered(Code::Ok));
    assert_eq!((ended[0].1.sent, ended[0].1.received), (10, 10));
}

#[tokio::test]
async fn an_error_comes_with_its_message_details_and_trailers() {
    let world = world();
    let status = unary(&mut world.client().await, "Fail", "detail").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::Aborted, "süß 100 %"));
    assert_eq!(status.details(), b"detail");
    assert_eq!(status.metadata().get("why").unwrap(), "because");
    assert_eq!(world.mount.told.ended(1).await[0].1.outcome, Outcome::Answered(Code::Aborted));
    let status = unary(&mut world.client().await, "Nothing", "").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn streams_pass_in_all_directions() {
    let world = world();
    let mut client = world.client().await;
    client.ready().await.unwrap();
    let messages = stream::iter((0..1000).map(|_| Bytes::from(vec![1; 1000])));
    let answer = client.client_streaming(Request::new(messages), path("Count"), Octets).await.unwrap();
    assert_eq!(answer.into_inner(), "1000 1000000");

    client.ready().await.unwrap();
    let request = Request::new(Bytes::from_static(b"1000 1000"));
    let answers = client.server_streaming(request, path("Repeat"), Octets).await.unwrap().into_inner();
    let answers: Vec<_> = answers.collect().await;
    assert_eq!(answers.len(), 1000);
    assert!(answers.into_iter().all(|answer| answer.unwrap().len() == 1000));

    client.ready().await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers =
        client.streaming(Request::new(messages), path("Chat"), Octets).await.unwrap().into_inner();
    for number in 0..100 {
        let message = Bytes::from(format!("message {number}"));
        sender.send(message.clone()).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap(), message);
    }
    // Half closed: the answer goes on to its end.
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_message_may_be_large() {
    let world = world();
    let mut client = world.client().await;
    client.ready().await.unwrap();
    let message =
        Bytes::from((0..64usize << 20).map(|index| (index % 251).to_le_bytes()[0]).collect::<Vec<u8>>());
    let answer = client.unary(Request::new(message.clone()), path("Unary"), Octets).await.unwrap();
    assert!(answer.into_inner() == message);
}

#[tokio::test]
async fn thousands_of_calls_are_in_flight_at_once() {
    let world = world();
    let client = world.client().await;
    let calls = (0..5000).map(|number| {
        let mut client = client.clone();
        async move {
            let message = format!("call {number}");
            assert_eq!(unary(&mut client, "Unary", &message).await.unwrap().into_inner(), message);
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(world.mount.told.ended(5000).await.len(), 5000);
    assert_eq!(world.echo.seen.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_plugin() {
    let world = world();
    let mut client = world.client().await;
    let call = tokio::spawn(async move { unary(&mut client, "Hang", "").await });
    world.echo.until_hanging(1).await;
    call.abort();
    world.echo.until_hanging(0).await;
    assert!(matches!(
        world.mount.told.ended(1).await[0].1.outcome,
        Outcome::Cancelled(_) | Outcome::HostGone
    ));
}

#[tokio::test]
async fn a_call_waits_for_its_plugin() {
    let world = world();
    world.mount.set_plugin(None);
    let mut client = world.client().await;
    let big = "x".repeat(500_000);
    let call = tokio::spawn({
        let mut client = client.clone();
        async move { unary(&mut client, "Unary", &big).await }
    });
    let small = tokio::spawn(async move { unary(&mut client, "Unary", "small").await });
    while world.mount.budget.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    world.mount.set_plugin(Some(world.echo.path.clone()));
    assert_eq!(call.await.unwrap().unwrap().into_inner().len(), 500_000);
    assert_eq!(small.await.unwrap().unwrap().into_inner(), "small");
    assert_eq!((world.mount.budget.waiting(), world.mount.budget.bytes()), (0, 0));
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_answered() {
    let world = world();
    world.mount.set_plugin(None);
    let mut client = world.client().await;
    let status = unary(&mut client, "Impatient", "x").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "no plugin for too long"));
    let mut request = Request::new(Bytes::new());
    request.metadata_mut().insert("grpc-timeout", "1m".parse().unwrap());
    client.ready().await.unwrap();
    let status = client.unary(request, path("Unary"), Octets).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(world.echo.seen.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_call_in_flight_ends_when_its_plugin_dies() {
    let mut world = world();
    let (client, connection) = connect(&world.mount.path).await;
    let mut one = client.clone();
    let hanging = tokio::spawn(async move { unary(&mut one, "Hang", "").await });
    let mut two = client.clone();
    two.ready().await.unwrap();
    let mut begun = two
        .streaming(Request::new(stream::iter([Bytes::new()])), path("Break"), Octets)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(begun.message().await.unwrap().unwrap(), "one");
    world.echo.until_hanging(2).await;
    world.replace("next").kill();

    let status = hanging.await.unwrap().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (tonic::Code::Unavailable, "the plugin died during this call")
    );
    let status = begun.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (tonic::Code::Unavailable, "the plugin died during this call")
    );
    // The connection ends, and the next is the successor's.
    connection.await.unwrap().unwrap();
    assert_eq!(unary(&mut world.client().await, "Unary", "again").await.unwrap().into_inner(), "again");
    let outcomes: Vec<Outcome> =
        world.mount.told.ended(3).await.iter().map(|(_, ended)| ended.outcome).collect();
    assert!(outcomes.contains(&Outcome::PluginGone { begun: false, in_message: false }));
    assert!(outcomes.contains(&Outcome::PluginGone { begun: true, in_message: false }));
}

#[tokio::test]
async fn a_drain_fails_no_call_and_ends_the_connection() {
    let mut world = world();
    let (client, connection) = connect(&world.mount.path).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut two = client.clone();
    two.ready().await.unwrap();
    let mut answers = two.streaming(Request::new(messages), path("Chat"), Octets).await.unwrap().into_inner();
    let _old = world.replace("next");
    world.mount.control().drain();
    sender.send(Bytes::from_static(b"still")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "still");
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    drop((client, two));
    connection.await.unwrap().unwrap();
    world.mount.told.until_running(0).await;
}

#[tokio::test]
async fn the_program_serves_streams_itself_and_they_outlive_the_plugin() {
    let mut world = world();
    let mut client = world.client().await;
    client.ready().await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let path = PathAndQuery::from_static("/own/Stream");
    let mut answers = client.streaming(Request::new(messages), path, Octets).await.unwrap().into_inner();
    let mut served = world.mount.served.recv().await.unwrap();
    unary(&mut client, "Unary", "x").await.unwrap();
    world.replace("next").kill();
    world.mount.told.ended(1).await;
    for number in 0..200 {
        let message = Bytes::from(format!("{number}").repeat(500));
        sender.send(message.clone()).await.unwrap();
        assert_eq!(served.message().await.unwrap(), message);
        served.send(message.clone()).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap(), message);
    }
    drop(sender);
    assert_eq!(served.message().await, None);
    served.finish(grpc::Status::new(Code::NotFound, "all of it")).await;
    let status = answers.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::NotFound, "all of it"));
    drop((client, answers));
    world.mount.told.until_running(0).await;
}

#[tokio::test]
async fn the_program_answers_at_once() {
    let world = world();
    let mut client = world.client().await;
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/own/Answer");
    let status = client.unary(Request::new(Bytes::new()), path, Octets).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::FailedPrecondition, "no ü"));
}

#[tokio::test]
async fn what_is_observed_is_copied() {
    let world = world();
    let mut client = world.client().await;
    for (message, copied) in [("short".to_owned(), true), ("long".repeat(100), false)] {
        client.ready().await.unwrap();
        let mut request = Request::new(Bytes::from(message));
        request.metadata_mut().insert("observe", "1".parse().unwrap());
        client.unary(request, path("Unary"), Octets).await.unwrap();
        let (_, ended) = world.mount.told.ended(if copied { 1 } else { 2 }).await.remove(0);
        for copy in [ended.request.unwrap(), ended.answer.unwrap()] {
            assert_eq!(copy.bytes(), copied.then_some(&b"\0\0\0\0\x05short"[..]));
        }
    }
}

#[tokio::test]
async fn a_reader_that_stops_stops_its_writer() {
    let world = world();
    let client = world.client().await;
    let mut reader = client.clone();
    reader.ready().await.unwrap();
    // 1 GiB, of which nobody reads more than the first message.
    let request = Request::new(Bytes::from_static(b"65536 16384"));
    let mut answers = reader.server_streaming(request, path("Repeat"), Octets).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().len(), 16_384);
    // The others are not stopped, though they share the connection.
    for _ in 0..100 {
        unary(&mut client.clone(), "Unary", "x").await.unwrap();
    }
    let repeated = world.echo.seen.repeated.load(std::sync::atomic::Ordering::SeqCst);
    assert!(repeated * 16_384 <= 4 << 20, "{repeated} messages are on their way");
    drop(answers);
    let ended = world.mount.told.ended(101).await;
    assert!(ended.iter().any(|(_, ended)| matches!(ended.outcome, Outcome::Cancelled(_))));
}
