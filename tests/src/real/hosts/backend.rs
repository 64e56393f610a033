//! A host on Vault's client for secrets and auth plugins.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, Host, HostClient, HostOptions, HostProcess, Load, RunningLoad, Sdk, milliseconds};

/// The deadline of calls that have none of their own.
const DEADLINE: Duration = Duration::from_mins(2);

/// A host on Vault's client for secrets and auth plugins. Dropping it kills it.
///
/// Its backends are Vault's mounts: several may be on one mount of ours, which they share one client for. Each has a storage of its
/// own, which the plugin calls back for, and sends a `multiplex_id` of its own, which a plugin that does not multiplex gets, too.
pub struct BackendHost(Host);

/// What a plugin says to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Null where it says nothing.
    pub data: Value,
    /// What it wants to be told to the user.
    pub warnings: Vec<String>,
    /// Who has logged in, as Vault's SDK writes it; null for anything else.
    pub auth: Value,
}

// === impl BackendHost ===

impl BackendHost {
    /// Starts one, told of these mounts. `None`, which is said, where there is no Go to build it with.
    pub fn start(reattach: &Value, options: &HostOptions) -> Option<Self> {
        Self::with(Sdk::Vault, reattach, options)
    }

    /// The same, made with this SDK.
    pub fn with(sdk: Sdk, reattach: &Value, options: &HostOptions) -> Option<Self> {
        let program = sdk.program("./backend")?;
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

    /// Makes a client of a backend's own on a mount, and says whether the plugin multiplexes. What the backend stores stays from one
    /// to the next, as when Vault reloads a plugin.
    ///
    /// # Errors
    /// When go-plugin's client finds no plugin there, or it was asked for multiplexing in vain.
    pub async fn open(&self, backend: &str, mount: &str) -> Result<bool, Failure> {
        let what = json!({ "backend": backend, "mount": mount, "within": within() });
        let answer = self.0.order("open", what).await?;
        Ok(answer["multiplexed"].as_bool().expect("yes or no"))
    }

    /// Makes a client of a plugin in metadata mode, which may only be asked what it is, after [`Self::setup`]: servers start a plugin so
    /// when it is registered or mounted.
    ///
    /// # Errors
    /// As with [`Self::open`].
    pub async fn open_for_metadata(&self, backend: &str, mount: &str) -> Result<(), Failure> {
        let what = json!({ "backend": backend, "mount": mount, "metadata": true, "within": within() });
        self.0.order("open", what).await.map(drop)
    }

    /// Lets the plugin at the backend's storage, until [`Self::cleanup`]. Once for each [`Self::open`].
    ///
    /// # Errors
    /// As the call failed.
    pub fn setup(
        &self,
        backend: &str,
        config: &[(&str, &str)],
    ) -> impl Future<Output = Result<(), Failure>> + use<> {
        let config: Value = config.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let what = json!({ "backend": backend, "config": config, "within": within() });
        let answer = self.0.order("setup", what);
        async move { answer.await.map(drop) }
    }

    /// Has the plugin do what it does after setup.
    ///
    /// # Errors
    /// As the call failed.
    pub fn initialize(&self, backend: &str) -> impl Future<Output = Result<(), Failure>> + use<> {
        let answer = self.0.order("initialize", json!({ "backend": backend, "within": within() }));
        async move { answer.await.map(drop) }
    }

    /// All that Vault does with a new mount: [`Self::open`], [`Self::setup`] and [`Self::initialize`].
    ///
    /// # Errors
    /// As one of them failed.
    pub async fn enable(&self, backend: &str, mount: &str, config: &[(&str, &str)]) -> Result<(), Failure> {
        self.open(backend, mount).await?;
        self.setup(backend, config).await?;
        self.initialize(backend).await
    }

    /// What kind of backend it is (`secret`, `auth`), and its version. The SDK takes any failure for `unknown` or none.
    ///
    /// # Errors
    /// When it is not open.
    pub async fn about(&self, backend: &str) -> Result<(String, String), Failure> {
        let answer = self.0.order("about", json!({ "backend": backend })).await?;
        let text = |key: &str| answer[key].as_str().expect("a text").to_owned();
        Ok((text("type"), text("version")))
    }

    /// Creates or updates what is at a path: the plugin is first asked which of the two it is.
    ///
    /// # Errors
    /// As a call failed, or as the plugin says (`Unknown`).
    pub fn write(
        &self,
        backend: &str,
        path: &str,
        data: &Value,
    ) -> impl Future<Output = Result<Response, Failure>> + use<> {
        self.request("write", backend, path, data, DEADLINE)
    }

    /// Reads what is at a path.
    ///
    /// # Errors
    /// As the call failed, or as the plugin says (`Unknown`).
    pub fn read(&self, backend: &str, path: &str) -> impl Future<Output = Result<Response, Failure>> + use<> {
        self.read_within(backend, path, DEADLINE)
    }

    /// The same with this deadline.
    ///
    /// # Errors
    /// As the call failed, or as the plugin says (`Unknown`).
    pub fn read_within(
        &self,
        backend: &str,
        path: &str,
        deadline: Duration,
    ) -> impl Future<Output = Result<Response, Failure>> + use<> {
        self.request("read", backend, path, &Value::Null, deadline)
    }

    /// Deletes what is at a path.
    ///
    /// # Errors
    /// As the call failed, or as the plugin says (`Unknown`).
    pub async fn delete(&self, backend: &str, path: &str) -> Result<(), Failure> {
        self.request("delete", backend, path, &Value::Null, DEADLINE).await.map(drop)
    }

    fn request(
        &self,
        verb: &str,
        backend: &str,
        path: &str,
        data: &Value,
        deadline: Duration,
    ) -> impl Future<Output = Result<Response, Failure>> + use<> {
        let within = milliseconds(Some(deadline));
        let what = json!({ "backend": backend, "path": path, "data": data, "within": within });
        let answer = self.0.order(verb, what);
        async move { Ok(Response::read(answer.await?)) }
    }

    /// The names below a path.
    ///
    /// # Errors
    /// As the call failed, or as the plugin says (`Unknown`).
    pub async fn list(&self, backend: &str, path: &str) -> Result<Vec<String>, Failure> {
        let what = json!({ "backend": backend, "path": path, "within": within() });
        Ok(texts(&self.0.order("list", what).await?["keys"]))
    }

    /// Ends what [`Self::open`] began, on both sides.
    ///
    /// # Errors
    /// As the call failed, or `DeadlineExceeded`: the SDK waits without end for a server that its broker never made.
    pub async fn cleanup(&self, backend: &str) -> Result<(), Failure> {
        let what = json!({ "backend": backend, "within": within() });
        self.0.order("cleanup", what).await.map(drop)
    }

    /// The keys of all that the plugin has put into a backend's storage.
    ///
    /// # Errors
    /// When it was never opened.
    pub async fn keys(&self, backend: &str) -> Result<Vec<String>, Failure> {
        Ok(texts(&self.0.order("keys", json!({ "backend": backend })).await?["keys"]))
    }

    /// Begins a load of writes to a KV backend of version 1, each read back at once. Both are one call.
    ///
    /// # Errors
    /// When the backend was never opened.
    pub async fn load(&self, backend: &str, load: &Load) -> Result<RunningLoad<'_>, Failure> {
        RunningLoad::begin(&self.0, load, json!({ "backend": backend })).await
    }

    /// Calls `Shutdown` and closes the client of a mount. Backends on it fail from then on; new ones are of a new client.
    ///
    /// # Errors
    /// When there was no client, and none could be made.
    pub async fn shutdown(&self, mount: &str) -> Result<(), Failure> {
        self.0.order("shutdown", json!({ "mount": mount })).await.map(drop)
    }
}

fn within() -> u64 {
    milliseconds(Some(DEADLINE))
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().expect("a list").iter();
    texts.map(|text| text.as_str().expect("a text").to_owned()).collect()
}

// === impl Response ===

impl Response {
    fn read(mut answer: Value) -> Self {
        let warnings = if answer["warnings"].is_null() { Vec::new() } else { texts(&answer["warnings"]) };
        Self { data: answer["data"].take(), warnings, auth: answer["auth"].take() }
    }
}
