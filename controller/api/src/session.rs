//! Sessions of hosts that start their plugins themselves, as the controller tells of them.
//!
//! A session is nothing that anybody declares: it is there from the moment that a host starts the launcher until one of them,
//! or the session's record, goes. It has the shape of Kubernetes' objects, so that it is shown as records are.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::{API_VERSION, Name};

/// A host that uses an instance through the launcher.
///
/// Serialized with `apiVersion` and `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PluginSession {
    /// What it is called, and since when it is there.
    pub metadata: SessionMetadata,
    /// What the host asked for.
    pub spec: SessionSpec,
    /// How it stands.
    pub status: SessionStatus,
}

/// What a session is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionMetadata {
    /// Its ID: no other session of this cluster has it, or will have it.
    pub name: Name,
    /// When the launcher connected. A session that is resumed keeps it.
    pub creation_timestamp: Timestamp,
}

/// What the host of a session asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSpec {
    /// The instance that it named.
    pub instance: Name,
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// Where it is in its life, in one word.
    pub phase: SessionPhase,
    /// What it uses. Not known before the plugin was asked whether it multiplexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SessionKind>,
    /// The slot whose container serves it: `shared` or `session-ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The name of the user that the launcher runs as, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its number.
    pub uid: u32,
    /// The launcher's process, as the controller sees it; 0 where it cannot.
    pub pid: u32,
    /// The version of the application's protocol that the host and the plugin agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<u32>,
    /// Whether the host talks TLS. It decides that: go-plugin's `AutoMTLS`.
    pub tls: bool,
    /// Whether the host's broker shares the session's one connection.
    pub broker_multiplexing: bool,
    /// When the host was given its handshake line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_at: Option<Timestamp>,
    /// Requests of the host that ended, since it attached or was resumed by this controller.
    pub requests: u64,
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionPhase {
    /// The host waits for its handshake line.
    Starting,
    /// The host uses the plugin.
    Attached,
    /// The launcher came back to a new controller, which makes the session whole again.
    Resuming,
    /// Nothing new is taken, and what is under way has a while to end.
    Ending,
}

/// What a session uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionKind {
    /// The container that all sessions and mounts of a multiplexing plugin use.
    Shared,
    /// A container of its own.
    Own,
    /// The plugin, to be asked what it is, and no more: Vault's and OpenBao's metadata mode.
    Metadata,
}

// === impl PluginSession ===

impl PluginSession {
    /// The kind, as it is written in objects.
    pub const KIND: &'static str = "PluginSession";
}

impl Serialize for PluginSession {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Written<'a> {
            api_version: &'static str,
            kind: &'static str,
            metadata: &'a SessionMetadata,
            spec: &'a SessionSpec,
            status: &'a SessionStatus,
        }
        let Self { metadata, spec, status } = self;
        Written { api_version: API_VERSION, kind: Self::KIND, metadata, spec, status }.serialize(serializer)
    }
}

// === impl SessionKind ===

impl SessionKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shared, Self::Own, Self::Metadata];

    /// As it is written in objects.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "Shared",
            Self::Own => "Own",
            Self::Metadata => "Metadata",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn starting() -> PluginSession {
        PluginSession {
            metadata: SessionMetadata {
                name: "k3x9q2ab".parse().unwrap(),
                creation_timestamp: "2026-11-27T10:00:00Z".parse().unwrap(),
            },
            spec: SessionSpec { instance: "orders".parse().unwrap() },
            status: SessionStatus {
                phase: SessionPhase::Starting,
                kind: None,
                slot: None,
                user: None,
                uid: 998,
                pid: 4711,
                protocol_version: None,
                tls: true,
                broker_multiplexing: false,
                attached_at: None,
                requests: 0,
            },
        }
    }

    #[test]
    fn a_session_has_the_shape_of_an_object_and_leaves_out_what_is_not_known_yet() {
        let object = json!(starting());
        assert_eq!(
            object,
            json!({
                "apiVersion": "plugward.dev/v1alpha1",
                "kind": "PluginSession",
                "metadata": { "name": "k3x9q2ab", "creationTimestamp": "2026-11-27T10:00:00Z" },
                "spec": { "instance": "orders" },
                "status": {
                    "phase": "Starting", "uid": 998, "pid": 4711, "tls": true, "brokerMultiplexing": false, "requests": 0,
                },
            })
        );
        assert_eq!(serde_json::from_value::<PluginSession>(object).unwrap(), starting());
    }

    #[test]
    fn a_kind_is_written_as_it_is_called() {
        for kind in SessionKind::ALL {
            assert_eq!(json!(kind), kind.as_str());
        }
    }
}
