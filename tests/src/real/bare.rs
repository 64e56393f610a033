//! A plugin as a process of the test's, without TLS and without a gateway: hosts reattach to it directly.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use go_plugin::{Application, Cookie, Handshake, Launch, SocketAddress, read_line};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::LIMIT;

/// A plugin that serves in plaintext. Dropping it kills it.
pub struct BarePlugin {
    child: Child,
    socket: PathBuf,
    version: u32,
    directory: TempDir,
}

/// What a host takes, as `plugward get instance NAME -o reattach` prints it: where each mount's socket is. The process that
/// go-plugin watches is `pid`.
pub fn reattach<'a>(mounts: impl IntoIterator<Item = (&'a str, &'a Path)>, version: u32, pid: u32) -> Value {
    let described = mounts.into_iter().map(|(mount, socket)| {
        let address = json!({ "Network": "unix", "String": socket });
        let description = json!({
            "Protocol": "grpc", "ProtocolVersion": version, "Pid": pid, "Test": true, "Addr": address,
        });
        (mount.to_owned(), description)
    });
    Value::Object(described.collect::<Map<_, _>>())
}

// === impl BarePlugin ===

impl BarePlugin {
    /// Starts one, and waits until it serves one of these versions.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(command: &mut Command, cookie: Cookie, versions: &[u32]) -> Self {
        let directory = TempDir::new().unwrap();
        let launch = Launch {
            cookie,
            protocol_versions: versions.to_vec(),
            socket_directory: directory
                .path()
                .to_str()
                .expect("a temporary directory's name is text")
                .to_owned(),
            socket_group: None,
            client_certificate: None,
            multiplex_broker: false,
        };
        let mut child = command
            .envs(launch.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a plugin that was built can be started");
        let mut stdout = child.stdout.take().expect("it is piped");
        let line = read_line(&mut stdout, LIMIT).await.expect("a plugin says where it serves").line;
        // What comes after it nobody reads, but it must not fill the pipe.
        tokio::spawn(async move { io::copy(&mut stdout, &mut io::sink()).await });
        let handshake = Handshake::parse(&line).unwrap();
        let (version, place) = (handshake.app_version, directory.path());
        assert!(versions.contains(&version), "the plugin serves version {version}");
        let socket = SocketAddress::translate(&handshake.address, place, place).unwrap().path();
        Self { child, socket, version, directory }
    }

    /// Starts a database plugin as Vault does, in one of these versions.
    ///
    /// # Panics
    /// When it does not serve.
    pub async fn database(program: &Path, versions: &[u32]) -> Self {
        Self::vault(program, Application::Database, versions).await
    }

    /// Starts a secrets or auth plugin as Vault does.
    ///
    /// # Panics
    /// When it does not serve.
    pub async fn backend(program: &Path) -> Self {
        Self::vault(program, Application::Backend, Application::Backend.protocol_versions()).await
    }

    async fn vault(program: &Path, application: Application, versions: &[u32]) -> Self {
        let mut command = Command::new(program);
        command.envs(application.environment("1.21.0", false));
        Self::start(&mut command, application.cookie(), versions).await
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("nobody has waited for it")
    }

    /// Where it serves.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The version that it serves.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What a host takes that knows it by these names, all of one socket.
    pub fn reattach(&self, mounts: &[&str]) -> Value {
        reattach(mounts.iter().map(|mount| (*mount, self.socket.as_path())), self.version, self.pid())
    }

    /// Lets any user of the machine connect.
    pub fn open_to_all(&self) {
        fs::set_permissions(self.directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&self.socket, Permissions::from_mode(0o666)).unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process's id is not 0");
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(mut self) -> ExitStatus {
        timeout(LIMIT, self.child.wait()).await.expect("the plugin ends").unwrap()
    }
}
