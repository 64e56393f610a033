//! How a host starts a plugin itself, by a command.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::milliseconds;

/// How a host starts a plugin: what it is told instead of a socket, with [`starts`]. Where nothing else is said it is as it mostly is,
/// with AutoMTLS, in the host's environment, and with a socket for each server of the broker. Vault's and OpenBao's hosts start it by
/// the runner of their SDK, which decides on that itself.
#[derive(Debug, Clone)]
#[must_use]
pub struct Start(Value);

/// What a host takes that is to start the plugins of these mounts.
pub fn starts<'a>(mounts: impl IntoIterator<Item = (&'a str, Start)>) -> Value {
    Value::Object(mounts.into_iter().map(|(mount, start)| (mount.to_owned(), start.0)).collect())
}

// === impl Start ===

impl Start {
    /// By this program with these arguments, for this version of the application's protocol.
    ///
    /// # Panics
    /// When its path is no text.
    pub fn program(program: &Path, arguments: &[&str], version: u32) -> Self {
        let program = program.to_str().expect("the path of a program is text");
        let command: Vec<&str> = [&[program], arguments].concat();
        Self(json!({ "ProtocolVersion": version, "Command": command, "Env": {} }))
    }

    /// With this in its environment, unless the host's own has that name.
    ///
    /// # Panics
    /// When it is no text.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_str().expect("a variable's value is text");
        self.0["Env"][name] = json!(value);
        self
    }

    /// With these in its environment.
    pub fn envs(mut self, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let environment = environment.into_iter().map(|(name, value)| (name, value.into()));
        let known = self.0["Env"].as_object_mut().expect("it was made so");
        known.extend(environment.collect::<Map<_, _>>());
        self
    }

    /// With this cookie, where the plugin is not the one that the host is made for.
    pub fn cookie(self, name: &str, value: &str) -> Self {
        self.with("Cookie", json!([name, value]))
    }

    /// Only if the program has this SHA-256, in hexadecimal.
    pub fn pinned(self, sha256: &str) -> Self {
        self.with("SHA256", json!(sha256))
    }

    /// Without TLS.
    pub fn plaintext(self) -> Self {
        self.with("Plaintext", json!(true))
    }

    /// With servers of the broker on the plugin's own connection.
    pub fn multiplexed(self) -> Self {
        self.with("Multiplex", json!(true))
    }

    /// Without the host's environment.
    pub fn without_environment(self) -> Self {
        self.with("SkipHostEnv", json!(true))
    }

    /// With sockets for this group.
    pub fn group(self, group: &str) -> Self {
        self.with("Group", json!(group))
    }

    /// To end with `CleanupClients`.
    pub fn managed(self) -> Self {
        self.with("Managed", json!(true))
    }

    /// If it says within this time where it serves, instead of go-plugin's minute.
    pub fn within(self, limit: Duration) -> Self {
        self.with("StartWithin", json!(milliseconds(Some(limit))))
    }

    fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }
}
