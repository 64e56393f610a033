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
    /// Of a rootless one the user that it runs as, where its address tells: root in its containers is that user.
    pub user: Option<EngineUser>,
    /// Of a rootless one the most bytes of memory that a process of its containers may lock, where its address tells and there is a
    /// limit: its own, for a capability in a user namespace does not lift it.
    pub memlock_limit: Option<u64>,
}

/// The user that an engine runs as, as this machine numbers users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineUser {
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}
