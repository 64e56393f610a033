//! What every host can do to the clients of a mount.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, Host, number, until};

/// The clients that a host has of a mount, one after the other.
///
/// A host on Vault's or OpenBao's SDK makes those that [`Self::start`] and [`Self::cycles`] are about without it: they are go-plugin's
/// alone. What its connections use is logged here all the same.
#[derive(Clone, Copy)]
pub struct HostClient<'a> {
    host: &'a Host,
    mount: &'a str,
}

/// A plugin that has said where it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartedPlugin {
    /// The process that the host started.
    pub pid: u32,
    /// From the host's wish until it was told.
    pub took: Duration,
    /// The version that was agreed on.
    pub version: u32,
}

/// How a plugin ended that its host has finished with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KilledPlugin {
    /// How long the host had to wait.
    pub took: Duration,
    /// Whether it went by itself when it was told to.
    pub graceful: bool,
    /// How its process ended: `exit status 0`, `signal: killed`. Empty where go-plugin does not know.
    pub ended: String,
}

/// A plugin's life, from when its host started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// Until it said where it serves.
    pub start: Duration,
    /// Of that, what the plugin took: from the start of its process to its first line. What comes before is the host's own certificate.
    pub line: Duration,
    /// Until it had answered the first call.
    pub answer: Duration,
    /// Its end.
    pub killed: KilledPlugin,
    /// What failed first.
    pub failure: Option<String>,
}

// === impl HostClient ===

impl<'a> HostClient<'a> {
    pub(super) fn of(host: &'a Host, mount: &'a str) -> Self {
        Self { host, mount }
    }

    /// Starts the plugin, unless it runs, and waits until it says where it serves: `Client.Start`.
    ///
    /// # Errors
    /// As go-plugin's client fails.
    pub async fn start(self) -> Result<StartedPlugin, Failure> {
        let answer = self.order("start", json!({})).await?;
        let (pid, version) = (number(&answer["pid"]), number(&answer["version"]));
        Ok(StartedPlugin { pid, version, took: duration(&answer["milliseconds"]) })
    }

    /// Does what a host does that has finished with its plugin: `Client.Kill`. The next call is one of a new client, if this one has
    /// started the plugin.
    ///
    /// # Errors
    /// When the host knows no such mount.
    pub async fn kill(self) -> Result<KilledPlugin, Failure> {
        Ok(KilledPlugin::read(&self.order("kill", json!({})).await?))
    }

    /// What go-plugin's clients logged, and what plugins wrote to their standard error.
    pub async fn log(self) -> String {
        let answer = self.order("log", json!({})).await.expect("it is kept");
        answer["text"].as_str().expect("a text").to_owned()
    }

    /// Waits until the log holds this.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn until_logged(self, text: &str) {
        let logged = until(async || self.log().await.contains(text)).await;
        logged.unwrap_or_else(|_| panic!("it was not logged that {text:?}"));
    }

    /// Starts and kills the plugin so often, so many of them at once, each of a client of its own.
    ///
    /// # Errors
    /// When there is nothing to do. What fails in a cycle is in it.
    pub async fn cycles(self, count: usize, together: usize) -> Result<Vec<Cycle>, Failure> {
        let answer = self.order("cycles", json!({ "count": count, "together": together })).await?;
        Ok(answer["cycles"].as_array().expect("a list").iter().map(Cycle::read).collect())
    }

    /// Kills every client of the host that is managed, whosever they are: `CleanupClients`, which is for once.
    ///
    /// # Errors
    /// Never yet.
    pub async fn cleanup_all(self) -> Result<(), Failure> {
        self.order("cleanup_clients", json!({})).await.map(drop)
    }

    async fn order(self, verb: &str, mut what: Value) -> Result<Value, Failure> {
        what["mount"] = json!(self.mount);
        self.host.order(verb, what).await
    }
}

// === impl KilledPlugin, Cycle ===

impl KilledPlugin {
    fn read(answer: &Value) -> Self {
        Self {
            took: duration(&answer["milliseconds"]),
            graceful: answer["graceful"].as_bool().expect("yes or no"),
            ended: answer["ended"].as_str().expect("a text").to_owned(),
        }
    }
}

impl Cycle {
    fn read(cycle: &Value) -> Self {
        Self {
            start: duration(&cycle["start"]),
            line: duration(&cycle["line"]),
            answer: duration(&cycle["answer"]),
            killed: KilledPlugin::read(&cycle["killed"]),
            failure: cycle["failure"].as_str().map(str::to_owned),
        }
    }
}

fn duration(milliseconds: &Value) -> Duration {
    let milliseconds = milliseconds.as_f64().expect("a number");
    Duration::from_secs_f64(milliseconds / 1_000.0)
}
