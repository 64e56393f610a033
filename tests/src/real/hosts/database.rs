//! A host on Vault's client for database plugins.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, Host, HostClient, HostOptions, HostProcess, Load, RunningLoad, Sdk, milliseconds};

/// The deadline of calls that have none of their own: long, as Vault gives them none at all.
const DEADLINE: Duration = Duration::from_mins(2);

/// A host on Vault's client for database plugins. Dropping it kills it.
///
/// Its connections are Vault's to databases: several may be on one mount, which they share one client for. To a plugin that
/// multiplexes each sends a `multiplex_id` of its own.
pub struct DatabaseHost(Host);

/// A user that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewUser<'a> {
    /// Its password.
    pub password: &'a str,
    /// What the database is told about it.
    pub statements: &'a [&'a str],
    /// The call's deadline.
    pub deadline: Duration,
}

// === impl DatabaseHost ===

impl DatabaseHost {
    /// Starts one, told of these mounts. `None`, which is said, where there is no Go to build it with.
    pub fn start(reattach: &Value, options: &HostOptions) -> Option<Self> {
        Self::with(Sdk::Vault, reattach, options)
    }

    /// The same, made with this SDK.
    pub fn with(sdk: Sdk, reattach: &Value, options: &HostOptions) -> Option<Self> {
        let program = sdk.program("./database")?;
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

    /// Opens a connection on a mount, and says whether the plugin multiplexes.
    ///
    /// # Errors
    /// When go-plugin's client finds no plugin there, or it was asked for multiplexing in vain.
    pub async fn open(&self, connection: &str, mount: &str) -> Result<bool, Failure> {
        let what = json!({ "connection": connection, "mount": mount });
        let answer = self.0.order("open", what).await?;
        Ok(answer["multiplexed"].as_bool().expect("yes or no"))
    }

    /// Configures a connection, without having the plugin try it, and says the configuration that Vault would keep.
    ///
    /// # Errors
    /// As the call failed.
    pub fn initialize(
        &self,
        connection: &str,
        config: &Value,
    ) -> impl Future<Output = Result<Value, Failure>> + use<> {
        self.configure(connection, config, false)
    }

    /// The same, where the plugin must connect to its database.
    ///
    /// # Errors
    /// As the call failed.
    pub fn initialize_and_verify(
        &self,
        connection: &str,
        config: &Value,
    ) -> impl Future<Output = Result<Value, Failure>> + use<> {
        self.configure(connection, config, true)
    }

    fn configure(
        &self,
        connection: &str,
        config: &Value,
        verify: bool,
    ) -> impl Future<Output = Result<Value, Failure>> + use<> {
        let what =
            json!({ "connection": connection, "config": config, "verify": verify, "within": within() });
        let answer = self.0.order("initialize", what);
        async move { Ok(answer.await?["config"].take()) }
    }

    /// Makes a user, and says its name.
    ///
    /// # Errors
    /// As the call failed.
    pub fn new_user(
        &self,
        connection: &str,
        user: &NewUser<'_>,
    ) -> impl Future<Output = Result<String, Failure>> + use<> {
        let what = json!({
            "connection": connection,
            "display": "token",
            "role": "reader",
            "password": user.password,
            "statements": user.statements,
            "within": milliseconds(Some(user.deadline)),
        });
        let answer = self.0.order("new_user", what);
        async move { Ok(answer.await?["username"].as_str().expect("a name").to_owned()) }
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn update_user(&self, connection: &str, username: &str, password: &str) -> Result<(), Failure> {
        let what = json!({
            "connection": connection, "username": username, "password": password, "within": within(),
        });
        self.0.order("update_user", what).await.map(drop)
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn delete_user(&self, connection: &str, username: &str) -> Result<(), Failure> {
        let what = json!({ "connection": connection, "username": username, "within": within() });
        self.0.order("delete_user", what).await.map(drop)
    }

    /// Begins a load of users that are made and deleted. Both are one call.
    ///
    /// # Errors
    /// When the connection was never opened.
    pub async fn load(
        &self,
        connection: &str,
        user: &NewUser<'_>,
        load: &Load,
    ) -> Result<RunningLoad<'_>, Failure> {
        let what = json!({
            "connection": connection, "role": "reader", "password": user.password, "statements": user.statements,
        });
        RunningLoad::begin(&self.0, load, what).await
    }

    /// What kind of database it is. The SDK gives the call a second.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn kind(&self, connection: &str) -> Result<String, Failure> {
        let answer = self.0.order("type", json!({ "connection": connection })).await?;
        Ok(answer["type"].as_str().expect("a name").to_owned())
    }

    /// Has the plugin close the connection. The SDK gives the call a second.
    ///
    /// # Errors
    /// As the call failed. The connection is then still there.
    pub async fn close(&self, connection: &str) -> Result<(), Failure> {
        self.0.order("close", json!({ "connection": connection })).await.map(drop)
    }

    /// Calls `Shutdown` and closes the client of a mount. Connections on it fail from then on; new ones are of a new client.
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

// === impl NewUser ===

impl Default for NewUser<'_> {
    fn default() -> Self {
        Self { password: "a password", statements: &[], deadline: DEADLINE }
    }
}
