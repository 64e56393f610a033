//! Brokers that misuse the stream which they have with their host.
//!
//! None reads what the host says. When one has said all that it has to say, it offers a good server, under numbers from [`MARK`] on, again
//! and again: who hears of one knows that what came before was taken, and that the broker is listened to still.

use std::{
    error::Error, fs, iter, os::unix, os::unix::net::UnixListener, path::Path, pin::Pin, time::Duration,
};

use clap::ValueEnum;
use futures::{Stream, StreamExt, stream};
use go_plugin::{
    proto::plugin::{
        ConnInfo,
        conn_info::Knock,
        grpc_broker_server::{GrpcBroker, GrpcBrokerServer},
    },
    serve::{Accepted, Listening},
};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{task, time};
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::{Outcome, serving};

/// How many messages are too many.
const MANY: u32 = 100_000;

/// The first number of a good server.
const MARK: u32 = 1_000_000_000;

/// How often a good server is offered.
const MARK_EVERY: Duration = Duration::from_millis(100);

/// What to misuse the broker for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Misuse {
    /// Offer one server under 100,000 numbers, and take it away.
    Numbers,
    /// Offer 100,000 servers that are not in its directory, or behind links in it.
    Outside,
    /// Knock without end, as if it were asked to multiplex.
    Knocks,
    /// Offer one server that accepts nothing.
    Deaf,
}

/// The broker's service.
#[derive(Clone)]
struct Misused {
    misuse: Misuse,
    /// Where it may listen.
    directory: String,
    /// A good server: the plugin itself.
    good: String,
    /// A server that accepts nothing.
    bait: String,
    /// What is not in the directory.
    outside: Vec<String>,
}

type Messages = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

/// Serves nothing but a broker. When the moment comes, a link to the first of `outside` takes the place of the server that accepts
/// nothing.
pub(crate) async fn misuse(
    listening: Listening,
    moment: impl Future<Output = ()>,
    misuse: Misuse,
    outside: Vec<String>,
) -> Outcome {
    let good = serving::socket(&listening);
    let directory = Path::new(&good).parent().and_then(Path::to_str).unwrap_or_default().to_owned();
    let bait = format!("{directory}/bait");
    let _deaf = UnixListener::bind(&bait)?;
    let links = link(&directory, &outside)?;
    let broker =
        Misused { misuse, outside: [outside.clone(), links].concat(), directory, good, bait: bait.clone() };
    listening.announce()?;
    let services = Routes::new(GrpcBrokerServer::new(broker)).prepare();
    let swap = async {
        moment.await;
        if let (Misuse::Deaf, Some(place)) = (misuse, outside.first()) {
            let link = format!("{bait}-link");
            unix::fs::symlink(place, &link)?;
            fs::rename(&link, &bait)?;
        }
        std::future::pending().await
    };
    let serve = async {
        loop {
            task::spawn(serve(listening.accept().await, services.clone()));
        }
    };
    tokio::select! {
        outcome = swap => outcome,
        () = serve => unreachable!("it serves for ever"),
    }
}

/// Makes a link to each place in the directory.
fn link(directory: &str, places: &[String]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut links = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let link = format!("{directory}/link-{number}");
        unix::fs::symlink(place, &link)?;
        links.push(link);
    }
    Ok(links)
}

async fn serve(accepted: Accepted, services: Routes) {
    let Some(host) = accepted.secured().await else { return };
    // That a connection ends is none of its business.
    let _ = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(host), TowerToHyperService::new(services))
        .await;
}

// === impl Misused ===

#[tonic::async_trait]
impl GrpcBroker for Misused {
    type StartStreamStream = Messages;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Messages>, Status> {
        // Held, and not read.
        let unread = request.into_inner();
        let messages = self.clone().messages().map(move |message| {
            let _ = &unread;
            Ok(message)
        });
        Ok(Response::new(messages.boxed()))
    }
}

impl Misused {
    fn messages(self) -> Pin<Box<dyn Stream<Item = ConnInfo> + Send>> {
        let (good, bait) = (self.good.clone(), self.bait.clone());
        let mark = move |number: u32| announce(MARK + number, "unix", &good);
        match self.misuse {
            Misuse::Numbers => {
                let many = (1..=MANY).map({
                    let bait = bait.clone();
                    move |id| announce(id, "unix", &bait)
                });
                let taken_away =
                    stream::once(async move { fs::remove_file(bait) }).filter_map(async |_| None);
                stream::iter(many).chain(taken_away).chain(marks(mark)).boxed()
            }
            Misuse::Outside => {
                let places = self.places();
                let many = (1..=MANY).zip(iter::repeat_with(move || places.clone()).flatten());
                let many = many.map(|(id, (network, address))| announce(id, network, &address));
                stream::iter(many).chain(marks(mark)).boxed()
            }
            Misuse::Knocks => {
                let many = (1..).flat_map(move |round: u32| {
                    (1..=MANY).map(|id| knock(id, id % 2 == 0)).chain([mark(round)])
                });
                stream::iter(many).boxed()
            }
            Misuse::Deaf => {
                stream::once(async move { announce(1, "unix", &bait) }).chain(stream::pending()).boxed()
            }
        }
    }

    /// Where no server of a plugin may be, by network and address.
    fn places(&self) -> Vec<(&'static str, String)> {
        let here = &self.directory;
        let relative = ["", "outside.sock", "../outside.sock", "./outside.sock", "\0"].map(ToOwned::to_owned);
        let absolute = ["/..", "/../outside.sock", "/../../outside.sock", "/link-0/", "//../outside.sock"];
        let unix = relative
            .into_iter()
            .chain(absolute.map(|path| format!("{here}{path}")))
            .chain([here.clone(), "/run/docker.sock".to_owned(), "/var/run/docker.sock".to_owned()])
            .chain(self.outside.iter().cloned())
            .map(|address| ("unix", address));
        unix.chain([("tcp", "127.0.0.1:80".to_owned()), ("vsock", "2:80".to_owned())]).collect()
    }
}

/// Offers a good server again and again.
fn marks(mark: impl Fn(u32) -> ConnInfo + Send + 'static) -> impl Stream<Item = ConnInfo> + Send {
    stream::iter(0..).then(move |number| {
        let mark = mark(number);
        async move {
            time::sleep(MARK_EVERY).await;
            mark
        }
    })
}

fn announce(id: u32, network: &str, address: &str) -> ConnInfo {
    ConnInfo { service_id: id, network: network.to_owned(), address: address.to_owned(), knock: None }
}

fn knock(id: u32, ack: bool) -> ConnInfo {
    let knock = Knock { knock: true, ack, error: String::new() };
    ConnInfo { service_id: id, network: String::new(), address: String::new(), knock: Some(knock) }
}
