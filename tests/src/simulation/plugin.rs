//! Plugins in simulated containers, and the way to them.

mod application;
mod broker;
mod ledger;
mod process;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use go_plugin::external::Bytes;
use go_plugin::{Address, Identity, StdioChannel};
use plugward::names::label;
use plugward::plugin::{
    Brokering, Conversation, HostLine, Offer, PluginAddress, PluginError, Plugins, ServiceHealth, StreamTurn,
    UnaryAnswer, UnaryCall,
};
use plugward_engine::simulated::{Script, StartedContainer};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::application::{Application, MULTIPLEXING_SUPPORT};
pub use self::application::{
    CALL, CALL_ID, CLEANUP, Callbacks, INITIALIZE, INITIALIZE_BACKEND, Kind, SERVER, SETUP, SetupArgs, WORK,
};
pub use self::ledger::{BrokerLife, Ledger, Outcome, Served};
use self::process::{Door, Process};

/// How long a question of the controller's own may take, as on real plugins.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);

/// How plugins behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Most starts are good, some are bad in one way or another.
    Moody,
    /// Every start is good.
    Calm,
    /// Every start is good, and takes no time.
    Prompt,
}

/// All plugins that can be reached now, by the directory that they share. Clones share them.
#[derive(Clone)]
pub struct SimulatedPlugins {
    shared: Arc<Shared>,
}

struct Shared {
    listening: Mutex<HashMap<PathBuf, Listening>>,
    mood: Mutex<Mood>,
    /// What plugins can and need, by instance, where that is anything.
    kinds: Mutex<HashMap<String, Kind>>,
    ledger: Ledger,
    /// What ends with the controller that is connected now.
    controller: Mutex<CancellationToken>,
    chance: Mutex<StdRng>,
    /// Containers, by name, that will end: by themselves, or because somebody saw to it.
    mortals: Mutex<HashSet<String>>,
    /// The certificate that every simulated plugin prints. Nobody checks it: there is no TLS here.
    certificate: String,
}

struct Listening {
    /// The certificate that the plugin was told to accept.
    accepts: String,
    alive: watch::Receiver<bool>,
    door: Door,
}

/// A plugin that listens, for as long as this lives.
struct Server {
    process: Process,
    registration: Registration,
}

/// The plugin's place among those that can be reached.
struct Registration {
    shared: Arc<Shared>,
    directory: PathBuf,
    alive: watch::Sender<bool>,
}

struct Line {
    alive: watch::Receiver<bool>,
    door: Door,
    /// The end of the controller.
    cut: CancellationToken,
}

// === impl SimulatedPlugins ===

impl SimulatedPlugins {
    /// None yet. `seed` decides how they behave.
    pub fn new(seed: u64) -> Self {
        let identity = Identity::generate().expect("an identity");
        let certificate = STANDARD_NO_PAD.encode(identity.certificate());
        Self {
            shared: Arc::new(Shared {
                listening: Mutex::default(),
                mood: Mutex::new(Mood::Moody),
                kinds: Mutex::default(),
                ledger: Ledger::default(),
                controller: Mutex::default(),
                chance: Mutex::new(StdRng::seed_from_u64(seed)),
                mortals: Mutex::default(),
                certificate,
            }),
        }
    }

    /// Changes how later starts behave.
    pub fn set_mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Changes what later starts of an instance's plugin can and need. At first they do not multiplex, and need nothing.
    pub fn set_kind(&self, instance: &str, kind: Kind) {
        let mut kinds = self.shared.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.insert(instance.to_owned(), kind);
    }

    /// The controller's process ends, and with it what it carries between plugins and hosts.
    pub fn hang_up(&self) {
        let mut controller = self.shared.controller.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *controller).cancel();
    }

    /// The requests that plugins saw.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// The life of a plugin that mostly behaves.
    pub fn behave(&self, container: &StartedContainer) -> Script {
        let mood = *self.shared.mood.lock().unwrap_or_else(PoisonError::into_inner);
        let (roll, delay, life) = {
            let mut chance = self.shared.chance.lock().unwrap_or_else(PoisonError::into_inner);
            let roll = if mood == Mood::Moody { chance.random_range(0..100) } else { 100 };
            let delay = if mood == Mood::Prompt { 0 } else { chance.random_range(5..400) };
            (roll, Duration::from_millis(delay), chance.random_range(1..20_000))
        };
        let script = Script::new().wait(delay);
        match roll {
            0 => script.stdout("hello, I am no plugin\n").hang(),
            1 => script.hang(),
            2 => script.stderr("out of luck\n").exit(3),
            3 => Script::new().failing_to_start("the simulated runtime does not like it"),
            4 => self.serve(script, container).ignore_term(),
            5..10 => {
                let until = Duration::from_millis(life);
                self.mortals().insert(container.name.clone());
                let server = self.server(container);
                self.hello(script, container)
                    .run(async move {
                        // It dies in the middle of whatever it does.
                        let _ = tokio::time::timeout(until, server.serve()).await;
                    })
                    .exit(1)
            }
            _ => self.serve(script, container),
        }
    }

    /// The life of a plugin that never behaves.
    pub fn misbehave(&self, container: &StartedContainer) -> Script {
        let version = self.version(container);
        let roll = self.shared.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..4);
        let script = Script::new().wait(Duration::from_millis(50));
        match roll {
            0 => script.stdout(vec![b'x'; 70_000]).hang(),
            1 => script.stdout(format!("1|{version}|unix|/etc/passwd|grpc\n")).hang(),
            2 => script.stderr(format!("cannot start in {}\n", container.name)).exit(7),
            _ => script.oom_killed(),
        }
    }

    /// Notes that a container of this name will end.
    pub fn doom(&self, name: &str) {
        self.mortals().insert(name.to_owned());
    }

    /// Whether a container of this name will end, or has.
    pub fn is_mortal(&self, name: &str) -> bool {
        self.mortals().contains(name)
    }

    fn mortals(&self) -> MutexGuard<'_, HashSet<String>> {
        self.shared.mortals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, script: Script, container: &StartedContainer) -> Script {
        let server = self.server(container);
        self.hello(script, container).run(server.serve())
    }

    /// Prints the handshake line.
    fn hello(&self, script: Script, container: &StartedContainer) -> Script {
        let version = self.version(container);
        let line = format!(
            "1|{version}|unix|{}/plugin1|grpc|{}\n",
            plugward::names::PLUGIN_SIDE_DIRECTORY,
            self.shared.certificate
        );
        script.stdout(line)
    }

    /// The version of its application's protocol.
    fn version(&self, container: &StartedContainer) -> u32 {
        // Backends have one of Vault's.
        if self.kind(container).callbacks == Callbacks::Kept { 5 } else { 1 }
    }

    fn kind(&self, container: &StartedContainer) -> Kind {
        let kinds = self.shared.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = container.label(label::INSTANCE).and_then(|instance| kinds.get(instance));
        kind.copied().unwrap_or_default()
    }

    /// Listens from now on: a real plugin, too, listens before it says so.
    fn server(&self, container: &StartedContainer) -> Server {
        let directory = container
            .bound_at(plugward::names::PLUGIN_SIDE_DIRECTORY)
            .map(Path::to_owned)
            .expect("a plugin's container has a shared directory");
        let ledger = self.ledger().clone();
        let application = Application::new(self.kind(container), container, ledger.clone());
        let (process, door) = Process::new(application, ledger);
        let (alive, receiver) = watch::channel(true);
        let accepts = container.env("PLUGIN_CLIENT_CERT").unwrap_or_default().to_owned();
        self.shared
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(directory.clone(), Listening { accepts, alive: receiver, door });
        let registration = Registration { shared: self.shared.clone(), directory, alive };
        Server { process, registration }
    }
}

