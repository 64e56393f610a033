//! A real Prometheus on loopback, which scrapes a controller: Debian's package `prometheus`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Output, Stdio};
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::engine::skipped;
use super::ports::free_port;
use super::{LIMIT, http};

/// How often to ask whether it is ready.
const POLL: Duration = Duration::from_millis(25);

/// Other processes, too, look for ports.
const TRIES: usize = 10;

/// How often tests have one scrape.
const OFTEN: Duration = Duration::from_millis(100);

/// A Prometheus that scrapes one address, ten times in a second if nothing else is said. Dropping it kills it.
pub struct Prometheus {
    port: u16,
    child: Child,
    _directory: TempDir,
}

/// A series and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels, the name's among them.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that scrapes this address, and waits until it answers. `None`, which is said, where there is no `prometheus`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn scraping(address: &str) -> Option<Self> {
        Self::scraping_each(address, OFTEN).await
    }

    /// The same, with this time between two scrapes.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn scraping_each(address: &str, interval: Duration) -> Option<Self> {
        if std::process::Command::new("prometheus").arg("--version").output().is_err() {
            skipped("prometheus is not installed (apt-get install prometheus)");
            return None;
        }
        for _ in 0..TRIES {
            if let Some(started) = Self::start_on(free_port(), address, interval).await {
                return Some(started);
            }
        }
        panic!("prometheus did not start on any of {TRIES} ports")
    }

    /// `None` when it ends, as it does where somebody else has taken the port.
    async fn start_on(port: u16, address: &str, interval: Duration) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let config = directory.path().join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global: {{ scrape_interval: {0}ms, scrape_timeout: {0}ms }}\n\
                 scrape_configs:\n- job_name: plugward\n  static_configs: [{{ targets: ['{address}'] }}]\n",
                interval.as_millis()
            ),
        )
        .unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it was just run");
        let mut started = Self { port, child, _directory: directory };
        let deadline = Instant::now() + LIMIT;
        loop {
            if started.child.try_wait().unwrap().is_some() {
                return None;
            }
            if let Some((200, _)) = started.get("/-/ready").await {
                return Some(started);
            }
            assert!(Instant::now() < deadline, "prometheus becomes ready");
            sleep(POLL).await;
        }
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What an expression is now.
    ///
    /// # Panics
    /// When Prometheus does not understand it.
    pub async fn query(&self, expression: &str) -> Vec<Sample> {
        let encoded = expression.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02x}"));
        let (status, body) =
            self.get(&format!("/api/v1/query?query={encoded}")).await.expect("prometheus answers");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{expression}: {body}");
        let sample = |series: &Value| Sample {
            labels: serde_json::from_value(series["metric"].clone()).unwrap(),
            value: series["value"][1].as_str().and_then(|value| value.parse().ok()).expect("a number"),
        };
        body["data"]["result"].as_array().expect("a vector").iter().map(sample).collect()
    }

    async fn get(&self, path: &str) -> Option<(u16, Bytes)> {
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await.ok()?;
        http::request(stream, "GET", path, Bytes::new()).await
    }
}

/// What `promtool check metrics` says of a scrape.
///
/// # Panics
/// When it cannot be run.
pub async fn promtool_check_metrics(scraped: &[u8]) -> Output {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool comes with prometheus");
    promtool.stdin.take().expect("it is piped").write_all(scraped).await.unwrap();
    promtool.wait_with_output().await.unwrap()
}
