//! A session on our side of a plugin; `serving` is about the other one.

mod serving;

use std::{collections::HashSet, time::Duration};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use proptest::prelude::*;
use rustls::HandshakeKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::yield_now,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

use super::*;
use crate::Identity;

/// Long enough for any machine. No test waits for it to pass.
const LIMIT: Duration = Duration::from_mins(1);

const SYN: u8 = 1;
const ACK: u8 = 2;
const FIN: u8 = 4;
const RST: u8 = 8;

async fn within<T>(future: impl Future<Output = T>) -> T {
    time::timeout(LIMIT, future).await.unwrap()
}

/// The plugin's side, with the streams that the host opens in it. It opens as many as it is told at its start.
struct Peer(mpsc::UnboundedReceiver<Compat<yamux::Stream>>, mpsc::UnboundedReceiver<Compat<yamux::Stream>>);

impl Peer {
    fn start(connection: UnixStream, opens: usize) -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let (opened, openings) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut connection = Connection::new(connection.compat(), Config::default(), Mode::Server);
            for _ in 0..opens {
                let stream = std::future::poll_fn(|context| connection.poll_new_outbound(context)).await;
                opened.send(stream.unwrap().compat()).unwrap();
            }
            while let Some(Ok(stream)) =
                std::future::poll_fn(|context| connection.poll_next_inbound(context)).await
            {
                let _ = arrived.send(stream.compat());
            }
        });
        Self(arrivals, openings)
    }

    async fn accept(&mut self) -> Compat<yamux::Stream> {
        within(self.0.recv()).await.unwrap()
    }
}

/// A session in plaintext, with a peer that opens as many streams.
fn pair(opens: usize) -> (Session, Peer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Session::start(ours, None), Peer::start(theirs, opens))
}

/// A session whose peer is the test's own hand.
fn by_hand() -> (Session, Hand) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Session::start(ours, None), Hand(theirs))
}

struct Hand(UnixStream);

/// A frame's head: its type, its flags, its stream and its length.
type Frame = (u8, u8, u8, u32);

impl Hand {
    async fn write(&mut self, (kind, flags, stream, length): Frame) {
        let mut head = vec![0, kind, 0, flags, 0, 0, 0, stream];
        head.extend(length.to_be_bytes());
        self.0.write_all(&head).await.unwrap();
    }

    /// The next frame but pings, without its body; `None` at the end.
    async fn read(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 12];
            if within(self.0.read_exact(&mut head)).await.is_err() {
                return None;
            }
            let [_, kind, _, flags, _, _, _, stream, length @ ..] = head;
            let length = u32::from_be_bytes(length);
            if kind == 0 {
                self.0.read_exact(&mut vec![0; length as usize]).await.unwrap();
            }
            if kind != 2 {
                return Some((kind, flags, stream, length));
            }
        }
    }
}

