//! A host on go-plugin's client, of plugins that call it back.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::golang::go_program;
use super::{
    Failure, Host, HostClient, HostOptions, HostProcess, Load, RunningLoad, milliseconds, number, until,
};

/// The deadline of calls that have none of their own.
const DEADLINE: Duration = Duration::from_mins(2);

/// A host on go-plugin's client, of the plugin in `tests/plugins/go/callback` and of HashiCorp's `plugin-counter`. Dropping it kills
/// it.
///
/// It connects to a mount when it is first needed there, as with [`Self::connect`], and keeps that client, and with it the one stream
/// of its broker and the one of the plugin's output, until [`Self::close`]. The numbers that plugins add to are the host's own.
pub struct CallbackHost(Host);

/// One of those that a plugin keeps apart. What it keeps with the host is apart, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance<'a> {
    mount: &'a str,
    id: &'a str,
}

/// A stream of the plugin's that adds 1 to a number of the host's for each message.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// The number.
    pub key: &'a str,
    /// How many messages are asked for. `None`: without end.
    pub messages: Option<u64>,
    /// How many are waited for until the call is cancelled. `None`: as long as it goes.
    pub take: Option<u64>,
    /// Whether the plugin uses the connection that [`CallbackHost::attach`] made, instead of one of its own.
    pub kept: bool,
}

/// A service of the plugin's that the host has dialled.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened(u64);

/// What plugins of a mount have written to their standard output and standard error, as far as it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Of the one.
    pub stdout: String,
    /// Of the other.
    pub stderr: String,
}

// === impl CallbackHost ===

impl CallbackHost {
    /// Starts one, told of these mounts. `None`, which is said, where there is no Go to build it with.
    pub fn start(reattach: &Value, options: &HostOptions) -> Option<Self> {
        let program = go_program("hosts", "./callback")?;
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

    /// Connects to a mount, unless it is connected, and says whether the plugin multiplexes.
    ///
    /// # Errors
    /// When go-plugin's client finds no plugin there, or it was asked for multiplexing in vain.
    pub async fn connect(&self, mount: &str) -> Result<bool, Failure> {
        let what = json!({ "mount": mount, "within": milliseconds(Some(DEADLINE)) });
        let answer = self.0.order("connect", what).await?;
        Ok(answer["multiplexed"].as_bool().expect("yes or no"))
    }

    /// Has `plugin-counter` add to a number, with two callbacks over a connection of the call's own.
    ///
    /// # Errors
    /// As the call failed.
    pub fn increment(
        &self,
        instance: Instance<'_>,
        key: &str,
        delta: i64,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<i64, Failure>> + use<> {
        self.adding("increment", instance, key, delta, deadline)
    }

    /// Has the plugin add to a number, with one callback over a connection of the call's own.
    ///
    /// # Errors
    /// As the call failed.
    pub fn add(
        &self,
        instance: Instance<'_>,
        key: &str,
        delta: i64,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<i64, Failure>> + use<> {
        self.adding("add", instance, key, delta, deadline)
    }

    /// The same over the connection that the plugin keeps since [`Self::attach`].
    ///
    /// # Errors
    /// As the call failed: `FailedPrecondition` when the plugin keeps none.
    pub fn add_kept(
        &self,
        instance: Instance<'_>,
        key: &str,
        delta: i64,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<i64, Failure>> + use<> {
        self.adding("add_kept", instance, key, delta, deadline)
    }

    fn adding(
        &self,
        verb: &str,
        instance: Instance<'_>,
        key: &str,
        delta: i64,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<i64, Failure>> + use<> {
        let mut what = instance.order();
        what["key"] = json!(key);
        what["delta"] = json!(delta);
        what["within"] = json!(milliseconds(deadline));
        let answer = self.0.order(verb, what);
        async move { Ok(integer(&answer.await?["value"])) }
    }

    /// Has the plugin connect to the host, and keep that: the host serves it until [`Self::detach`], or until another `attach`. The
    /// plugin calls back once for each.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn attach(&self, instance: Instance<'_>) -> Result<(), Failure> {
        self.0.order("attach", instance.order()).await.map(drop)
    }

    /// How often the plugin has attached itself, whoever told it to.
    pub async fn attachments(&self, instance: Instance<'_>) -> i64 {
        self.stored(instance, "attachments").await
    }

    /// Has the plugin end the connection that it keeps.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn detach(&self, instance: Instance<'_>) -> Result<(), Failure> {
        self.0.order("detach", instance.order()).await.map(drop)
    }

    /// What the number was for each message of a stream.
    ///
    /// # Errors
    /// As the stream ended, unless it was taken enough of. What had come before is lost.
    pub fn watch(
        &self,
        instance: Instance<'_>,
        watch: &Watch<'_>,
    ) -> impl Future<Output = Result<Vec<i64>, Failure>> + use<> {
        let mut what = instance.order();
        what["key"] = json!(watch.key);
        what["messages"] = json!(watch.messages.unwrap_or_default());
        what["take"] = json!(watch.take.unwrap_or_default());
        what["kept"] = json!(watch.kept);
        let answer = self.0.order("watch", what);
        async move {
            let answer = answer.await?;
            Ok(answer["values"].as_array().expect("a list").iter().map(integer).collect())
        }
    }

    /// Has the plugin serve an echo over the broker, and dials it.
    ///
    /// # Errors
    /// As the call failed, or go-plugin's broker heard of no such service.
    pub async fn open(&self, instance: Instance<'_>) -> Result<Opened, Failure> {
        let answer = self.0.order("open", instance.order()).await?;
        Ok(Opened(number(&answer["opened"])))
    }

    /// Calls it: the same text, and the number of the call.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn echo(&self, opened: &Opened, text: &str) -> Result<(String, u64), Failure> {
        let what = json!({ "opened": opened.0, "text": text, "within": milliseconds(Some(DEADLINE)) });
        let answer = self.0.order("echo", what).await?;
        Ok((words(&answer["text"]), number(&answer["calls"])))
    }

    /// Has the plugin end it.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn end(&self, opened: &Opened) -> Result<(), Failure> {
        let what = json!({ "opened": opened.0, "within": milliseconds(Some(DEADLINE)) });
        self.0.order("end", what).await.map(drop)
    }

    /// Has the plugin write a line to its standard output, and one to its standard error. What is empty is not written.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn print(&self, instance: Instance<'_>, stdout: &str, stderr: &str) -> Result<(), Failure> {
        let mut what = instance.order();
        what["stdout"] = json!(stdout);
        what["stderr"] = json!(stderr);
        self.0.order("print", what).await.map(drop)
    }