// === impl Server ===

impl Server {
    async fn serve(self) {
        let Self { process, registration } = self;
        process.serve().await;
        drop(registration);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.alive.send_replace(false);
        self.shared.listening.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.directory);
    }
}

#[async_trait]
impl Plugins for SimulatedPlugins {
    async fn connect(&self, address: &PluginAddress) -> Result<Arc<dyn Conversation>, PluginError> {
        let Address::Unix(path) = &address.handshake.address else {
            return Err(PluginError::permanent("no Unix socket"));
        };
        if Path::new(path).parent() != Some(Path::new(plugward::names::PLUGIN_SIDE_DIRECTORY)) {
            return Err(PluginError::permanent("the socket is not in the shared directory"));
        }
        let listening = self.shared.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = listening.get(&address.directory) else {
            return Err(PluginError::transient("nobody listens"));
        };
        let ours = Identity::from_pem(address.identity.reveal())
            .map_err(|error| PluginError::permanent(error.to_string()))?;
        if ours.certificate_pem() != found.accepts {
            return Err(PluginError::transient("the plugin does not accept our certificate"));
        }
        let cut = self.shared.controller.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Arc::new(Line { alive: found.alive.clone(), door: found.door.clone(), cut }))
    }
}

#[async_trait]
impl Conversation for Line {
    async fn health(&self) -> Result<(), PluginError> {
        if *self.alive.borrow() { Ok(()) } else { Err(PluginError::transient("the connection is gone")) }
    }

    async fn shutdown(&self) -> Result<(), PluginError> {
        // What the plugin makes of it shows in its container; SIGTERM follows anyway.
        Ok(())
    }

    fn stdio(&self) -> BoxStream<'static, (StdioChannel, Bytes)> {
        stream::pending().boxed()
    }

    async fn closed(&self) {
        let mut alive = self.alive.clone();
        let _ = alive.wait_for(|alive| !alive).await;
    }

    async fn health_of(&self, service: &str) -> Result<ServiceHealth, PluginError> {
        self.health().await?;
        Ok(if matches!(service, "" | "plugin") {
            ServiceHealth::Serving
        } else {
            ServiceHealth::UnknownService
        })
    }

    async fn multiplexes(&self) -> Result<bool, PluginError> {
        let question = UnaryCall {
            path: MULTIPLEXING_SUPPORT.to_owned(),
            metadata: Vec::new(),
            message: Arc::default(),
            limit: QUESTION_LIMIT,
        };
        Ok(self.call(question).await?.is_ok())
    }

    async fn call(&self, call: UnaryCall) -> Result<UnaryAnswer, PluginError> {
        // What is left of a controller that crashed does nothing more.
        let ended = || PluginError::transient("the controller has ended");
        self.cut.run_until_cancelled(self.door.call(call)).await.unwrap_or_else(|| Err(ended()))
    }

    async fn dial(&self) -> Result<HostLine, PluginError> {
        Ok(Box::new(self.door.connect()?))
    }

    fn warm(&self) {}

    fn broker(&self) -> Brokering {
        let (brokering, stream) = broker::stream(self.cut.clone());
        self.door.broker(stream);
        brokering
    }

    fn offer(&self) -> Result<Box<dyn Offer>, PluginError> {
        Ok(self.door.sockets.bind())
    }

    async fn dial_at(&self, _: &Address) -> Result<HostLine, PluginError> {
        Err(PluginError::permanent("this plugin offers nothing"))
    }

    async fn turn(&self) -> Option<StreamTurn> {
        None
    }

    fn offers(&self, _: &Address) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