/// Opens a stream, which the peer greets, and gives both ends.
async fn opened(session: &Session, peer: &mut Peer) -> (PluginStream, Compat<yamux::Stream>) {
    let (ours, theirs) = tokio::join!(session.dial(LIMIT), async {
        let mut theirs = peer.accept().await;
        theirs.write_all(b"hello").await.unwrap();
        theirs
    });
    let mut ours = ours.unwrap();
    let mut greeting = [0; 5];
    ours.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");
    (ours, theirs)
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_end() {
    let (session, mut peer) = pair(0);
    for _ in 0..3 {
        let (mut ours, mut theirs) = opened(&session, &mut peer).await;
        ours.write_all(b"question").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut read = String::new();
        within(theirs.read_to_string(&mut read)).await.unwrap();
        assert_eq!(read, "question");
        theirs.write_all(b"answer").await.unwrap();
        theirs.shutdown().await.unwrap();
        read.clear();
        within(ours.read_to_string(&mut read)).await.unwrap();
        assert_eq!(read, "answer");
    }
}

#[tokio::test]
async fn a_stream_is_on_the_wire_when_it_is_opened_and_ends_once() {
    let (session, mut hand) = by_hand();
    let mut dialling = Box::pin(session.dial(LIMIT));
    assert!(dialling.as_mut().now_or_never().is_none());
    assert_eq!(hand.read().await, Some((0, SYN, 1, 0)));
    hand.write((0, ACK, 1, 1)).await;
    hand.0.write_all(b"!").await.unwrap();
    let mut stream = within(dialling).await.unwrap();
    for _ in 0..2 {
        stream.shutdown().await.unwrap();
    }
    assert_eq!(hand.read().await, Some((0, FIN, 1, 0)));
    drop(stream);
    drop(session);
    assert_eq!(hand.read().await, Some((3, 0, 0, 0)));
    assert_eq!(hand.read().await, None);
}

#[tokio::test]
async fn a_stream_that_arrives_is_acknowledged_before_anybody_accepts_it() {
    let (session, mut hand) = by_hand();
    hand.write((1, SYN, 2, 0)).await;
    assert_eq!(hand.read().await, Some((0, ACK, 2, 0)));
    let mut inbound = session.inbound().unwrap();
    assert!(session.inbound().is_none());
    let stream = within(inbound.accept()).await.unwrap();
    drop(stream);
    assert_eq!(hand.read().await, Some((0, RST, 2, 0)));
}

#[tokio::test]
async fn streams_that_nobody_accepts_are_reset_once_there_are_too_many() {
    let (session, mut hand) = by_hand();
    let arrive = u8::try_from(MAX_WAITING + 5).unwrap();
    for count in 1..=arrive {
        hand.write((1, SYN, 2 * count, 0)).await;
    }
    let (mut acknowledged, mut reset) = (0, HashSet::new());
    while acknowledged < arrive || reset.len() < 5 {
        match hand.read().await.unwrap() {
            (0, ACK, _, 0) => acknowledged += 1,
            (0, RST, stream, 0) => assert!(reset.insert(stream)),
            other => panic!("{other:?}"),
        }
    }
    let mut inbound = session.inbound().unwrap();
    for _ in 0..MAX_WAITING {
        within(inbound.accept()).await.unwrap();
    }
    assert!(inbound.accept().now_or_never().is_none());
}

#[tokio::test]
async fn the_streams_of_the_plugin_come_in_their_order() {
    let (session, mut peer) = pair(20);
    let mut inbound = session.inbound().unwrap();
    for count in 0..20u8 {
        let mut theirs = peer.1.recv().await.unwrap();
        theirs.write_all(&[count]).await.unwrap();
        let ours = within(inbound.accept()).await.unwrap();
        let mut ours = ours.secured(None, LIMIT).await.unwrap();
        let mut byte = [0];
        within(ours.read_exact(&mut byte)).await.unwrap();
        assert_eq!(byte, [count]);
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_up_no_other() {
    let (session, mut peer) = pair(0);
    let (mut unread, mut writing) = opened(&session, &mut peer).await;
    let much = vec![7; 2 << 20];
    let writer = tokio::spawn({
        let much = much.clone();
        async move {
            writing.write_all(&much).await.unwrap();
            writing.shutdown().await.unwrap();
        }
    });
    for _ in 0..100 {
        let (mut ours, mut theirs) = opened(&session, &mut peer).await;
        ours.write_all(&vec![1; 100_000]).await.unwrap();
        within(theirs.read_exact(&mut vec![0; 100_000])).await.unwrap();
    }
    assert!(!writer.is_finished(), "it had more to say than its window holds");
    let mut read = Vec::new();
    within(unread.read_to_end(&mut read)).await.unwrap();
    assert!(read == much);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_plugin_that_reads_nothing_lets_writers_wait() {
    let (session, mut peer) = pair(0);
    let (mut ours, mut theirs) = opened(&session, &mut peer).await;
    let much = vec![7; 2 << 20];
    let mut writing = Box::pin(async {
        ours.write_all(&much).await.unwrap();
        ours.shutdown().await.unwrap();
    });
    for _ in 0..1000 {
        assert!(writing.as_mut().now_or_never().is_none(), "there is no window");
        yield_now().await;
    }
    let mut read = Vec::new();
    let ((), length) = within(async { tokio::join!(writing, theirs.read_to_end(&mut read)) }).await;
    assert_eq!(length.unwrap(), much.len());
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let (session, mut peer) = pair(0);
    let mut streams = Vec::new();
    for _ in 0..MAX_STREAMS {
        streams.push(opened(&session, &mut peer).await);
    }
    assert_eq!(session.dial(LIMIT).await.unwrap_err().as_str(), "too_many_streams");
    streams.pop();
    opened(&session, &mut peer).await;
}

#[tokio::test]
async fn the_session_lives_as_long_as_one_of_its_streams() {
    let (session, mut peer) = pair(0);
    let open = session.open.clone();
    let (mut ours, mut theirs) = opened(&session, &mut peer).await;
    drop(session);
    ours.write_all(b"still there").await.unwrap();
    within(theirs.read_exact(&mut [0; 11])).await.unwrap();
    assert!(open.has_changed().is_ok());
    drop(ours);
    assert_eq!(within(theirs.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    let mut open = open;
    within(open.changed()).await.unwrap_err();
}

#[tokio::test]
async fn the_end_of_the_connection_is_the_end_of_all() {
    let (session, mut peer) = pair(0);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let gone = Session::start(ours, None);
    let mut inbound = gone.inbound().unwrap();
    drop(theirs);
    within(gone.ended()).await;
    assert!(within(inbound.accept()).await.is_none());
    assert_eq!(gone.dial(LIMIT).await.unwrap_err().as_str(), "session_ended");

    // The other one does not mind.
    opened(&session, &mut peer).await;
    assert!(session.ended().now_or_never().is_none());
}

#[tokio::test]
async fn a_stream_that_is_open_ends_with_the_session() {
    let (session, mut hand) = by_hand();
    hand.write((1, SYN, 2, 0)).await;
    let mut inbound = session.inbound().unwrap();
    let stream = within(inbound.accept()).await.unwrap();
    let mut stream = stream.secured(None, LIMIT).await.unwrap();
    drop(hand);
    assert_eq!(within(stream.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    within(async { while stream.write_all(&[0; 1000]).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_stream_takes_nothing_that_its_sessions_connection_cannot_carry_any_more() {
    let (session, mut hand) = by_hand();
    hand.write((1, SYN, 2, 0)).await;
    let mut inbound = session.inbound().unwrap();
    let stream = within(inbound.accept()).await.unwrap();
    let mut stream = stream.secured(None, LIMIT).await.unwrap();
    stream.write_all(b"heard").await.unwrap();
    drop(hand);
    // The session's task has not run since.
    assert!(stream.write(b"unheard").now_or_never().unwrap().is_err());
}

#[tokio::test]
async fn nobody_opens_a_stream_in_anothers_turn() {
    let (session, mut peer) = pair(0);
    let turn = session.turn().await;
    let mut dialling = Box::pin(session.dial(LIMIT));
    for _ in 0..100 {
        assert!(dialling.as_mut().now_or_never().is_none());
        yield_now().await;
    }
    let (first, mut knocked) = tokio::join!(turn.open_stream(LIMIT), async {
        let mut knocked = peer.accept().await;
        knocked.write_all(b"first").await.unwrap();
        knocked
    });
    let mut first = first.unwrap();
    let mut second = peer_greets(&mut peer, dialling).await;
    knocked.write_all(b"!").await.unwrap();
    let mut word = [0; 6];
    within(first.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"first!");
    within(second.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"second");
}

async fn peer_greets(
    peer: &mut Peer,
    dialling: impl Future<Output = Result<PluginStream, ConnectError>>,
) -> PluginStream {
    let (stream, _theirs) = within(async {
        tokio::join!(dialling, async {
            let mut theirs = peer.accept().await;
            theirs.write_all(b"second").await.unwrap();
            theirs
        })
    })
    .await;
    stream.unwrap()
}

#[tokio::test]
async fn a_turn_lasts_until_its_stream_has_arrived_even_if_nobody_waits_for_it() {
    let (session, mut peer) = pair(0);
    let mut given_up = Box::pin(session.dial(LIMIT));
    assert!(given_up.as_mut().now_or_never().is_none());
    let mut theirs = loop {
        // The request is made by a task of its own.
        yield_now().await;
        if let Ok(theirs) = peer.0.try_recv() {
            break theirs;
        }
    };
    drop(given_up);
    let mut next = Box::pin(session.turn());
    for _ in 0..100 {
        assert!(next.as_mut().now_or_never().is_none());
        yield_now().await;
    }
    theirs.write_all(b"here it is").await.unwrap();
    within(next).await;
}

#[tokio::test]
async fn later_streams_resume_the_tls_session_of_the_first() {
    let (host, plugin) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let settings = host.client_config(plugin.certificate()).unwrap();
    let session = Session::start(ours, Some(Arc::new(settings)));
    let mut peer = Peer::start(theirs, 0);
    let acceptor = TlsAcceptor::from(Arc::new(plugin.server_config(host.certificate()).unwrap()));
    let served = tokio::spawn(async move {
        let mut served = Vec::new();
        for _ in 0..4 {
            let mut stream = acceptor.accept(peer.accept().await).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            served.push(stream);
        }
        served
    });
    for count in 0..4 {
        let mut stream = session.dial(LIMIT).await.unwrap();
        within(stream.read_exact(&mut [0])).await.unwrap();
        let expected = if count == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
        assert_eq!(stream.handshake_kind(), Some(expected), "{count}");
    }
    served.await.unwrap();
}

#[tokio::test]
async fn the_plugin_is_the_client_on_the_streams_that_it_opens() {
    let (host, plugin) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (session, mut peer) = pair(2);
    let mut inbound = session.inbound().unwrap();
    let server = Arc::new(host.server_config(plugin.certificate()).unwrap());
    for (client, welcome) in [(&plugin, true), (&host, false)] {
        let settings = Arc::new(client.client_config(host.certificate()).unwrap());
        let theirs = peer.1.recv().await.unwrap();
        let connecting = PluginStreamLike::connect(settings, theirs);
        let accepting = async {
            let arrived = within(inbound.accept()).await.unwrap();
            arrived.secured(Some(Arc::clone(&server)), LIMIT).await
        };
        let (_client, accepted) = within(async { tokio::join!(connecting, accepting) }).await;
        assert_eq!(accepted.is_ok(), welcome, "{accepted:?}");
    }
}

/// What a plugin makes of a stream.
struct PluginStreamLike;

impl PluginStreamLike {
    async fn connect(
        settings: Arc<ClientConfig>,
        stream: Compat<yamux::Stream>,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<Compat<yamux::Stream>>> {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        TlsConnector::from(settings).connect(name, stream).await
    }
}

#[tokio::test]
async fn many_streams_at_a_time_get_on_with_each_other() {
    let (session, mut peer) = pair(0);
    let session = &session;
    let echo = tokio::spawn(async move {
        while let Some(mut stream) = peer.0.recv().await {
            tokio::spawn(async move {
                stream.write_all(b"hello").await.unwrap();
                let (mut reader, mut writer) = tokio::io::split(stream);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
        }
    });
    let calls: FuturesUnordered<_> = (0..100u8)
        .map(|byte| async move {
            let mut stream = session.dial(LIMIT).await.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(stream);
            let (mut read, sent) = (Vec::new(), vec![byte; 300_000]);
            let write = async {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let ((), length) = tokio::join!(write, reader.read_to_end(&mut read));
            length.unwrap();
            assert!(read == sent);
        })
        .collect();
    within(calls.count()).await;
    echo.abort();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_frames_of_a_plugin_do_any_harm(
        frames in prop::collection::vec((0..5u8, 0..16u8, 0..6u8, 0..20u32), 0..60),
        bytes: Vec<u8>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (session, hand) = by_hand();
            let mut inbound = session.inbound().unwrap();
            let (mut reader, writer) = hand.0.into_split();
            let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
            // It may be told to go before it has said all.
            let mut writer = writer;
            for (kind, flags, stream, length) in frames {
                let mut frame = vec![0, kind, 0, flags, 0, 0, 0, stream];
                frame.extend(length.to_be_bytes());
                frame.resize(frame.len() + if kind == 0 { length as usize } else { 0 }, 0);
                let _ = writer.write_all(&frame).await;
            }
            let _ = writer.write_all(&bytes).await;
            drop(session.dial(Duration::ZERO).await);
            drop(writer);
            within(session.ended()).await;
            while inbound.accept().now_or_never().flatten().is_some() {}
            reading.abort();
        });
    }
}
