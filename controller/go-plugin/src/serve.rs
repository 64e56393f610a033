//! The plugin's side: makes a Rust program a go-plugin plugin.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use go_plugin::{Cookie, external::tonic::service::Routes, serve::Server};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> ExitCode {
//!     let cookie = Cookie::new("EXAMPLE_PLUGIN", "hello").expect("a valid cookie");
//!     let services = Routes::default(); // .add_service(…), as tonic generates them
//!     Server::new(cookie).version(1, services).run().await
//! }
//! ```
//!
//! # What it does, as go-plugin does it
//!
//! It checks the cookie, settles the version, listens on a Unix socket where the host wants it and gives it to
//! the group that the host names, prints the handshake line, and serves: the program's own services, health,
//! `GRPCController` (whose `Shutdown` ends the program with exit code 0), `GRPCStdio` and `GRPCBroker`. With
//! AutoMTLS it serves nobody but its host. SIGINT is ignored, since a terminal sends it to the host, too.
//!
//! # What it does otherwise
//!
//! - What go-plugin would only log (a certificate that can't be read, a socket that can't be made) ends the
//!   program with exit code 1 and a message on standard error.
//! - SIGTERM ends it at once, with exit code 143 and without its socket: as process 1 of a container it would
//!   ignore the signal otherwise.
//! - `println!` still writes to the process's own standard output. What is meant for `GRPCStdio` goes through
//!   [`Output`].
//! - Its [`Broker`] has a socket for each server. A host that asks for broker multiplexing is told that there is none.

mod broker;
mod services;

use std::{
    collections::BTreeMap,
    env, error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinSet,
    time,
};
use tonic::service::Routes;
use tracing::debug;

use self::broker::Settings;
pub use self::broker::{Broker, Brokered, BrokeringError};
pub use self::services::{HealthReporter, Output};
use crate::{
    Address, BrokerMultiplexing, Cookie, Handshake, Identity, IdentityError, Inbound, ListenError, Listener,
    PluginStream, Protocol, launch::variable,
};

/// How long a client may take over its TLS handshake.
const TLS_LIMIT: Duration = Duration::from_secs(10);

/// The pause after the system gave no connection, as it does while there are too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The exit code of a process that SIGTERM ended, as a shell reports it.
const TERMINATED: u8 = 128 + 15;

/// A plugin that is to be served.
#[derive(Debug)]
pub struct Server {
    cookie: Cookie,
    versions: BTreeMap<u32, Routes>,
    output: Output,
    health: HealthReporter,
    broker: Broker,
}

/// A plugin that listens, and that nobody knows of before it is [announced](Self::announce).
///
/// Dropped, it removes its socket.
#[derive(Debug)]
pub struct Listening {
    handshake: Handshake,
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    services: Routes,
    shutdown: Arc<Notify>,
}

/// A connection that a host made.
#[derive(Debug)]
pub struct Accepted {
    arrived: Arrived,
    services: Routes,
}

/// A connection that somebody made, a host or not.
#[derive(Debug)]
pub struct Arrived {
    connection: Inbound,
    tls: Option<Arc<ServerConfig>>,
}

