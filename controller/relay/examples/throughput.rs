//! What the relay costs: unary calls of 100 bytes, and streams of 1 GiB each way, directly to a plugin over TLS, through a pump that
//! copies bytes, and through the relay. The pump is the limit of anything that stands between.
//!
//! ```text
//! cargo run --release --example throughput [SECONDS]
//! ```
//!
//! This is the relay alone, for a profiler: `hack/bench gateway` measures the program. Each party has one thread. Ratios of one run are
//! comparable, figures of two machines are not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that prints what it found")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use plugward_relay::{
    Amendments, Decision, Ended, HoldBudget, Limits, Observe, Peer, Policy, Request, Stop, Violation,
    driver::{Later, Program, Relay, ServedStream},
    grpc::Status,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use support::{Client, Octets, client_on, echo};
use tokio::net::{UnixListener, UnixStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tonic::codegen::http::uri::PathAndQuery;

/// Rounds, so that what else the machine does is spread over all ways.
const ROUNDS: usize = 3;

fn main() {
    let seconds: f64 = std::env::args().nth(1).map_or(2.0, |seconds| seconds.parse().unwrap());
    let time = Duration::from_secs_f64(seconds);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (acceptor, connector) = tls();
    run("plugin", plugin(path("plugin"), acceptor));
    run("pump", pump(path("pump"), path("plugin"), connector.clone()));
    run("relay", relay(path("relay"), path("plugin"), connector.clone()));
    let client = runtime();
    let ways = ["direct", "pump", "relay"];
    println!("{:8} {:>10} {:>14} {:>12}", "in flight", "way", "calls/s", "p50");
    for in_flight in [64, 1] {
        let mut best = [(0.0, Duration::MAX); 3];
        for _ in 0..ROUNDS {
            for (way, best) in ways.iter().zip(&mut best) {
                let (rate, median) = client.block_on(async {
                    measure(connect(way, directory.path(), &connector).await, in_flight, time).await
                });
                *best = (rate.max(best.0), median.min(best.1));
            }
        }
        for (way, (rate, median)) in ways.iter().zip(best) {
            println!(
                "{in_flight:8} {way:>10} {rate:>10.0} {:.2} {median:>9.1?} {:.2}",
                rate / best[0].0,
                median.as_secs_f64() / best[1].1.as_secs_f64()
            );
        }
    }
    println!("The second figures: calls/s of direct's, p50 of the pump's.");
    println!("{:8} {:>10} {:>14}", "1 GiB", "way", "MiB/s");
    for down in [true, false] {
        let mut direct = 0.0;
        for way in ways {
            let rates = (0..ROUNDS).map(|_| {
                client
                    .block_on(async { stream(connect(way, directory.path(), &connector).await, down).await })
            });
            let rate = rates.fold(0.0, f64::max);
            direct = if way == "direct" { rate } else { direct };
            println!("{:8} {way:>10} {rate:>10.0} {:.2}", if down { "down" } else { "up" }, rate / direct);
        }
    }
    println!("The largest memory of all parties together: {}", peak_memory());
}

/// A client on a connection by one of the ways.
async fn connect(way: &str, directory: &Path, connector: &TlsConnector) -> Client {
    match way {
        "direct" => client_on(tls_connect(&directory.join("plugin"), connector).await).await.0,
        way => client_on(UnixStream::connect(directory.join(way)).await.unwrap()).await.0,
    }
}

/// Streams 1 GiB: the rate in MiB/s.
async fn stream(mut client: Client, down: bool) -> f64 {
    let begin = Instant::now();
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(if down { "/test.Echo/Repeat" } else { "/test.Echo/Count" });
    if down {
        let request = tonic::Request::new(Bytes::from_static(b"16384 65536"));
        let mut answers = client.server_streaming(request, path, Octets).await.unwrap().into_inner();
        while answers.message().await.unwrap().is_some() {}
    } else {
        let message = Bytes::from(vec![7; 65_536]);
        let messages = tonic::Request::new(futures::stream::iter(std::iter::repeat_n(message, 16_384)));
        client.client_streaming(messages, path, Octets).await.unwrap();
    }
    1024.0 / begin.elapsed().as_secs_f64()
}

/// What this process had at most, as Linux says it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("not known").trim().to_owned()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a party in a thread of its own, named for a profiler, for as long as the program runs.
fn run(name: &str, party: impl Future<Output = ()> + Send + 'static) {
    thread::Builder::new().name(name.to_owned()).spawn(move || runtime().block_on(party)).unwrap();
}

/// Calls until `time` is over: calls per second, and the median of their times.
async fn measure(client: Client, in_flight: usize, time: Duration) -> (f64, Duration) {
    let begin = Instant::now();
    let callers = (0..in_flight).map(|_| {
        let mut client = client.clone();
        async move {
            let message = Bytes::from(vec![7; 100]);
            let mut times = Vec::new();
            while begin.elapsed() < time {
                let path = PathAndQuery::from_static("/test.Echo/Unary");
                let called = Instant::now();
                client.ready().await.unwrap();
                client.unary(tonic::Request::new(message.clone()), path, Octets).await.unwrap();
                times.push(called.elapsed());
            }
            times
        }
    });
    let mut times = futures::future::join_all(callers).await.concat();
    let took = begin.elapsed();
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = times.len() as f64 / took.as_secs_f64();
    (rate, times[times.len() / 2])
}

fn tls() -> (TlsAcceptor, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder().with_no_client_auth();
    let mut server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    (Arc::new(server).into(), Arc::new(client).into())
}

async fn tls_connect(path: &Path, connector: &TlsConnector) -> TlsStream<UnixStream> {
    // The listener is there as soon as its thread runs.
    let stream = loop {
        match UnixStream::connect(path).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

async fn plugin(path: PathBuf, acceptor: TlsAcceptor) {
    let listener = UnixListener::bind(path).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        tokio::spawn(echo::serve(stream, Arc::default()));
    }
}

async fn pump(path: PathBuf, plugin: PathBuf, connector: TlsConnector) {
    let listener = UnixListener::bind(path).unwrap();
    loop {
        let (mut host, _) = listener.accept().await.unwrap();
        let mut plugin = tls_connect(&plugin, &connector).await;
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut host, &mut plugin).await });
    }
}

