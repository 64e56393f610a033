use std::{collections::HashMap, future::Future, path::Path};

use futures::FutureExt;
use rustls::HandshakeKind;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::yield_now,
};
use tonic::service::Routes;

use super::*;
use crate::{
    Address, Channel, Cookie, Identity, Launch,
    proto::health::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient},
    serve::Server,
};

/// Long enough for any machine. No test waits for it to pass in real time.
const LIMIT: Duration = Duration::from_mins(1);

/// Longer than a spare connection is kept, and shorter than grpc-go bears with it.
const RENEWED_BY: Duration = Duration::from_secs(100);

/// A plugin of which nothing but the socket is there: what is accepted is the test's.
struct Plain {
    listener: UnixListener,
    dialer: Dialer,
    _directory: TempDir,
}

impl Plain {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
        let dialer = Dialer::new(address_in(directory.path()), None);
        Self { listener, dialer, _directory: directory }
    }

    async fn accept(&self) -> UnixStream {
        within(self.listener.accept()).await.unwrap().0
    }

    /// Dials for the first time: the connection's two ends, and the plugin's end of the spare one.
    async fn first_dial(&self) -> (PluginStream, UnixStream, UnixStream) {
        let dialled = self.dialer.dial(LIMIT).await.unwrap();
        let accepted = self.accept().await;
        let spare = self.accept().await;
        has_spare(&self.dialer, true).await;
        (dialled, accepted, spare)
    }
}

fn address_in(directory: &Path) -> SocketAddress {
    let path = directory.join("plugin1").to_str().unwrap().to_owned();
    SocketAddress::translate(&Address::Unix(path), directory, directory).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    time::timeout(LIMIT, future).await.unwrap()
}

async fn has_spare(dialer: &Dialer, there: bool) {
    within(async {
        while dialer.spare.get().is_some_and(Spare::is_there) != there {
            yield_now().await;
        }
    })
    .await;
}

/// Whether these are the two ends of one connection.
async fn belong_together(ours: &mut PluginStream, theirs: &mut UnixStream) -> bool {
    theirs.write_all(b"!").await.unwrap();
    let read = async {
        let mut byte = [0];
        ours.read_exact(&mut byte).await.is_ok() && byte == *b"!"
    };
    within(read).await
}

#[tokio::test]
async fn a_plugin_that_nobody_dials_has_no_spare_connection() {
    let plugin = Plain::new();
    let _ours = plugin.dialer.connect().await.unwrap();
    let _theirs = plugin.accept().await;
    assert!(plugin.dialer.spare.get().is_none());
    assert!(plugin.listener.accept().now_or_never().is_none());
}

#[tokio::test]
async fn the_spare_connection_is_handed_out_and_replaced() {
    let plugin = Plain::new();
    let (mut first, mut accepted, mut spare) = plugin.first_dial().await;
    let mut second = plugin.dialer.dial(LIMIT).await.unwrap();
    let mut next_spare = plugin.accept().await;
    has_spare(&plugin.dialer, true).await;
    let mut third = plugin.dialer.dial(LIMIT).await.unwrap();

    assert!(belong_together(&mut first, &mut accepted).await);
    assert!(belong_together(&mut second, &mut spare).await);
    assert!(belong_together(&mut third, &mut next_spare).await);
}

#[tokio::test]
async fn what_the_plugin_sent_on_a_spare_connection_is_read_by_its_taker() {
    let plugin = Plain::new();
    let (_, _, mut spare) = plugin.first_dial().await;
    spare.write_all(b"settings").await.unwrap();
    yield_now().await;
    let mut taken = plugin.dialer.dial(LIMIT).await.unwrap();
    spare.write_all(b", and more").await.unwrap();
    drop(spare);
    let mut read = String::new();
    within(taken.read_to_string(&mut read)).await.unwrap();
    assert_eq!(read, "settings, and more");
}

#[tokio::test]
async fn a_spare_connection_that_the_plugin_has_just_closed_is_not_handed_out() {
    for last_words in [b"".as_slice(), b"going away"] {
        let plugin = Plain::new();
        let (_, _, mut spare) = plugin.first_dial().await;
        spare.write_all(last_words).await.unwrap();
        // The task that keeps it does not run between this and its being asked for.
        drop(spare);
        assert!(plugin.dialer.spare.get().unwrap().is_there());
        let mut dialled = plugin.dialer.dial(LIMIT).await.unwrap();
        let mut accepted = plugin.accept().await;
        assert!(belong_together(&mut dialled, &mut accepted).await);
    }
}

#[tokio::test]
async fn who_dials_while_a_spare_connection_is_being_made_gets_that() {
    let plugin = Plain::new();
    let (_, _, _) = plugin.first_dial().await;
    let spare = plugin.dialer.spare.get().unwrap();
    let turn = plugin.dialer.route.turn().await;
    drop(spare.take());
    // Its successor is asked for first, and the next to dial after that.
    for _ in 0..10 {
        yield_now().await;
    }
    let mut dialling = Box::pin(plugin.dialer.dial(LIMIT));
    assert!(futures::poll!(&mut dialling).is_pending());
    drop(turn);

    let mut dialled = within(dialling).await.unwrap();
    let mut accepted = plugin.accept().await;
    assert!(belong_together(&mut dialled, &mut accepted).await);
}

#[tokio::test]
async fn a_plugin_that_ends_spare_connections_gets_one_more_for_each_dial_only() {
    let plugin = Plain::new();
    let (_, _, spare) = plugin.first_dial().await;
    drop(spare);
    has_spare(&plugin.dialer, false).await;
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(plugin.listener.accept().now_or_never().is_none());

    let mut dialled = plugin.dialer.dial(LIMIT).await.unwrap();
    let mut accepted = plugin.accept().await;
    assert!(belong_together(&mut dialled, &mut accepted).await);
    let _spare = plugin.accept().await;
}

