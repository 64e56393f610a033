//! The driver with transports that a test holds in its hand, on paused time.

use std::{
    cell::Cell,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::mpsc,
    task::JoinHandle,
};

use super::*;
use crate::{
    Amendments, Decision, Ended, Observe, Outcome, Peer, Request, Stop, Violation,
    frame::{ErrorCode, Frame, Kind, Output, PREFACE, Reader, flag},
    grpc::Code,
    hpack::encode,
};

/// A program with one plugin, whose end may take a moment to be explained.
struct TestProgram {
    plugin: Option<DuplexStream>,
    ended: Arc<Mutex<Vec<Outcome>>>,
    served: mpsc::UnboundedSender<ServedStream>,
}

impl Policy for TestProgram {
    type Call = ();

    fn request(&mut self, request: &Request<'_>) -> Decision<()> {
        if request.path() == b"/own" {
            return Decision::Serve(());
        }
        Decision::Pass { call: (), observe: Observe::default() }
    }

    fn forward(&mut self, (): &mut (), _: &Request<'_>, _: &mut Amendments) -> Result<(), Stop> {
        Ok(())
    }

    fn may_go_on(&mut self, (): &mut (), _: Duration) -> Result<(), Status> {
        Ok(())
    }

    fn may_wait(&mut self, (): &mut (), _: Option<Duration>) -> Result<Duration, Status> {
        Ok(Duration::from_secs(30))
    }

    fn waited(&mut self, (): &()) -> Status {
        Status::unavailable("waited")
    }

    fn ended(&mut self, (): (), ended: Ended) {
        self.ended.lock().unwrap().push(ended.outcome);
    }

    fn violated(&mut self, _: Peer, _: Violation) {}
}

impl Program for TestProgram {
    type Plugin = DuplexStream;

    fn connect(&mut self) -> Later<DuplexStream> {
        let plugin = self.plugin.take();
        Box::pin(async move {
            match plugin {
                Some(plugin) => plugin,
                None => std::future::pending().await,
            }
        })
    }

    fn plugin_ended(&mut self) -> Later<Status> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Status::unavailable("exited 137")
        })
    }

    fn serve(&mut self, (): &mut (), stream: ServedStream) {
        self.served.send(stream).unwrap();
    }
}

/// One end of a transport.
struct End {
    reading: Reading,
    writing: WriteHalf<DuplexStream>,
}

struct Reading {
    transport: ReadHalf<DuplexStream>,
    reader: Reader,
}

impl End {
    fn new(transport: DuplexStream) -> Self {
        let (reading, writing) = split(transport);
        Self { reading: Reading { transport: reading, reader: Reader::default() }, writing }
    }

    async fn write(&mut self, output: &Output) {
        self.writing.write_all(output.chunk()).await.unwrap();
    }

