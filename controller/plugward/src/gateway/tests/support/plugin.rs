//! A plugin: a gRPC server in this process, which serves what it was initialised for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use go_plugin::{Address, StdioChannel};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tonic::codegen::http;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::broker::TestBroker;
use super::host::Octets;
use crate::gateway::Broken;
use crate::plugin::{
    Brokering, Conversation, HostLine, Offer, PluginError, ServiceHealth, StreamTurn, UnaryAnswer, UnaryCall,
};

pub(in super::super) const INITIALIZE: &str = "/test.Plugin/Initialize";
pub(in super::super) const CLOSE: &str = "/test.Plugin/Close";

/// The plugin of one container.
#[derive(Clone)]
pub(in super::super) struct TestPlugin {
    /// What it calls itself.
    pub(in super::super) process: String,
    pub(in super::super) multiplexes: bool,
    state: Arc<Mutex<State>>,
    /// Connections that were made to it.
    pub(in super::super) connections: Arc<watch::Sender<usize>>,
    /// Calls of `Hang` that it has.
    pub(in super::super) hanging: Arc<watch::Sender<usize>>,
    /// What the gateway said is broken of it.
    pub(in super::super) broken: Arc<watch::Sender<Option<Broken>>>,
    /// Its broker.
    pub(in super::super) broker: Arc<TestBroker>,
    /// Counts up to end connections: all of them, for good, at the greatest.
    cut: Arc<watch::Sender<usize>>,
}

#[derive(Default)]
struct State {
    /// What it was initialised with, by `multiplex_id`.
    configs: BTreeMap<String, String>,
    /// Whether it does not take an `Initialize`.
    refuses: bool,
    /// Which one it does not take, whatever else.
    refused: Option<String>,
    /// The `Initialize` calls that it had, refused ones too.
    initialized: usize,
    /// The calls of the gateway's own that it had, those too that it was dead for.
    asked: usize,
}

impl TestPlugin {
    pub(in super::super) fn multiplexing(process: &str) -> Self {
        Self {
            process: process.to_owned(),
            multiplexes: true,
            state: Arc::default(),
            connections: Arc::default(),
            hanging: Arc::default(),
            broken: Arc::default(),
            broker: Arc::default(),
            cut: Arc::default(),
        }
    }

    pub(in super::super) fn single(process: &str) -> Self {
        Self { multiplexes: false, ..Self::multiplexing(process) }
    }

    /// One whose hosts' servers are streams of its one connection.
    pub(in super::super) fn sharing(process: &str) -> Self {
        Self { broker: Arc::new(TestBroker::sharing()), ..Self::multiplexing(process) }
    }

    /// Whether it does not take an `Initialize` from now on.
    pub(in super::super) fn refuse(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    /// It does not take this one from now on.
    pub(in super::super) fn refuse_message(&self, message: &str) {
        self.state.lock().unwrap().refused = Some(message.to_owned());
    }

    /// How often the gateway called it.
    pub(in super::super) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    pub(in super::super) fn initialized(&self) -> usize {
        self.state.lock().unwrap().initialized
    }

    /// The ids under which it was initialised.
    pub(in super::super) fn ids(&self) -> Vec<String> {
        self.state.lock().unwrap().configs.keys().cloned().collect()
    }

    /// Ends all connections, and takes no new ones.
    pub(in super::super) fn kill(&self) {
        self.cut.send_replace(usize::MAX);
    }

    /// Ends the connections that there are.
    pub(in super::super) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    fn is_dead(&self) -> bool {
        *self.cut.borrow() == usize::MAX
    }

    /// Answers a unary call.
    async fn answer(&self, method: &str, id: String, message: &str) -> Result<String, Status> {
        match method {
            INITIALIZE => {
                let mut state = self.state.lock().unwrap();
                state.initialized += 1;
                if state.refuses || message == "bad" || state.refused.as_deref() == Some(message) {
                    return Err(Status::internal(format!("cannot verify {message}")));
                }
                state.configs.insert(id, message.to_owned());
                Ok("initialized".to_owned())
            }
            CLOSE => {
                self.state.lock().unwrap().configs.remove(&id);
                Ok("closed".to_owned())
            }
            "/test.Plugin/Call" => {
                let configs = &self.state.lock().unwrap().configs;
                let config =
                    configs.get(&id).ok_or_else(|| Status::failed_precondition("not initialized"))?;
                Ok(format!("{} {config} {message}", self.process))
            }
            "/test.Plugin/Who" | "/pluginutil.multiplexing.PluginMultiplexing/MultiplexingSupport" => Ok(id),
            "/test.Plugin/Plain" => Ok(format!("{} {message}", self.process)),
            "/test.Plugin/Hang" => {
                self.hanging.send_modify(|hanging| *hanging += 1);
                futures::future::pending().await
            }
            _ => Err(Status::unimplemented("no such method")),
        }
    }
}

#[async_trait]
impl Conversation for TestPlugin {
    async fn health(&self) -> Result<(), PluginError> {
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), PluginError> {
        panic!("nobody may stop a plugin that others use")
    }

