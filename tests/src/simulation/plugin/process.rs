//! The process behind a simulated plugin's socket.
//!
//! All that it does is done within [`Process::serve`]: connections and their streams are polled there and nowhere else.
//! So a paused container answers nothing, and when its process ends, all its connections end at once, each
//! after what was written on it.

use std::sync::{Arc, Mutex, PoisonError};

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
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::application::{Application, Ledger, work};

/// How much of one direction of a connection lies in the system, in bytes.
const IN_FLIGHT: usize = 64 << 10;

/// What comes before a message on the wire.
const HEAD: usize = 5;

/// The way to a process. What is sent there before it serves waits, as at a real socket.
#[derive(Debug, Clone)]
pub(super) struct Door {
    knocks: mpsc::UnboundedSender<Knock>,
    ledger: Ledger,
}

/// A process that has its socket.
pub(super) struct Process {
    application: Application,
    knocks: mpsc::UnboundedReceiver<Knock>,
}

#[derive(Debug)]
enum Knock {
    /// A connection of HTTP/2, and its number in the ledger.
    Line(DuplexStream, u64),
    /// A call over the connection that the controller has anyway.
    Call(UnaryCall, oneshot::Sender<UnaryAnswer>),
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
        self.knocks.send(Knock::Call(call, answer)).map_err(|_| gone())?;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(PluginError::transient(format!("no answer within {limit:?}"))),
        }
    }
}

// === impl Process ===

impl Process {
    pub(super) fn new(application: Application, ledger: Ledger) -> (Self, Door) {
        let (door, knocks) = mpsc::unbounded_channel();
        (Self { application, knocks }, Door { knocks: door, ledger })
    }

    /// Serves as long as it is polled.
    pub(super) async fn serve(self) {
        let Self { application, mut knocks } = self;
        let application = Arc::new(Mutex::new(application));
        let (tasks, mut given) = mpsc::unbounded_channel();
        let mut running = FuturesUnordered::<Task>::new();
        loop {
            tokio::select! {
                biased;
                Some(knock) = knocks.recv() => match knock {
                    Knock::Line(line, number) => {
                        let (application, tasks) = (Arc::clone(&application), Tasks(tasks.clone()));
                        running.push(serve_line(line, number, application, tasks).boxed());
                    }
                    Knock::Call(call, answer) => {
                        let decided = decide(&application, &call, None);
                        let done = async move {
                            sleep(work(&call)).await;
                            // The caller may have given up.
                            let _ = answer.send(decided);
                        };
                        running.push(done.boxed());
                    }
                },
                Some(task) = given.recv() => running.push(task),
                Some(()) = running.next() => {}
            }
        }
    }
}

fn decide(application: &Mutex<Application>, call: &UnaryCall, connection: Option<u64>) -> UnaryAnswer {
    application.lock().unwrap_or_else(PoisonError::into_inner).answer(call, connection)
}

async fn serve_line(line: DuplexStream, number: u64, application: Arc<Mutex<Application>>, tasks: Tasks) {
    let service = service_fn(move |request| {
        let application = Arc::clone(&application);
        async move {
            let call = understand(request).await?;
            let decided = decide(&application, &call, Some(number));
            sleep(work(&call)).await;
            Ok::<_, hyper::Error>(respond(decided))
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
        limit: std::time::Duration::MAX,
    })
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
