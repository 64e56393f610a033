//! Manifests, made of parts.

use plugward_api::API_VERSION;
use serde_json::{Value, json};

/// The example plugin.
pub const COUNTER: &str = "plugward.example/counter:0.1.0";

/// The plugin that misbehaves as its arguments say.
pub const HOSTILE: &str = "plugward.test/hostile:0.1.0";

/// A plugin made with go-plugin, in Go.
pub const GO_COUNTER: &str = "plugward.test/plugin-counter:0.5.0";

/// The same, run by a user who is not root.
pub const GO_COUNTER_NONROOT: &str = "plugward.test/plugin-counter-nonroot:0.5.0";

/// That, with a program that may lock its memory: its file has the capability `IPC_LOCK`.
pub const GO_COUNTER_MLOCK: &str = "plugward.test/plugin-counter-mlock:0.5.0";

/// A database plugin that multiplexes, `tests/plugins/database`.
pub const DATABASE: &str = "plugward.test/database:0.1.0";

/// Vault's database plugin for Redis, which does not multiplex.
pub const REDIS: &str = "plugward.test/vault-plugin-database-redis:0.7.0";

/// Vault's database plugin for Couchbase, which multiplexes.
pub const COUCHBASE: &str = "plugward.test/vault-plugin-database-couchbase:0.15.0";

/// A plugin that calls its host back, `tests/plugins/go/callback`.
pub const CALLBACK: &str = "plugward.test/callback:0.1.0";

/// Vault's secrets plugin for keys and values, which multiplexes.
pub const KV: &str = "plugward.test/vault-plugin-secrets-kv:0.25.0";

/// Vault's auth plugin for JWTs, which multiplexes.
pub const JWT: &str = "plugward.test/vault-plugin-auth-jwt:0.26.1";

/// A record to be written into a manifest.
#[derive(Debug, Clone)]
pub struct Manifest(Value);

/// A runtime named `runc`, of that OCI runtime on the engine at `host`, without network.
pub fn runtime(host: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": API_VERSION,
        "kind": "PluginRuntime",
        "metadata": { "name": "runc" },
        "spec": { "ociRuntime": "runc", "engine": { "host": host }, "network": "none" },
    }))
}

/// An instance of the example plugin. Its restarts back off from 200 ms.
pub fn counter(name: &str) -> Manifest {
    instance(name, COUNTER, "COUNTER_PLUGIN", "counter")
}

/// An instance of the plugin that misbehaves.
pub fn hostile(name: &str, args: &[&str]) -> Manifest {
    instance(name, HOSTILE, "HOSTILE_PLUGIN", "hostile").with("/spec/args", json!(args))
}

/// An instance of the plugin in Go.
pub fn go_counter(name: &str) -> Manifest {
    go_counter_of(name, GO_COUNTER)
}

/// An instance of the plugin in Go, from another image of it.
pub fn go_counter_of(name: &str, image: &str) -> Manifest {
    instance(name, image, "BASIC_PLUGIN", "hello")
}

/// An instance of the plugin that calls its host back. It multiplexes with the argument `-multiplex`.
pub fn callback(name: &str) -> Manifest {
    instance(name, CALLBACK, "CALLBACK_PLUGIN", "callback")
}

/// An instance of the database plugin that multiplexes.
pub fn database(name: &str) -> Manifest {
    vault(name, DATABASE, "database")
}

/// An instance of Vault's database plugin for Redis.
pub fn redis(name: &str) -> Manifest {
    vault(name, REDIS, "database")
}

/// An instance of Vault's database plugin for Couchbase.
pub fn couchbase(name: &str) -> Manifest {
    vault(name, COUCHBASE, "database")
}

/// An instance of Vault's secrets plugin for keys and values.
pub fn kv(name: &str) -> Manifest {
    vault(name, KV, "secret")
}

/// An instance of Vault's auth plugin for JWTs.
pub fn jwt(name: &str) -> Manifest {
    vault(name, JWT, "auth")
}

/// What recognises a plugin of this type is known.
fn vault(name: &str, image: &str, kind: &str) -> Manifest {
    let mut manifest = instance(name, image, "", "").with("/spec/plugin/type", json!(kind));
    if let Some(spec) = manifest.0["spec"].as_object_mut() {
        spec.remove("handshake");
    }
    manifest
}

fn instance(name: &str, image: &str, cookie_key: &str, cookie_value: &str) -> Manifest {
    let (repository, tag) = image.split_once(':').expect("a constant");
    Manifest(json!({
        "apiVersion": API_VERSION,
        "kind": "PluginInstance",
        "metadata": { "name": name },
        "spec": {
            "plugin": { "type": "custom", "name": "plugin", "version": format!("v{tag}") },
            "image": { "repository": repository, "tag": tag },
            "runtime": "runc",
            "handshake": { "cookieKey": cookie_key, "cookieValue": cookie_value, "protocolVersions": [1] },
            "mounts": [{ "name": name }],
        },
    }))
}

// === impl Manifest ===

impl Manifest {
    /// The same, with the field at a JSON pointer set. What is missing on the way to it is made.
    ///
    /// # Panics
    /// When the way leads through something that is no object.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self.0;
        for part in pointer.split('/').skip(1) {
            if place.is_null() {
                *place = json!({});
            }
            place = &mut place[part];
        }
        *place = value;
        self
    }

    /// The same with these mounts.
    #[must_use]
    pub fn serving(self, mounts: &[&str]) -> Self {
        let mounts: Vec<Value> = mounts.iter().map(|mount| json!({ "name": mount })).collect();
        self.with("/spec/mounts", json!(mounts))
    }

    /// The same for hosts of these users that start the launcher, and for none else.
    #[must_use]
    pub fn attachable(self, users: &[&str]) -> Self {
        self.serving(&[]).with("/spec/attach", json!({ "enabled": true, "users": users }))
    }

    /// The same under another name of the runtime.
    #[must_use]
    pub fn named_by_runtime(self, runtime: &str) -> Self {
        let pointer = if self.0["kind"] == "PluginRuntime" { "/metadata/name" } else { "/spec/runtime" };
        self.with(pointer, json!(runtime))
    }

    /// The same on an OCI runtime, and named for it.
    #[must_use]
    pub fn on(self, oci_runtime: &str) -> Self {
        let kind = self.0["kind"].clone();
        let (name, pointer) = if kind == "PluginRuntime" {
            ("/metadata/name", "/spec/ociRuntime")
        } else {
            ("/spec/runtime", "/spec/runtime")
        };
        self.with(name, json!(oci_runtime)).with(pointer, json!(oci_runtime))
    }

    /// What the record is called.
    ///
    /// # Panics
    /// When it has no name.
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().expect("a record has a name")
    }

    /// As one YAML document: JSON is YAML.
    pub fn document(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("a value is JSON")
    }
}

/// A file of these records.
pub(super) fn file(records: &[Manifest]) -> String {
    records.iter().flat_map(|record| ["---\n".to_owned(), record.document(), "\n".to_owned()]).collect()
}