    fn stdio(&self) -> BoxStream<'static, (StdioChannel, Bytes)> {
        futures::stream::pending().boxed()
    }

    async fn closed(&self) {
        let _ = self.cut.subscribe().wait_for(|cut| *cut == usize::MAX).await;
    }

    async fn health_of(&self, service: &str) -> Result<ServiceHealth, PluginError> {
        Ok(match service {
            "well" => ServiceHealth::Serving,
            "ill" => ServiceHealth::NotServing,
            _ => ServiceHealth::UnknownService,
        })
    }

    async fn multiplexes(&self) -> Result<bool, PluginError> {
        Ok(self.multiplexes)
    }

    async fn call(&self, call: UnaryCall) -> Result<UnaryAnswer, PluginError> {
        self.state.lock().unwrap().asked += 1;
        if self.is_dead() {
            return Err(PluginError::transient("the connection ended"));
        }
        let id = call.metadata.iter().filter(|(name, _)| name == "multiplex_id");
        let id =
            id.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>().join(",");
        let answer = self.answer(&call.path, id, &String::from_utf8_lossy(&call.message)).await;
        let (code, status_message, message) = match answer {
            Ok(message) => (0, String::new(), message.into_bytes()),
            Err(status) => (status.code() as i32, status.message().to_owned(), Vec::new()),
        };
        Ok(UnaryAnswer { code, status_message, message: Zeroizing::new(message) })
    }

    async fn dial(&self) -> Result<HostLine, PluginError> {
        if self.is_dead() {
            return Err(PluginError::transient("connection refused"));
        }
        self.connections.send_modify(|connections| *connections += 1);
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (plugin, mut cut) = (self.clone(), self.cut.subscribe());
        cut.mark_unchanged();
        tokio::spawn(async move {
            let service = TowerToHyperService::new(Service(plugin));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::select! {
                _ = builder.serve_connection(TokioIo::new(theirs), service) => {}
                _ = cut.changed() => {}
            }
        });
        Ok(Box::new(ours))
    }

    fn warm(&self) {}

    fn broker(&self) -> Brokering {
        self.broker.begin()
    }

    fn offer(&self) -> Result<Box<dyn Offer>, PluginError> {
        Ok(self.broker.offer())
    }

    async fn dial_at(&self, address: &Address) -> Result<HostLine, PluginError> {
        self.broker.dial_at(address).await
    }

    async fn turn(&self) -> Option<StreamTurn> {
        self.broker.turn().await
    }

    fn offers(&self, address: &Address) -> bool {
        matches!(address, Address::Unix(path) if std::path::Path::new(path).exists())
    }
}

#[derive(Clone)]
struct Service(TestPlugin);

impl tower::Service<http::Request<hyper::body::Incoming>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let plugin = self.0.clone();
        let method = request.uri().path().to_owned();
        Box::pin(async move {
            let unary = tower::service_fn(move |request: Request<Bytes>| {
                let (plugin, method) = (plugin.clone(), method.clone());
                async move {
                    let ids = request.metadata().get_all("multiplex_id").iter();
                    let id = ids.map(|id| id.to_str().unwrap()).collect::<Vec<_>>().join(",");
                    let message = String::from_utf8_lossy(request.get_ref()).into_owned();
                    plugin
                        .answer(&method, id, &message)
                        .await
                        .map(|answer| Response::new(Bytes::from(answer)))
                }
            });
            Ok(Grpc::new(Octets).unary(unary, request).await)
        })
    }
}