/// Why a plugin cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The cookie is not in the environment.
    #[error(
        "this program is a plugin: it is started by its host, not by hand (to try it, set {key} as its host does)"
    )]
    NoHost {
        /// The cookie's key.
        key: String,
    },
    /// The program has nothing to serve.
    #[error("this plugin serves no version of its protocol: it is not completely written")]
    NoVersion,
    /// The host's certificate cannot be read.
    #[error("PLUGIN_CLIENT_CERT is no certificate")]
    ClientCertificate(#[source] rustls::pki_types::pem::Error),
    /// The group is no number.
    #[error("PLUGIN_UNIX_SOCKET_GROUP is {group:?}: this plugin knows groups by number only")]
    Group {
        /// What it is.
        group: String,
    },
    /// Our own certificate cannot be made or used.
    #[error("this plugin's certificate cannot be made")]
    Identity(#[from] IdentityError),
    /// The socket cannot be made.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The line cannot be printed, or signals not be received.
    #[error("the process's own {what} cannot be used")]
    Process {
        /// Standard output, or signals.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

// === impl Server ===

impl Server {
    /// A plugin of the application that has this cookie.
    pub fn new(cookie: Cookie) -> Self {
        Self {
            cookie,
            versions: BTreeMap::new(),
            output: Output::default(),
            health: HealthReporter::default(),
            broker: Broker::default(),
        }
    }

    /// Adds a version of the application's protocol, with the services that make it up.
    #[must_use]
    pub fn version(mut self, version: u32, services: Routes) -> Self {
        self.versions.insert(version, services);
        self
    }

    /// A handle to write with to the host's `GRPCStdio`.
    pub fn output(&self) -> Output {
        self.output.clone()
    }

    /// A handle to say with whether the plugin is healthy. It is, until told otherwise.
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// A handle to the broker, for services that offer further servers to the host, or use the host's.
    pub fn broker(&self) -> Broker {
        self.broker.clone()
    }

    /// Lives a plugin's whole life, and says how the process should exit: 0 after `Shutdown`, 1 with a message on
    /// standard error when it cannot serve, 143 after SIGTERM.
    pub async fn run(self) -> ExitCode {
        match self.live().await {
            Ok(code) => code,
            Err(error) => {
                let mut message = error.to_string();
                let mut source = error::Error::source(&error);
                while let Some(error) = source {
                    message = format!("{message}: {error}");
                    source = error.source();
                }
                eprintln!("{message}");
                ExitCode::FAILURE
            }
        }
    }

    async fn live(self) -> Result<ExitCode, ServeError> {
        let signals = |kind| signal(kind).map_err(|source| ServeError::Process { what: "signals", source });
        let mut listening = self.listen(|name| env::var(name).ok())?;
        // Once there is a handler the default, which is to end, is off for good.
        let _ignored = signals(SignalKind::interrupt())?;
        let mut terminate = signals(SignalKind::terminate())?;
        listening.announce()?;
        Ok(tokio::select! {
            () = listening.serve() => ExitCode::SUCCESS,
            _ = terminate.recv() => ExitCode::from(TERMINATED),
        })
    }

    /// Listens as the host asks, which it does by environment variables. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When no host asks, or what it asks cannot be done.
    pub fn listen(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Listening, ServeError> {
        if variable(self.cookie.key()).as_deref() != Some(self.cookie.value()) {
            return Err(ServeError::NoHost { key: self.cookie.key().to_owned() });
        }
        let variable = |name| variable(name).filter(|value| !value.is_empty());

        let app_version = self.negotiate(&offered(variable(variable::PROTOCOL_VERSIONS)))?;
        let services = self.versions.remove(&app_version).unwrap_or_default();
        let (tls, server_certificate) = match variable(variable::CLIENT_CERT) {
            None => (None, None),
            Some(pem) => {
                let client =
                    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(ServeError::ClientCertificate)?;
                let identity = Identity::generate()?;
                let (server, client) = (identity.server_config(&client)?, identity.client_config(&client)?);
                (Some((Arc::new(server), Arc::new(client))), Some(identity.certificate().clone()))
            }
        };
        let group = match variable(variable::UNIX_SOCKET_GROUP) {
            None => None,
            Some(group) => Some(group.parse().map_err(|_| ServeError::Group { group })?),
        };
        let directory = variable(variable::UNIX_SOCKET_DIR).map_or_else(env::temp_dir, PathBuf::from);
        let listener = Listener::bind_as_plugin(&directory, group)?;

        // The answer is only expected by a host that asks.
        let asked = variable(variable::MULTIPLEX_GRPC).is_some();
        let broker_multiplexing =
            if asked { BrokerMultiplexing::Unsupported } else { BrokerMultiplexing::NotSaid };
        let handshake = Handshake {
            app_version,
            address: Address::Unix(listener.path().display().to_string()),
            protocol: Protocol::Grpc,
            server_certificate,
            broker_multiplexing,
        };
        let shutdown = Arc::new(Notify::new());
        let services = services
            .add_service(self.health.service())
            .add_service(self.output.service())
            .add_service(services::controller(Arc::clone(&shutdown)))
            .add_service(self.broker.service())
            .prepare();
        let server_tls = tls.as_ref().map(|(server, _)| Arc::clone(server));
        self.broker.configure(Settings { directory, group, tls });
        Ok(Listening { handshake, listener, tls: server_tls, services, shutdown })
    }

    /// The highest version that is on offer, else the lowest there is, so that the host can say what is wrong.
    fn negotiate(&self, offered: &[u32]) -> Result<u32, ServeError> {
        let common = self.versions.keys().rev().find(|version| offered.contains(version));
        common.or_else(|| self.versions.keys().next()).copied().ok_or(ServeError::NoVersion)
    }
}

/// Like go-plugin, this leaves out what is no number, and says so.
fn offered(variable: Option<String>) -> Vec<u32> {
    let Some(list) = variable else { return Vec::new() };
    let number = |text: &str| {
        text.parse()
            .inspect_err(|_| eprintln!("PLUGIN_PROTOCOL_VERSIONS has {text:?}, which is no version"))
            .ok()
    };
    list.split(',').filter_map(number).collect()
}

// === impl Listening ===

impl Listening {
    /// What [`Self::announce`] prints.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// Prints the handshake line on standard output.
    ///
    /// # Errors
    ///
    /// When nothing can be written there.
    pub fn announce(&self) -> Result<(), ServeError> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", self.handshake)
            .and_then(|()| stdout.flush())
            .map_err(|source| ServeError::Process { what: "standard output", source })
    }

    /// Serves until a host calls `Shutdown`. All connections are then closed at once, so that the answer to that
    /// call may not arrive. The same happens when the future is dropped, after which it may be called again.
    pub async fn serve(&mut self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.accept() => {
                    connections.spawn(accepted.serve());
                }
                Some(_) = connections.join_next() => (),
                () = self.shutdown.notified() => return,
            }
        }
    }

    /// The next connection of a host, for who wants to do something else with it than [`serve`](Self::serve) it.
    pub async fn accept(&self) -> Accepted {
        loop {
            match self.listener.accept().await {
                Ok(connection) => {
                    let arrived = Arrived { connection, tls: self.tls.clone() };
                    return Accepted { arrived, services: self.services.clone() };
                }
                Err(error) => {
                    debug!(%error, "no connection accepted");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves them on it until it ends, if it is the host's.
async fn serve_connection(arrived: Arrived, services: Routes) {
    let Some(stream) = arrived.secured().await else { return };
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(services))
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection ended");
    }
}

// === impl Accepted ===

impl Accepted {
    /// Serves the plugin on it until it ends.
    pub async fn serve(self) {
        serve_connection(self.arrived, self.services).await;
    }

    /// What the host says on it, once it proved with AutoMTLS who it is. `None` if it did not.
    pub async fn secured(self) -> Option<PluginStream> {
        self.arrived.secured().await
    }
}

// === impl Arrived ===

impl Arrived {
    /// The connection, once the host proved with AutoMTLS who it is. `None` if it did not.
    pub async fn secured(self) -> Option<PluginStream> {
        let secured = self.connection.secured(self.tls, TLS_LIMIT).await;
        secured.inspect_err(|error| debug!(error = error as &dyn error::Error, "a client was refused")).ok()
    }
}

#[cfg(test)]
mod tests;
