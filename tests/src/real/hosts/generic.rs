//! A host on go-plugin's client, of the example plugin.

use std::collections::BTreeMap;
use std::time::Duration;

use go_plugin::external::tonic::Code;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::golang::go_program;
use super::{Failure, Host, HostOptions, LIMIT};

/// A host on go-plugin's client, of the plugin in `tests/plugins/counter`. Dropping it kills it.
///
/// It connects to a mount when it is first needed there, as with [`Self::connect`], and keeps that client until
/// [`Self::close`].
pub struct GenericHost(Host);

/// Callers that each increment a counter of their own, again and again.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many. Each makes its next call when it has its answer.
    pub callers: usize,
    /// Calls per second of all of them together. `None`: as many as they can.
    pub rate: Option<f64>,
    /// The deadline of each call.
    pub deadline: Duration,
}

/// A load that goes on until it is stopped.
pub struct RunningLoad<'a> {
    host: &'a GenericHost,
    number: u64,
}

/// What became of the calls of a load: of each that has ended, one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that were answered.
    pub answered: u64,
    /// Those that failed, by code.
    pub failed: BTreeMap<i32, FailedCalls>,
    /// Those that had neither an answer nor a failure 5 s after their deadline.
    pub lost: u64,
    /// Answers that show that an earlier call was carried out more than once. They are among the answered ones.
    pub repeated: u64,
    /// The slowest answer, in whole milliseconds.
    pub slowest: Duration,
}

/// Calls that failed with one code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedCalls {
    /// How many.
    pub count: u64,
    /// The first few different messages.
    pub messages: Vec<String>,
}

// === impl GenericHost ===

impl GenericHost {
    /// Starts one, told of these mounts. `None`, which is said, where there is no Go to build it with.
    pub fn start(reattach: &Value, options: &HostOptions) -> Option<Self> {
        let program = go_program("hosts", "./generic")?;
        Some(Self(Host::start(&program, reattach, options)))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Connects to a mount, unless it is connected, and says the negotiated version.
    ///
    /// # Errors
    /// When go-plugin's client finds no plugin there.
    pub async fn connect(&self, mount: &str) -> Result<u32, Failure> {
        let answer = self.0.order("connect", json!({ "mount": mount })).await?;
        Ok(number(&answer["version"]))
    }

    /// Adds to a counter, with a deadline if there is one.
    ///
    /// # Errors
    /// As the call failed.
    pub fn increment(
        &self,
        mount: &str,
        key: &str,
        delta: i64,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<i64, Failure>> + use<> {
        let what = json!({ "mount": mount, "key": key, "delta": delta, "within": milliseconds(deadline) });
        value(self.0.order("increment", what))
    }

    /// Where a counter stands.
    ///
    /// # Errors
    /// As the call failed.
    pub fn get(
        &self,
        mount: &str,
        key: &str,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<i64, Failure>> + use<> {
        let what = json!({ "mount": mount, "key": key, "within": milliseconds(deadline) });
        value(self.0.order("get", what))
    }

    /// go-plugin's health check, which has no deadline, and is content with any answer.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn ping(&self, mount: &str) -> Result<(), Failure> {
        self.0.order("ping", json!({ "mount": mount })).await.map(drop)
    }

    /// What gRPC's health service says of a service: `SERVING`, `NOT_SERVING`.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn health(&self, mount: &str, service: &str, deadline: Duration) -> Result<String, Failure> {
        let what = json!({ "mount": mount, "service": service, "within": milliseconds(Some(deadline)) });
        let answer = self.0.order("health", what).await?;
        Ok(answer["status"].as_str().expect("a status").to_owned())
    }

    /// Begins a load, which goes on until it is stopped.
    ///
    /// # Errors
    /// When there was no connection, and none could be made.
    pub async fn load(&self, mount: &str, load: &Load) -> Result<RunningLoad<'_>, Failure> {
        let what = json!({
            "mount": mount,
            "callers": load.callers,
            "rate": load.rate.unwrap_or_default(),
            "within": milliseconds(Some(load.deadline)),
        });
        let answer = self.0.order("load", what).await?;
        Ok(RunningLoad { host: self, number: number(&answer["load"]) })
    }