async fn relay(path: PathBuf, plugin: PathBuf, connector: TlsConnector) {
    let listener = UnixListener::bind(path).unwrap();
    let budget = HoldBudget::new(1024, 16 << 20);
    loop {
        let (host, _) = listener.accept().await.unwrap();
        let program = Passing { plugin: plugin.clone(), connector: connector.clone() };
        let (relay, _control) = Relay::new(host, program, Limits::default(), Arc::clone(&budget));
        tokio::spawn(relay.run());
    }
}

/// Passes all calls, with a field set on each.
struct Passing {
    plugin: PathBuf,
    connector: TlsConnector,
}

impl Policy for Passing {
    type Call = ();

    fn request(&mut self, _: &Request<'_>) -> Decision<()> {
        Decision::Pass { call: (), observe: Observe::default() }
    }

    fn forward(&mut self, (): &mut (), _: &Request<'_>, amendments: &mut Amendments) -> Result<(), Stop> {
        amendments.set("multiplex_id", b"5f6c0d1a-4c0e-4a5e-8f3e-1f2d3c4b5a69");
        Ok(())
    }

    fn may_go_on(&mut self, (): &mut (), _: Duration) -> Result<(), Status> {
        Ok(())
    }

    fn may_wait(&mut self, (): &mut (), _: Option<Duration>) -> Result<Duration, Status> {
        Ok(Duration::from_secs(30))
    }

    fn waited(&mut self, (): &()) -> Status {
        Status::unavailable("too long")
    }

    fn ended(&mut self, (): (), _: Ended) {}

    fn violated(&mut self, by: Peer, violation: Violation) {
        println!("{} broke the rules: {violation}", by.as_str());
    }
}

impl Program for Passing {
    type Plugin = TlsStream<UnixStream>;

    fn connect(&mut self) -> Later<Self::Plugin> {
        let (plugin, connector) = (self.plugin.clone(), self.connector.clone());
        Box::pin(async move { tls_connect(&plugin, &connector).await })
    }

    fn plugin_ended(&mut self) -> Later<Status> {
        Box::pin(async { Status::unavailable("ended") })
    }

    fn serve(&mut self, (): &mut (), _: ServedStream) {}
}
