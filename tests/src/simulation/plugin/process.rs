//! The process behind a simulated plugin's socket.
//!
//! All that it does is done within [`Process::serve`]: connections and their streams are polled there and nowhere else.
//! So a paused container answers nothing, and when its process ends, all its connections end at once, each
//! after what was written on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use go_plugin::external::Bytes;
use go_plugin::external::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use go_plugin::external::tonic::Code;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use plugward::plugin::{PluginError, UnaryAnswer, UnaryCall};
use plugward_engine::ContainerId;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::application::{self, Application, Arrival, Decision, Whom, call_id, work};
use super::broker::{self, Broker, Sockets};
use super::ledger::Ledger;

/// How much of one direction of a connection lies in the system, in bytes.
const IN_FLIGHT: usize = 64 << 10;

/// What comes before a message on the wire.
const HEAD: usize = 5;

/// The way to a process. What is sent there before it serves waits, as at a real socket.
#[derive(Clone)]
pub(super) struct Door {
    knocks: mpsc::UnboundedSender<Knock>,
    ledger: Ledger,
    /// Of whom the ledger has something to say.
    process: (u64, ContainerId),
    /// Where the plugin can connect to.
    pub(super) sockets: Sockets,
}

/// A process that has its socket.
pub(super) struct Process {
    mind: Mind,
    knocks: mpsc::UnboundedReceiver<Knock>,
}

/// What decides and answers. Clones share it.
#[derive(Clone)]
struct Mind {
    application: Arc<Mutex<Application>>,
    broker: Broker,
}

#[derive(Debug)]
enum Knock {
    /// A connection of HTTP/2, and its number in the ledger.
    Line(DuplexStream, u64),
    /// A call over the connection that the controller has anyway, and its number in the ledger.
    Call(UnaryCall, oneshot::Sender<UnaryAnswer>, u64),
    /// The stream of its broker.
    Broker(broker::Stream),
}

type Task = BoxFuture<'static, ()>;

/// Gives tasks to a process.
#[derive(Clone)]
struct Tasks(mpsc::UnboundedSender<Task>);

// === impl Door ===

impl Door {
    pub(super) fn connect(&self) -> Result<DuplexStream, PluginError> {
        let (ours, theirs) = tokio::io::duplex(IN_FLIGHT);
        let line = Knock::Line(theirs, self.ledger.moment());
        self.knocks.send(line).map_err(|_| PluginError::transient("nobody listens"))?;
        Ok(ours)
    }

    pub(super) async fn call(&self, call: UnaryCall) -> Result<UnaryAnswer, PluginError> {
        let gone = || PluginError::transient("the connection ended before the answer");
        let (limit, (answer, answered)) = (call.limit, oneshot::channel());
        let call = Knock::Call(call, answer, self.ledger.moment());
        self.knocks.send(call).map_err(|_| gone())?;
        match timeout(limit, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(PluginError::transient(format!("no answer within {limit:?}"))),
        }
    }

    /// Opens the stream of the broker.
    pub(super) fn broker(&self, stream: broker::Stream) {
        let (process, container) = &self.process;
        self.ledger.broker_opened(*process, container);
        // With a process that is gone it is over.
        let _ = self.knocks.send(Knock::Broker(stream));
    }
}

// === impl Process ===

impl Process {
    pub(super) fn new(application: Application, ledger: Ledger) -> (Self, Door) {
        let (door, knocks) = mpsc::unbounded_channel();
        let sockets = Sockets::default();
        let process = (application.process(), application.container().clone());
        let broker = Broker::new(sockets.clone(), ledger.clone(), process.0);
        let mind = Mind { application: Arc::new(Mutex::new(application)), broker };
        (Self { mind, knocks }, Door { knocks: door, ledger, process, sockets })
    }

    /// Serves as long as it is polled.
    pub(super) async fn serve(self) {
        let Self { mind, mut knocks } = self;
        let (tasks, mut given) = mpsc::unbounded_channel();
        let mut running = FuturesUnordered::<Task>::new();
        loop {
            tokio::select! {
                biased;
                Some(knock) = knocks.recv() => match knock {
                    Knock::Line(line, number) => {
                        let tasks = Tasks(tasks.clone());
                        running.push(serve_line(line, number, mind.clone(), tasks).boxed());
                    }
                    Knock::Call(call, answer, asked) => {
                        let mind = mind.clone();
                        let done = async move {
                            // The caller may have given up.
                            let _ = answer.send(mind.answer(&call, Arrival { connection: None, asked }).await);
                        };
                        running.push(done.boxed());
                    }
                    Knock::Broker(stream) => running.push(mind.broker.clone().hear(stream).boxed()),
                },
                Some(task) = given.recv() => running.push(task),
                Some(()) = running.next() => {}
            }
        }
    }
}

