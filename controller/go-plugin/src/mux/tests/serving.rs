//! The session of a host, as its plugin has it.

use super::*;
use crate::Peer;

/// A plugin's session, whose host is the test's own hand.
fn by_hand() -> (Session, Hand) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Session::serve(ours, &Peer::plain()), Hand(theirs))
}

/// A host's session and its plugin's, with what the plugin takes for its host.
fn both(host: Option<&Identity>, plugin: &Identity) -> (Session, Session, Peer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let tls = host.map(|host| Arc::new(host.client_config(plugin.certificate()).unwrap()));
    let peer = host.map_or_else(Peer::plain, |host| Peer::pinned(plugin, host.certificate()).unwrap());
    (Session::start(theirs, tls), Session::serve(ours, &peer), peer)
}

async fn said(stream: &mut PluginStream) -> [u8; 5] {
    let mut word = [0; 5];
    within(stream.read_exact(&mut word)).await.unwrap();
    word
}

#[tokio::test]
async fn a_plugin_takes_its_hosts_streams_and_opens_its_own() {
    let (host, plugin) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    for tls in [Some(&host), None] {
        let (hosts, plugins, peer) = both(tls, &plugin);
        let mut arriving = plugins.inbound().unwrap();
        for _ in 0..3 {
            let (dialled, arrived) = tokio::join!(hosts.dial(LIMIT), async {
                let stream = within(arriving.accept()).await.unwrap();
                let mut stream = peer.accept(stream, LIMIT).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.flush().await.unwrap();
                stream
            });
            assert_eq!(&said(&mut dialled.unwrap()).await, b"hello");
            drop(arrived);
        }

        let mut arriving = hosts.inbound().unwrap();
        let server = tls.map(|host| Arc::new(host.server_config(plugin.certificate()).unwrap()));
        for _ in 0..3 {
            let (opened, _arrived) =
                tokio::join!(async { plugins.turn().await.open_stream(LIMIT).await }, async {
                    let stream = within(arriving.accept()).await.unwrap();
                    let mut stream = stream.secured(server.clone(), LIMIT).await.unwrap();
                    stream.write_all(b"there").await.unwrap();
                    stream.flush().await.unwrap();
                    stream
                });
            let mut opened = opened.unwrap();
            assert_eq!(&said(&mut opened).await, b"there");
            let full = tls.map(|_| HandshakeKind::Full);
            assert_eq!(opened.handshake_kind(), full, "each of its servers has sessions of its own");
        }
    }
}

#[tokio::test]
async fn who_is_not_the_host_opens_no_stream_to_its_plugin() {
    let (host, plugin) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let stranger = Identity::generate().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = Peer::pinned(&plugin, host.certificate()).unwrap();
    let plugins = Session::serve(ours, &peer);
    let tls = stranger.client_config(plugin.certificate()).unwrap();
    let strangers = Session::start(theirs, Some(Arc::new(tls)));
    let (_dialled, accepted) = tokio::join!(strangers.dial(LIMIT), async {
        let stream = within(plugins.inbound().unwrap().accept()).await.unwrap();
        peer.accept(stream, LIMIT).await
    });
    assert_eq!(accepted.unwrap_err().as_str(), "tls");
}

#[tokio::test]
async fn a_hosts_stream_is_acknowledged_at_once_and_a_plugins_has_an_even_number() {
    let (session, mut hand) = by_hand();
    hand.write((1, SYN, 1, 0)).await;
    assert_eq!(hand.read().await, Some((0, ACK, 1, 0)));
    let turn = session.turn().await;
    let mut opening = Box::pin(turn.open_stream(LIMIT));
    assert!(opening.as_mut().now_or_never().is_none());
    assert_eq!(hand.read().await, Some((0, SYN, 2, 0)));
    hand.write((0, ACK, 2, 1)).await;
    hand.0.write_all(b"!").await.unwrap();
    within(opening).await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_ended_takes_its_streams_along() {
    let plugin = Identity::generate().unwrap();
    let (hosts, plugins, peer) = both(None, &plugin);
    let mut arriving = plugins.inbound().unwrap();
    let (dialled, arrived) = tokio::join!(hosts.dial(LIMIT), async {
        let stream = within(arriving.accept()).await.unwrap();
        let mut stream = peer.accept(stream, LIMIT).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream
    });
    let (mut dialled, mut arrived) = (dialled.unwrap(), arrived);
    assert_eq!(&said(&mut dialled).await, b"hello");
    plugins.end();
    within(plugins.ended()).await;
    assert!(within(arriving.accept()).await.is_none());
    let _ = within(arrived.read_to_end(&mut Vec::new())).await;
    let _ = within(dialled.read_to_end(&mut Vec::new())).await;
    within(hosts.ended()).await;
}