#[tokio::test]
async fn a_plugin_that_is_gone_is_told_by_the_next_dial() {
    let Plain { listener, dialer, _directory } = Plain::new();
    let _ours = dialer.dial(LIMIT).await.unwrap();
    has_spare(&dialer, true).await;
    // As the end of a process does it: the connections that it has not accepted end, too.
    drop(listener);
    let error = dialer.dial(LIMIT).await.unwrap_err();
    assert_eq!(error.as_str(), "socket_refused");
}

#[tokio::test(start_paused = true)]
async fn a_spare_connection_is_renewed_before_the_plugin_loses_patience() {
    let plugin = Plain::new();
    let (_, _, mut spare) = plugin.first_dial().await;
    for _ in 0..3 {
        let renewed = time::timeout(RENEWED_BY, plugin.listener.accept()).await.unwrap();
        let (renewed, _) = renewed.unwrap();
        let old = within(spare.read_to_end(&mut Vec::new())).await;
        assert_eq!(old.unwrap(), 0);
        spare = renewed;
    }
    has_spare(&plugin.dialer, true).await;
    let mut dialled = plugin.dialer.dial(LIMIT).await.unwrap();
    assert!(belong_together(&mut dialled, &mut spare).await);
}

#[tokio::test(start_paused = true)]
async fn a_spare_connection_that_cannot_be_renewed_is_closed() {
    let Plain { listener, dialer, _directory } = Plain::new();
    let _ours = dialer.dial(LIMIT).await.unwrap();
    let (_theirs, _) = within(listener.accept()).await.unwrap();
    let (mut spare, _) = within(listener.accept()).await.unwrap();
    has_spare(&dialer, true).await;
    drop(listener);
    let end = time::timeout(RENEWED_BY, spare.read_to_end(&mut Vec::new())).await;
    assert_eq!(end.expect("it is kept").unwrap(), 0);
    assert_eq!(dialer.dial(LIMIT).await.unwrap_err().as_str(), "socket_refused");
}

#[tokio::test]
async fn a_plugin_that_is_to_end_has_no_spare_connection_any_more() {
    let plugin = Plain::new();
    let (_, _, mut spare) = plugin.first_dial().await;
    plugin.dialer.keep_none();
    assert_eq!(within(spare.read_to_end(&mut Vec::new())).await.unwrap(), 0);

    // Not even one that was in hand already, or that another dial gives reason for.
    let (in_hand, _theirs) = UnixStream::pair().unwrap();
    plugin.dialer.spare.get().unwrap().put(PluginStream::plain(in_hand));
    assert!(!plugin.dialer.spare.get().unwrap().is_there());
    let _dialled = plugin.dialer.dial(LIMIT).await.unwrap();
    let _accepted = plugin.accept().await;
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(plugin.listener.accept().now_or_never().is_none());
}

#[tokio::test]
async fn a_dialer_that_is_dropped_leaves_no_connection() {
    let Plain { listener, dialer, _directory } = Plain::new();
    let _ours = dialer.dial(LIMIT).await.unwrap();
    let (_theirs, _) = within(listener.accept()).await.unwrap();
    let (mut spare, _) = within(listener.accept()).await.unwrap();
    drop(dialer);
    assert_eq!(within(spare.read_to_end(&mut Vec::new())).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_finish_its_handshake_costs_its_time_limit_and_gets_no_spare() {
    let host = Identity::generate().unwrap();
    let settings = host.client_config(host.certificate()).unwrap();
    let plugin = Plain::new();
    let dialer = Dialer::new(plugin.dialer.route.address.clone(), Some(Arc::new(settings)));
    let error = dialer.dial(LIMIT).await.unwrap_err();
    assert_eq!(error.as_str(), "connect_timed_out");
    assert!(dialer.spare.get().is_none());
}

/// Serves a plugin with this crate's other half, for this host.
fn serve(directory: &Path, host: &Identity) -> Dialer {
    let cookie = Cookie::new("TEST_PLUGIN", "hello").unwrap();
    let launch = Launch {
        cookie: cookie.clone(),
        protocol_versions: vec![1],
        socket_directory: directory.to_str().unwrap().to_owned(),
        socket_group: None,
        client_certificate: Some(host.certificate_pem()),
        multiplex_broker: false,
    };
    let environment: HashMap<_, _> = launch.environment().into_iter().collect();
    let server = Server::new(cookie).version(1, Routes::default());
    let mut listening = server.listen(|name| environment.get(name).cloned()).unwrap();
    let handshake = listening.handshake().clone();
    tokio::spawn(async move { listening.serve().await });
    let address = SocketAddress::translate(&handshake.address, directory, directory).unwrap();
    let settings = host.client_config(handshake.server_certificate.as_ref().unwrap()).unwrap();
    Dialer::new(address, Some(Arc::new(settings)))
}

/// Speaks HTTP/2, and reads thereby what TLS sends after its handshake.
async fn ask(stream: PluginStream) {
    let channel = Channel::start(stream).await.unwrap();
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn every_later_connection_resumes_the_session_of_an_earlier_one() {
    let directory = TempDir::new().unwrap();
    let host = Identity::generate().unwrap();
    let dialer = serve(directory.path(), &host);
    let first = dialer.connect().await.unwrap();
    assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
    ask(first).await;
    for _ in 0..5 {
        let next = dialer.dial(LIMIT).await.unwrap();
        assert_eq!(next.handshake_kind(), Some(HandshakeKind::Resumed));
        ask(next).await;
        has_spare(&dialer, true).await;
    }
}