// === impl Mind ===

impl Mind {
    async fn answer(&self, call: &UnaryCall, arrival: Arrival) -> UnaryAnswer {
        let decision = self.application().decide(call, arrival);
        let answer = match decision {
            Decision::Answer(answer) => answer,
            Decision::SetUp { user, number, at } => match self.meet(number, &call_id(call)).await {
                Ok((connection, _)) => {
                    self.application().set_up(user, connection, at);
                    application::answer(Vec::new())
                }
                Err(error) => application::failed(Code::Unknown, &error),
            },
            Decision::Ask { whom, answer } => match self.ask(whom, &call_id(call)).await {
                Ok(server) => application::answer([answer, server.into_bytes()].concat()),
                Err(error) => application::failed(Code::Internal, &error),
            },
        };
        sleep(work(call)).await;
        answer
    }

    async fn ask(&self, whom: Whom, call: &str) -> Result<String, String> {
        match whom {
            Whom::Kept(connection) => connection.ask(call).await.map_err(|error| error.to_string()),
            Whom::Number(number) => Ok(self.meet(number, call).await?.1),
        }
    }

    /// A connection to a host's server, and what it says.
    async fn meet(&self, number: u32, call: &str) -> Result<(broker::Connection, String), String> {
        let connection = self.broker.dial(number).await?;
        let server = connection.ask(call).await.map_err(|error| error.to_string())?;
        Ok((connection, server))
    }

    fn application(&self) -> MutexGuard<'_, Application> {
        self.application.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve_line(line: DuplexStream, number: u64, mind: Mind, tasks: Tasks) {
    let service = service_fn(move |request| {
        let mind = mind.clone();
        async move {
            let call = understand(request).await?;
            let arrival = Arrival { connection: Some(number), asked: number };
            // As gRPC's servers do, whatever the plugin is at.
            let answer = timeout(call.limit, mind.answer(&call, arrival)).await;
            let late = |_| application::failed(Code::DeadlineExceeded, "the call's time is over");
            Ok::<_, hyper::Error>(respond(answer.unwrap_or_else(late)))
        }
    });
    // How a connection ends is its host's matter.
    let _ = http2::Builder::new(tasks).serve_connection(TokioIo::new(line), service).await;
}

async fn understand(request: Request<Incoming>) -> hyper::Result<UnaryCall> {
    let (head, body) = request.into_parts();
    let content = body.collect().await?.to_bytes();
    let metadata = head.headers.iter();
    Ok(UnaryCall {
        path: head.uri.path().to_owned(),
        metadata: metadata.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
        message: Arc::new(content.get(HEAD..).unwrap_or_default().to_vec().into()),
        limit: head.headers.get("grpc-timeout").and_then(time_limit).unwrap_or(Duration::MAX),
    })
}

/// The time that a call has, as gRPC says it.
fn time_limit(value: &HeaderValue) -> Option<Duration> {
    let (number, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
    let unit = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    unit.checked_mul(number.parse().ok()?)
}

fn respond(answer: UnaryAnswer) -> Response<BoxBody<Bytes, std::convert::Infallible>> {
    let UnaryAnswer { code, status_message, message } = answer;
    let mut status =
        HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(code))]);
    let mut response = if code == Code::Ok as i32 {
        let size = u32::try_from(message.len()).expect("a small message").to_be_bytes();
        let content = [[0].as_slice(), &size, &message].concat();
        let trailers = std::future::ready(Some(Ok(status)));
        Response::new(Full::new(Bytes::from(content)).with_trailers(trailers).boxed())
    } else {
        let text = HeaderValue::from_str(&status_message).expect("plain words");
        status.insert("grpc-message", text);
        let mut response = Response::new(Full::default().boxed());
        *response.headers_mut() = status;
        response
    };
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

// === impl Tasks ===

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        // With the process its tasks end.
        let _ = self.0.send(task.boxed());
    }
}
