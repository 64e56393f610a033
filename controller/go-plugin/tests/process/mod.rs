//! A plugin as a subprocess: for the tests here, and for those of the example plugins.
#![allow(dead_code, unreachable_pub, reason = "a module of several tests, of which none needs all of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

use std::{process::Stdio, sync::Arc, time::Duration};

use go_plugin::{
    Cookie, Expected, FirstLine, Handshake, Identity, Launch, Plugin, ReadLineError, SocketAddress, read_line,
};
use tempfile::TempDir;
use tokio::{
    io::{self, AsyncReadExt},
    process::{Child, ChildStderr, Command},
};

/// Long enough for any machine. No test waits for it to pass.
pub const LIMIT: Duration = Duration::from_mins(1);

/// A started process, which may or may not turn out to be a plugin. It is killed when dropped.
pub struct Process {
    pub child: Child,
    pub directory: TempDir,
    pub identity: Option<Identity>,
    expected: Expected,
}

impl Process {
    /// Starts a plugin, with mutual TLS if `automtls`. Its standard error is piped.
    pub fn start(command: &mut Command, cookie: Cookie, automtls: bool) -> Self {
        Self::start_with(command, cookie, automtls, false)
    }

    /// Starts a plugin that has all connections on its one socket, if `multiplex_broker`.
    pub fn start_with(command: &mut Command, cookie: Cookie, automtls: bool, multiplex_broker: bool) -> Self {
        let directory = TempDir::new().unwrap();
        let identity = automtls.then(|| Identity::generate().unwrap());
        let launch = Launch {
            cookie,
            protocol_versions: vec![1],
            socket_directory: directory.path().to_str().unwrap().to_owned(),
            socket_group: None,
            client_certificate: identity.as_ref().map(Identity::certificate_pem),
            multiplex_broker,
        };
        let child = command
            .envs(launch.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let expected = Expected { versions: vec![1], automtls, multiplex_broker };
        Self { child, directory, identity, expected }
    }

    /// The first line of its standard output, the rest of which is thrown away.
    pub async fn line(&mut self) -> Result<FirstLine, ReadLineError> {
        let mut stdout = self.child.stdout.take().unwrap();
        let line = read_line(&mut stdout, LIMIT).await;
        tokio::spawn(async move { io::copy(&mut stdout, &mut io::sink()).await });
        line
    }

    /// Its handshake, which has to be the one that was asked for.
    pub async fn handshake(&mut self) -> Handshake {
        let first = match self.line().await {
            Ok(first) => first,
            Err(error) => panic!("{error}\n{}", self.stderr().await),
        };
        let handshake = Handshake::parse(&first.line).unwrap();
        handshake.check(&self.expected).unwrap();
        handshake
    }

    pub fn address(&self, handshake: &Handshake) -> SocketAddress {
        SocketAddress::translate(&handshake.address, self.directory.path(), self.directory.path()).unwrap()
    }

    /// A connection to it, once it has said where.
    pub async fn connect(&self, handshake: &Handshake) -> Plugin {
        let tls = self.identity.as_ref().map(|identity| {
            let certificate = handshake.server_certificate.as_ref().unwrap();
            Arc::new(identity.client_config(certificate).unwrap())
        });
        let address = self.address(handshake);
        if self.expected.multiplex_broker {
            Plugin::connect_multiplexed(&address, tls, LIMIT).await.unwrap()
        } else {
            Plugin::connect(&address, tls, LIMIT).await.unwrap()
        }
    }

    /// Waits for the handshake and connects.
    pub async fn plugin(&mut self) -> Plugin {
        let handshake = self.handshake().await;
        self.connect(&handshake).await
    }

    /// All that it writes to its standard error, until it ends.
    pub async fn stderr(&mut self) -> String {
        let mut text = Vec::new();
        self.take_stderr().read_to_end(&mut text).await.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    pub fn take_stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    /// Whether its socket directory has nothing left in it.
    pub fn left_nothing(&self) -> bool {
        std::fs::read_dir(self.directory.path()).unwrap().next().is_none()
    }
}