    async fn until(&mut self, wanted: impl Fn(&Frame<'_>) -> bool) -> Option<Vec<u8>> {
        self.reading.until(wanted).await
    }
}

impl Reading {
    /// Reads until a frame is as wanted. `None` at the end.
    async fn until(&mut self, wanted: impl Fn(&Frame<'_>) -> bool) -> Option<Vec<u8>> {
        let mut bytes = [0; 512];
        loop {
            let count = self.transport.read(&mut bytes).await.unwrap();
            if count == 0 {
                return None;
            }
            let mut rest = &bytes[..count];
            let mut found = None;
            while let Some(frame) = self.reader.next(&mut rest).unwrap() {
                if found.is_none() && wanted(&frame) {
                    found = Some(frame.payload.to_vec());
                }
            }
            if found.is_some() {
                return found;
            }
        }
    }
}

struct World {
    host: End,
    plugin: Option<End>,
    ended: Arc<Mutex<Vec<Outcome>>>,
    served: mpsc::UnboundedReceiver<ServedStream>,
    control: Control,
    running: JoinHandle<()>,
}

fn world(buffer: usize) -> World {
    let (host, relays_host) = duplex(buffer);
    let (plugin, relays_plugin) = duplex(buffer);
    let ended = Arc::default();
    let (serve, served) = mpsc::unbounded_channel();
    let program = TestProgram { plugin: Some(relays_plugin), ended: Arc::clone(&ended), served: serve };
    let (relay, control) = Relay::new(relays_host, program, Limits::default(), HoldBudget::new(10, 1000));
    World {
        host: End::new(host),
        plugin: Some(End::new(plugin)),
        ended,
        served,
        control,
        running: tokio::spawn(relay.run()),
    }
}

/// A host's first bytes, with a call.
fn hello(path: &str) -> Output {
    let mut output = Output::default();
    output.raw(PREFACE);
    output.settings([]);
    output.headers(1, &block(&[(":method", "POST"), (":scheme", "http"), (":path", path)]), true);
    output
}

fn block(fields: &[(&str, &str)]) -> bytes::BytesMut {
    let mut block = bytes::BytesMut::new();
    for (name, value) in fields {
        encode::field(&mut block, name.as_bytes(), value.as_bytes(), false);
    }
    block
}

/// A plugin that reads the first call, and has written `output` by then.
async fn answer(plugin: &mut End, output: &Output) {
    let mut preface = [0; PREFACE.len()];
    plugin.reading.transport.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface, PREFACE);
    let mut settings = Output::default();
    settings.settings([]);
    plugin.write(&settings).await;
    plugin.until(|frame| frame.kind == Kind::Headers).await.unwrap();
    plugin.write(output).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_wrote_before_its_end_is_delivered() {
    let mut world = world(1 << 16);
    world.host.write(&hello("/a")).await;
    let mut plugin = world.plugin.take().unwrap();
    let mut output = Output::default();
    output.headers(1, &block(&[(":status", "200")]), false);
    output.data(1, &vec![1; 40_000], false);
    output.headers(1, &block(&[("grpc-status", "0")]), true);
    answer(&mut plugin, &output).await;
    drop(plugin);
    let delivered = Cell::new(false);
    let goodbye = |frame: &Frame<'_>| {
        delivered.set(delivered.get() || frame.kind == Kind::Headers && frame.has(flag::END_STREAM));
        frame.kind == Kind::GoAway
    };
    world.host.until(goodbye).await.unwrap();
    assert!(delivered.get());
    assert_eq!(*world.ended.lock().unwrap(), [Outcome::Answered(Code::Ok)]);
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_plugins_end_is_waited_for() {
    let mut world = world(1 << 16);
    world.host.write(&hello("/a")).await;
    let mut plugin = world.plugin.take().unwrap();
    answer(&mut plugin, &Output::default()).await;
    drop(plugin);
    let block = world.host.until(|frame| frame.kind == Kind::Headers).await.unwrap();
    assert!(block.windows(10).any(|octets| octets == b"exited 137"));
    assert_eq!(*world.ended.lock().unwrap(), [Outcome::PluginGone { begun: false, in_message: false }]);
}

#[tokio::test(start_paused = true)]
async fn transports_that_take_a_few_bytes_at_a_time_do_as_well() {
    let mut world = world(7);
    let mut plugin = world.plugin.take().unwrap();
    let mut output = Output::default();
    output.headers(1, &block(&[(":status", "200"), ("grpc-status", "5")]), true);
    let hello = hello("/a");
    let End { reading, writing } = &mut world.host;
    let ((), written, answered) = tokio::join!(
        answer(&mut plugin, &output),
        writing.write_all(hello.chunk()),
        reading.until(|frame| frame.kind == Kind::Headers),
    );
    written.unwrap();
    assert!(answered.is_some());
    assert_eq!(*world.ended.lock().unwrap(), [Outcome::Answered(Code::NotFound)]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_close_is_closed_in_the_end() {
    let mut world = world(1 << 16);
    let mut nonsense = Output::default();
    nonsense.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    world.host.write(&nonsense).await;
    let goodbye = world.host.until(|frame| frame.kind == Kind::GoAway).await.unwrap();
    assert_eq!(goodbye[4..8], ErrorCode::PROTOCOL_ERROR.0.to_be_bytes());
    // It keeps its end open, and is still sending.
    world.running.await.unwrap();
    assert_eq!(world.host.reading.transport.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_reads_nothing_does_not_keep_the_relay() {
    let mut world = world(16);
    // Its SETTINGS do not fit into what the transport holds, and it is told to go.
    world.host.writing.write_all(&PREFACE[..16]).await.unwrap();
    world.control.close(Status::unavailable("x"));
    world.running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_served_stream_that_is_dropped_has_an_end() {
    let mut world = world(1 << 16);
    world.host.write(&hello("/own")).await;
    let mut stream = world.served.recv().await.unwrap();
    assert_eq!(stream.message().await, None, "the host sends no more");
    assert_eq!(stream.try_send(Bytes::from_static(b"x")), Ok(None));
    drop(stream);
    world.host.until(|frame| frame.kind == Kind::Data).await.unwrap();
    assert_eq!(*world.ended.lock().unwrap(), [Outcome::Answered(Code::Unavailable)]);
}

#[tokio::test(start_paused = true)]
async fn a_served_stream_whose_host_goes_is_gone() {
    let mut world = world(1 << 16);
    world.host.write(&hello("/own")).await;
    let stream = world.served.recv().await.unwrap();
    drop(world.host);
    stream.gone().await;
    assert_eq!(stream.send(Bytes::new()).await, Err(Gone));
    world.control.over().await;
    assert_eq!(*world.ended.lock().unwrap(), [Outcome::HostGone]);
}