    /// What has come of what plugins of a mount wrote.
    pub async fn output(&self, mount: &str) -> Output {
        let answer = self.0.order("output", json!({ "mount": mount })).await.expect("it is only looked at");
        Output { stdout: words(&answer["stdout"]), stderr: words(&answer["stderr"]) }
    }

    /// Waits until it is this.
    ///
    /// # Panics
    /// When it is not.
    pub async fn until_output(&self, mount: &str, wanted: &Output) {
        let came = until(async || self.output(mount).await == *wanted).await.is_ok();
        assert!(came, "the output is {:?}, not {wanted:?}", self.output(mount).await);
    }

    /// A number that the host keeps for an instance.
    pub async fn stored(&self, instance: Instance<'_>, key: &str) -> i64 {
        let mut what = instance.order();
        what["key"] = json!(key);
        integer(&self.0.order("stored", what).await.expect("it is only looked at")["value"])
    }

    /// Waits until a number is at least this.
    ///
    /// # Panics
    /// When it is not.
    pub async fn until_stored(&self, instance: Instance<'_>, key: &str, least: i64) {
        let stored = until(async || self.stored(instance, key).await >= least).await;
        stored.expect("the plugin calls back");
    }

    /// Begins a load of [`Self::add`].
    ///
    /// # Errors
    /// When there was no connection, and none could be made.
    pub async fn load(&self, instance: Instance<'_>, load: &Load) -> Result<RunningLoad<'_>, Failure> {
        self.loading("add", instance, load).await
    }

    /// Begins a load of [`Self::add_kept`].
    ///
    /// # Errors
    /// When there was no connection, and none could be made.
    pub async fn load_kept(&self, instance: Instance<'_>, load: &Load) -> Result<RunningLoad<'_>, Failure> {
        self.loading("add_kept", instance, load).await
    }

    /// Begins a load of [`Self::increment`].
    ///
    /// # Errors
    /// When there was no connection, and none could be made.
    pub async fn load_increments(
        &self,
        instance: Instance<'_>,
        load: &Load,
    ) -> Result<RunningLoad<'_>, Failure> {
        self.loading("increment", instance, load).await
    }

    async fn loading(
        &self,
        method: &str,
        instance: Instance<'_>,
        load: &Load,
    ) -> Result<RunningLoad<'_>, Failure> {
        let mut what = instance.order();
        what["method"] = json!(method);
        RunningLoad::begin(&self.0, load, what).await
    }

    /// Calls `Shutdown` and closes the connection, with all that goes over its broker. The next call to the mount is one of a new
    /// client.
    ///
    /// # Errors
    /// When there was no connection, and none could be made.
    pub async fn close(&self, mount: &str) -> Result<(), Failure> {
        self.0.order("close", json!({ "mount": mount })).await.map(drop)
    }
}

fn integer(value: &Value) -> i64 {
    value.as_i64().expect("a whole number")
}

fn words(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

// === impl Instance ===

impl<'a> Instance<'a> {
    /// The only one of a plugin that does not multiplex: calls have no `multiplex_id`.
    pub const fn only(mount: &'a str) -> Self {
        Self { mount, id: "" }
    }

    /// One of any number: its calls have this `multiplex_id`.
    pub const fn named(mount: &'a str, id: &'a str) -> Self {
        Self { mount, id }
    }

    fn order(self) -> Value {
        json!({ "mount": self.mount, "instance": self.id, "within": milliseconds(Some(DEADLINE)) })
    }
}
