//! Who an engine is.

use std::sync::Arc;

use jiff::Timestamp;

/// An engine's account of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its identity: two addresses with one ID are one engine.
    pub id: Arc<str>,
    /// Its version, such as `20.10.24`.
    pub version: String,
    /// The API version that we talk with it.
    pub api_version: String,
    /// Its clock when it answered.
    pub time: Timestamp,
    /// The OCI runtimes that it knows, sorted.
    pub oci_runtimes: Vec<String>,
    /// `cgroupfs`, `systemd` or `none`.
    pub cgroup_driver: String,
    /// Whether it runs without root.
    pub rootless: bool,
}
