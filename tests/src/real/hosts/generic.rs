//! A host on go-plugin's client, of the example plugin.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::golang::go_program;
use super::{Failure, Host, HostClient, HostOptions, HostProcess, Load, RunningLoad, milliseconds, number};

/// A host on go-plugin's client, of the plugin in `tests/plugins/counter`. Dropping it kills it.
///
/// It connects to a mount when it is first needed there, as with [`Self::connect`], and keeps that client until
/// [`Self::close`].
pub struct GenericHost(Host);

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

    /// Its process, and what it has started.
    pub fn process(&self) -> &HostProcess {
        &self.0.process
    }

    /// Its clients of a mount.
    pub fn client<'a>(&'a self, mount: &'a str) -> HostClient<'a> {
        HostClient::of(&self.0, mount)
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
        RunningLoad::begin(&self.0, load, json!({ "mount": mount })).await
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
