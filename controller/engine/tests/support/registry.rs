//! A registry on the loopback of an engine: Debian's `docker-registry`, without TLS, which engines take from there alone.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(60);

/// A registry. Dropping it ends it.
pub(crate) struct Registry {
    pub(crate) address: String,
    child: Child,
    _directory: TempDir,
}

impl Registry {
    /// Starts one for the engine at a socket. `None`, which is said, where there is no `docker-registry`.
    pub(crate) async fn start_for(socket: &Path) -> Option<Self> {
        if Command::new("docker-registry").arg("--version").output().is_err() {
            assert!(
                std::env::var("PLUGWARD_REQUIRE_ALL").is_err(),
                "docker-registry is not installed, and PLUGWARD_REQUIRE_ALL makes that a failure"
            );
            eprintln!("SKIPPED: no image was pulled. docker-registry is not installed");
            return None;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{port}");
        let config = directory.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: \"{address}\" }}\n",
            directory.path().join("data").display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("nsenter")
            .arg(format!("--net={}", network_of(socket).await))
            .args(["docker-registry", "serve"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { address, child, _directory: directory };
        let deadline = Instant::now() + LIMIT;
        while !registry.listens(port) {
            assert!(Instant::now() < deadline, "docker-registry does not start");
            sleep(Duration::from_millis(20)).await;
        }
        Some(registry)
    }

    /// Whether it does. A connection would show that in our own network only.
    fn listens(&self, port: u16) -> bool {
        const LISTENS: &str = "0A";
        let address = format!("{:08X}:{port:04X}", u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets()));
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", self.child.id())).unwrap_or_default();
        sockets.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(1) == Some(&address.as_str()) && fields.get(3) == Some(&LISTENS)
        })
    }
}

/// The network of the engine at a socket: that of a rootless one is its own, and so is its loopback.
async fn network_of(socket: &Path) -> String {
    let credentials = UnixStream::connect(socket).await.unwrap().peer_cred().unwrap();
    format!("/proc/{}/ns/net", credentials.pid().unwrap())
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
