//! A real Redis on loopback, for plugins that manage its users: Debian's package `redis-server`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::LIMIT;
use super::engine::skipped;
use super::ports::free_port;

/// Other processes, too, look for ports.
const TRIES: usize = 10;

/// What Redis says when it can be connected to.
const READY: &str = "Ready to accept connections";

/// A Redis without persistence. Dropping it kills it.
pub struct RedisServer {
    port: u16,
    child: Child,
    _directory: TempDir,
}

/// A Redis that was stopped, and can be started where it was. Its users are gone.
pub struct StoppedRedis {
    port: u16,
}

/// A password that is only ever good for servers of tests, which are on loopback for seconds.
const PASSWORD: &str = "the root of all redis";

// === impl RedisServer ===

impl RedisServer {
    /// Starts one on a free port of 127.0.0.1, and waits until it can be connected to. `None`, which is said, where there is no
    /// `redis-server`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Option<Self> {
        if std::process::Command::new("redis-server").arg("--version").output().is_err() {
            skipped("redis-server is not installed (apt-get install redis-server)");
            return None;
        }
        for _ in 0..TRIES {
            if let Some(started) = Self::start_on(free_port()).await {
                return Some(started);
            }
        }
        panic!("redis-server did not start on any of {TRIES} ports")
    }

    /// `None` when it ends, as it does where somebody else has taken the port.
    async fn start_on(port: u16) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mut child = Command::new("redis-server")
            .arg("-")
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it was just run");
        // Not by arguments, which every user of the machine can read.
        let config =
            format!("bind 127.0.0.1\nport {port}\nrequirepass \"{PASSWORD}\"\nsave \"\"\nappendonly no\n");
        child.stdin.take().expect("it is piped").write_all(config.as_bytes()).await.unwrap();

        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(READY) {
                    return true;
                }
            }
            false
        };
        if !timeout(LIMIT, ready).await.expect("redis-server starts or ends") {
            return None;
        }
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { port, child, _directory: directory })
    }

    /// Kills it, and waits until it has ended.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop(mut self) -> StoppedRedis {
        timeout(LIMIT, self.child.kill()).await.expect("redis-server ends").unwrap();
        StoppedRedis { port: self.port }
    }

    /// The configuration that Vault's redis plugin connects with.
    pub fn config(&self) -> Value {
        json!({
            "host": "127.0.0.1",
            "port": self.port,
            "username": "default",
            "password": PASSWORD,
            "tls": false,
        })
    }

    /// Whether a user can log in.
    ///
    /// # Panics
    /// When the server cannot be spoken to.
    pub async fn lets_in(&self, username: &str, password: &str) -> bool {
        let mut connection =
            TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await.unwrap();
        connection.write_all(&command(&["AUTH", username, password])).await.unwrap();
        connection.write_all(&command(&["QUIT"])).await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, connection.read_to_string(&mut answer)).await.expect("Redis answers").unwrap();
        match answer.lines().next() {
            Some("+OK") => true,
            Some(refused) if refused.starts_with("-WRONGPASS") => false,
            other => panic!("Redis answered AUTH with {other:?}"),
        }
    }
}

// === impl StoppedRedis ===

impl StoppedRedis {
    /// Starts it again.
    ///
    /// # Panics
    /// When it does not start: somebody else may have taken its port.
    pub async fn start(self) -> RedisServer {
        let started = RedisServer::start_on(self.port).await;
        started.unwrap_or_else(|| panic!("redis-server did not start on port {} again", self.port))
    }
}

/// As Redis reads them: an array of strings, each with its length.
fn command(words: &[&str]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| [format!("${}\r\n", word.len()), format!("{word}\r\n")]);
    let mut command = vec![format!("*{}\r\n", words.clone().count() / 2)];
    command.extend(words);
    command.concat().into_bytes()
}
