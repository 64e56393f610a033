//! A program around the relay, and its listener.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use plugward_relay::{
    Amendments, Decision, Ended, HoldBudget, Limits, Observe, Peer, Policy, Request, Stop, Violation,
    driver::{Control, Later, Program, Relay, ServedStream},
    grpc::{Code, Status},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// A mount socket: what is accepted is relayed to the plugin of the day.
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
    pub(crate) told: Arc<Told>,
    pub(crate) budget: Arc<HoldBudget>,
    pub(crate) controls: Arc<Mutex<Vec<Control>>>,
    pub(crate) served: mpsc::UnboundedReceiver<ServedStream>,
    plugin: watch::Sender<Option<PathBuf>>,
    accepting: JoinHandle<()>,
}

/// What the relay told the program.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) ended: Mutex<Vec<(String, Ended)>>,
    pub(crate) violated: Mutex<Vec<(Peer, Violation)>>,
    changed: watch::Sender<usize>,
    /// Relays that run.
    pub(crate) running: watch::Sender<usize>,
}

#[derive(Clone)]
struct TestProgram {
    plugin: watch::Receiver<Option<PathBuf>>,
    told: Arc<Told>,
    served: mpsc::UnboundedSender<ServedStream>,
}

impl Mount {
    /// A mount whose plugin is not known yet.
    pub(crate) fn start(path: PathBuf, limits: Limits) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let told = Arc::new(Told::default());
        let budget = HoldBudget::new(1024, 16 << 20);
        let controls = Arc::new(Mutex::new(Vec::new()));
        let (plugin, watched) = watch::channel(None);
        let (serve, served) = mpsc::unbounded_channel();
        let program = TestProgram { plugin: watched, told: Arc::clone(&told), served: serve };
        let accepting = tokio::spawn({
            let (told, budget, controls) = (Arc::clone(&told), Arc::clone(&budget), Arc::clone(&controls));
            async move {
                while let Ok((host, _)) = listener.accept().await {
                    let (relay, control) =
                        Relay::new(host, program.clone(), limits.clone(), Arc::clone(&budget));
                    controls.lock().unwrap().push(control);
                    told.run(relay);
                }
            }
        });
        Self { path, told, budget, controls, served, plugin, accepting }
    }

    /// The same mount on a TCP address of this machine.
    pub(crate) async fn listen(&self, limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (served, _) = mpsc::unbounded_channel();
        let program = TestProgram { plugin: self.plugin.subscribe(), told: Arc::clone(&self.told), served };
        let (told, budget) = (Arc::clone(&self.told), Arc::clone(&self.budget));
        tokio::spawn(async move {
            while let Ok((host, _)) = listener.accept().await {
                told.run(Relay::new(host, program.clone(), limits.clone(), Arc::clone(&budget)).0);
            }
        });
        address
    }

    /// New host connections go there.
    pub(crate) fn set_plugin(&self, path: Option<PathBuf>) {
        self.plugin.send_replace(path);
    }

    /// What the last host connection can be told.
    pub(crate) fn control(&self) -> Control {
        self.controls.lock().unwrap().last().unwrap().clone()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Told {
    fn run<H>(self: &Arc<Self>, relay: Relay<H, TestProgram>)
    where
        H: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let told = Arc::clone(self);
        told.running.send_modify(|running| *running += 1);
        tokio::spawn(async move {
            relay.run().await;
            told.running.send_modify(|running| *running -= 1);
        });
    }

    /// Calls that ended, ever.
    pub(crate) fn count(&self) -> usize {
        *self.changed.borrow()
    }

    /// Waits until so many calls ended, and gives their paths and ends.
    pub(crate) async fn ended(&self, count: usize) -> Vec<(String, Ended)> {
        self.changed.subscribe().wait_for(|ended| *ended >= count).await.unwrap();
        std::mem::take(&mut *self.ended.lock().unwrap())
    }

    pub(crate) async fn until_running(&self, count: usize) {
        self.running.subscribe().wait_for(|running| *running == count).await.unwrap();
    }
}

impl Policy for TestProgram {
    type Call = (String, Instant);

    fn request(&mut self, request: &Request<'_>) -> Decision<Self::Call> {
        let path = String::from_utf8(request.path().to_vec()).unwrap();
        let call = (path.clone(), Instant::now());
        match path.as_str() {
            "/own/Stream" => Decision::Serve(call),
            "/own/Answer" => Decision::Answer(Status::new(Code::FailedPrecondition, "no ü")),
            _ => {
                let limit = request.header("observe").map(|_| 100);
                Decision::Pass { call, observe: Observe { request: limit, answer: limit } }
            }
        }
    }

    fn forward(
        &mut self,
        _: &mut Self::Call,
        request: &Request<'_>,
        amendments: &mut Amendments,
    ) -> Result<(), Stop> {
        if request.header("multiplex-id").is_some() {
            amendments.set("multiplex-id", b"ours");
        }
        Ok(())
    }

    fn may_go_on(&mut self, _: &mut Self::Call, _: Duration) -> Result<(), Status> {
        Ok(())
    }

    fn may_wait(&mut self, call: &mut Self::Call, _: Option<Duration>) -> Result<Duration, Status> {
        Ok(if call.0.ends_with("/Impatient") { Duration::from_millis(20) } else { Duration::from_secs(30) })
    }

    fn waited(&mut self, _: &Self::Call) -> Status {
        Status::unavailable("no plugin for too long")
    }

    fn ended(&mut self, call: Self::Call, ended: Ended) {
        self.told.ended.lock().unwrap().push((call.0, ended));
        self.told.changed.send_modify(|count| *count += 1);
    }

    fn violated(&mut self, by: Peer, violation: Violation) {
        self.told.violated.lock().unwrap().push((by, violation));
    }
}

impl Program for TestProgram {
    type Plugin = UnixStream;

    fn connect(&mut self) -> Later<UnixStream> {
        let mut plugin = self.plugin.clone();
        Box::pin(async move {
            loop {
                let path = plugin.wait_for(Option::is_some).await.unwrap().clone().unwrap();
                if let Ok(stream) = UnixStream::connect(path).await {
                    return stream;
                }
                plugin.changed().await.unwrap();
            }
        })
    }

    fn plugin_ended(&mut self) -> Later<Status> {
        Box::pin(async { Status::unavailable("the plugin died during this call") })
    }

    fn serve(&mut self, _: &mut Self::Call, stream: ServedStream) {
        let _ = self.served.send(stream);
    }
}