    /// Whether go-plugin's client thinks that the plugin has exited. It asks once per second whether the process that it was told
    /// of is there.
    ///
    /// # Errors
    /// When the host knows no such mount.
    pub async fn thinks_exited(&self, mount: &str) -> Result<bool, Failure> {
        let answer = self.0.order("exited", json!({ "mount": mount })).await?;
        Ok(answer["exited"].as_bool().expect("yes or no"))
    }

    /// Waits until go-plugin's client thinks so.
    ///
    /// # Errors
    /// When the host knows no such mount.
    pub async fn until_exited(&self, mount: &str) -> Result<(), Failure> {
        self.0.order("await_exit", json!({ "mount": mount })).await.map(drop)
    }

    /// Does what a host does that has finished with its plugin: `Client.Kill`.
    ///
    /// # Errors
    /// When the host knows no such mount.
    pub async fn kill(&self, mount: &str) -> Result<(), Failure> {
        self.0.order("kill", json!({ "mount": mount })).await.map(drop)
    }

    /// Calls `Shutdown` and closes the connection. The next call to the mount is one of a new client.
    ///
    /// # Errors
    /// When there was no connection, and none could be made.
    pub async fn close(&self, mount: &str) -> Result<(), Failure> {
        self.0.order("close", json!({ "mount": mount })).await.map(drop)
    }
}

async fn value(answer: impl Future<Output = Result<Value, Failure>>) -> Result<i64, Failure> {
    Ok(answer.await?["value"].as_i64().expect("a counter's value"))
}

/// As hosts read limits: 0 is none, and what is less than one is one.
pub(super) fn milliseconds(limit: Option<Duration>) -> u64 {
    limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1))
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    let number = value.as_u64().and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("{value} is no such number"))
}

// === impl RunningLoad ===

impl RunningLoad<'_> {
    /// The counter of one of its callers, from 0.
    pub fn key(&self, caller: usize) -> String {
        format!("load-{}-{}-{caller}", self.host.pid(), self.number)
    }

    /// What became of the calls that have ended.
    pub async fn tally(&self) -> Tally {
        self.order("tally").await
    }

    /// Waits until this many calls were answered.
    ///
    /// # Panics
    /// When they are not.
    pub async fn until_answered(&self, calls: u64) {
        let answered = async { while self.tally().await.answered < calls {} };
        timeout(LIMIT, answered).await.expect("the calls are answered");
    }

    /// Ends it, and says what became of its calls when all that were begun have ended.
    pub async fn stop(self) -> Tally {
        self.order("stop").await
    }

    async fn order(&self, verb: &str) -> Tally {
        let answer = self.host.0.order(verb, json!({ "load": self.number })).await;
        Tally::read(&answer.expect("the load was begun"))
    }
}

// === impl Tally ===

impl Tally {
    fn read(answer: &Value) -> Self {
        let failed = answer["failed"].as_object().expect("by code").iter();
        Self {
            answered: number(&answer["answered"]),
            failed: failed.map(|(code, calls)| (code.parse().unwrap(), FailedCalls::read(calls))).collect(),
            lost: number(&answer["lost"]),
            repeated: number(&answer["repeated"]),
            slowest: Duration::from_millis(number(&answer["slowest"])),
        }
    }

    /// Those that failed with this code.
    pub fn failed_with(&self, code: Code) -> FailedCalls {
        self.failed.get(&(code as i32)).cloned().unwrap_or_default()
    }

    /// How many failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().map(|calls| calls.count).sum()
    }
}

// === impl FailedCalls ===

impl FailedCalls {
    fn read(calls: &Value) -> Self {
        let messages = calls["messages"].as_array().expect("a list").iter();
        Self {
            count: number(&calls["count"]),
            messages: messages.map(|message| message.as_str().expect("a text").to_owned()).collect(),
        }
    }
}
