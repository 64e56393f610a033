//! Manifests of the simulation's instances.

use std::time::Duration;

use plugward_api::instance::Multiplexing;

use super::circumstances::{Circumstances, Priming};
use super::plugin::{Callbacks, INITIALIZE};

/// The image of plugins that behave, most of the time.
pub const IMAGE: &str = "example/plugin:1";

/// The image of a plugin that never does.
pub const HOSTILE_IMAGE: &str = "example/hostile:1";

/// A value that must turn up nowhere but in manifests, state and containers.
pub const SECRET: &str = "s3cret-value-of-the-simulation";

/// `restart.maxBackoff` of every instance.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(20);

/// The names of mounts. Who has one mount has the first, and so on.
pub const MOUNTS: [&str; 3] = ["m", "n", "o"];

/// What changes about an instance while it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// An environment variable: another one is an edit that replaces the containers.
    pub variant: u32,
    /// How many mounts it has.
    pub mounts: usize,
    /// Whether they share a container, if they can.
    pub multiplexing: Multiplexing,
}

// === impl Declared ===

impl Default for Declared {
    fn default() -> Self {
        Self { variant: 0, mounts: 1, multiplexing: Multiplexing::Auto }
    }
}

impl Declared {
    /// The names of its mounts.
    pub fn mounts(&self) -> &'static [&'static str] {
        &MOUNTS[..self.mounts]
    }
}

/// The manifest of an instance.
pub fn instance(name: &str, declared: &Declared, image: &str, circumstances: &Circumstances) -> String {
    let (repository, tag) = image.split_once(':').unwrap_or((image, "latest"));
    let Declared { variant, multiplexing, .. } = declared;
    let Circumstances { strategy, activation, hold, priming, callbacks, pull_policy, .. } = circumstances;
    let mounts: Vec<String> = declared.mounts().iter().map(|mount| format!("{{ name: {mount} }}")).collect();
    // What primes a backend is known.
    let is_backend = *callbacks == Callbacks::Kept;
    let (plugin_type, handshake) = if is_backend {
        ("secret", "")
    } else {
        ("custom", "handshake: { cookieKey: SIMULATED, cookieValue: plugin, protocolVersions: [1] }")
    };
    let priming = if *priming == Priming::None || is_backend {
        String::new()
    } else {
        format!("priming: [{{ method: {INITIALIZE} }}]")
    };
    format!(
        "apiVersion: plugward.dev/v1alpha1
kind: PluginInstance
metadata: {{ name: {name} }}
spec:
  plugin: {{ type: {plugin_type}, name: simulated, version: v1 }}
  image: {{ repository: {repository}, tag: \"{tag}\", pullPolicy: {pull_policy:?} }}
  runtime: simulated
  env: {{ VARIANT: \"{variant}\", SECRET: {SECRET} }}
  {handshake}
  restart: {{ initialBackoff: 200ms, maxBackoff: 20s, resetAfter: 10m }}
  startTimeout: 10s
  activation: {{ mode: {activation:?}, idleTimeout: 4s }}
  multiplexing: {multiplexing:?}
  hold: {{ timeout: {hold}ms }}
  {priming}
  update: {{ strategy: {strategy:?}, drainTimeout: 5s }}
  mounts: [{mounts}]
  attach: {{ enabled: true }}
",
        hold = hold.as_millis(),
        mounts = mounts.join(", "),
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
