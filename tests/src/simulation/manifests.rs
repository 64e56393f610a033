//! Manifests of the simulation's instances.

use std::time::Duration;

/// The image of plugins that behave, most of the time.
pub const IMAGE: &str = "example/plugin:1";

/// The image of a plugin that never does.
pub const HOSTILE_IMAGE: &str = "example/hostile:1";

/// A value that must turn up nowhere but in manifests, state and containers.
pub const SECRET: &str = "s3cret-value-of-the-simulation";

/// `restart.maxBackoff` of every instance.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(20);

/// The manifest of an instance. `variant` is an environment variable: another one is an edit that replaces
/// the container.
pub fn instance(name: &str, variant: u32, image: &str) -> String {
    let (repository, tag) = image.split_once(':').unwrap_or((image, "latest"));
    format!(
        "apiVersion: plugward.dev/v1alpha1
kind: PluginInstance
metadata: {{ name: {name} }}
spec:
  plugin: {{ type: custom, name: simulated, version: v1 }}
  image: {{ repository: {repository}, tag: \"{tag}\" }}
  runtime: simulated
  env: {{ VARIANT: \"{variant}\", SECRET: {SECRET} }}
  handshake: {{ cookieKey: SIMULATED, cookieValue: plugin, protocolVersions: [1] }}
  restart: {{ initialBackoff: 200ms, maxBackoff: 20s, resetAfter: 10m }}
  startTimeout: 10s
  mounts: [{{ name: m }}]
"
    )
}

/// The manifest of the runtime that all use.
pub fn runtime(pids: u32) -> String {
    format!(
        "apiVersion: plugward.dev/v1alpha1
kind: PluginRuntime
metadata: {{ name: simulated }}
spec: {{ ociRuntime: runc, network: none, resources: {{ pids: {pids} }} }}
"
    )
}
