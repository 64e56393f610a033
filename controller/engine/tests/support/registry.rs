//! A registry on loopback: Debian's `docker-registry`, without TLS, which engines take from loopback alone.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
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
    /// Starts one. `None`, which is said, where there is no `docker-registry`.
    pub(crate) async fn start() -> Option<Self> {
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
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { address, child, _directory: directory };
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(&registry.address).await.is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not start");
            sleep(Duration::from_millis(20)).await;
        }
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
