//! How a plugin and its host recognise each other, and how their connections are made.

use go_plugin::{Application, BrokerMultiplexing as Told, Cookie, CookieError, Handshake};
use plugward_api::instance::BrokerMultiplexing;
use plugward_api::{PluginInstanceSpec, PluginRuntimeSpec, PluginType};
use serde::{Deserialize, Serialize};

/// How a plugin and its host recognise each other.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// A Vault or OpenBao database plugin.
    Database,
    /// A Vault or OpenBao secrets engine or auth method.
    Backend,
    /// The host application's own.
    #[serde(rename_all = "camelCase")]
    Custom {
        /// The magic cookie's variable.
        cookie_key: String,
        /// The magic cookie.
        cookie_value: String,
        /// The application protocol versions that the host speaks.
        versions: Vec<u32>,
    },
}

/// How the connections of a plugin's broker are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BrokerMode {
    /// Each server has a socket.
    #[default]
    Sockets,
    /// All share the plugin's one connection, if the plugin can do that.
    PreferShared,
    /// All share it, and a plugin that cannot do that is refused.
    Shared,
}

/// The version of Vault that plugins of its kinds are told: the one whose protocol is spoken here.
const VAULT_VERSION: &str = "1.21.0";

/// The OCI runtime in whose sandboxes plugins can rarely connect to sockets of ours: gVisor, which has to be told to let them.
const GVISOR: &str = "runsc";

// === impl BrokerMode ===

impl BrokerMode {
    pub(super) fn of(instance: &PluginInstanceSpec, runtime: &PluginRuntimeSpec) -> Self {
        let backend = matches!(instance.plugin.plugin_type, PluginType::Auth | PluginType::Secret);
        match instance.broker_multiplexing {
            BrokerMultiplexing::Enabled => Self::Shared,
            // Only of these it is known that they never offer their host a server, which a shared connection does not allow.
            BrokerMultiplexing::Auto if backend && runtime.oci_runtime.as_ref() == GVISOR => {
                Self::PreferShared
            }
            BrokerMultiplexing::Auto | BrokerMultiplexing::Disabled => Self::Sockets,
        }
    }

    /// Whether a plugin is asked to share its connection.
    pub fn asks(self) -> bool {
        self != Self::Sockets
    }

    /// Whether a plugin that gave this handshake shares its connection.
    pub fn is_shared(self, handshake: &Handshake) -> bool {
        self.asks() && handshake.broker_multiplexing == Told::Supported
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Protocol ===

impl Protocol {
    /// As a record declares it.
    pub fn of(instance: &PluginInstanceSpec) -> Self {
        match (instance.plugin.plugin_type, &instance.handshake) {
            (PluginType::Database, _) => Self::Database,
            (PluginType::Auth | PluginType::Secret, _) => Self::Backend,
            (PluginType::Custom, Some(handshake)) => Self::Custom {
                cookie_key: handshake.cookie_key.to_string(),
                cookie_value: handshake.cookie_value.as_str().to_owned(),
                versions: handshake.protocol_versions.clone(),
            },
            // Validation requires the handshake of a custom plugin. Without one no cookie can match.
            (PluginType::Custom, None) => {
                Self::Custom { cookie_key: String::new(), cookie_value: String::new(), versions: Vec::new() }
            }
        }
    }

    /// The magic cookie.
    ///
    /// # Errors
    /// When a custom one is such that no plugin could be started with it.
    pub fn cookie(&self) -> Result<Cookie, CookieError> {
        match self {
            Self::Database => Ok(Application::Database.cookie()),
            Self::Backend => Ok(Application::Backend.cookie()),
            Self::Custom { cookie_key, cookie_value, .. } => Cookie::new(cookie_key, cookie_value),
        }
    }

    /// The application protocol versions to offer.
    pub fn versions(&self) -> &[u32] {
        match self {
            Self::Database => Application::Database.protocol_versions(),
            Self::Backend => Application::Backend.protocol_versions(),
            Self::Custom { versions, .. } => versions,
        }
    }

    /// What plugins of Vault's kinds want to find in their environment besides, with which they are told whether to lock their memory.
    pub fn environment(&self, mlock: bool) -> Vec<(String, String)> {
        match self {
            Self::Database => Application::Database.environment(VAULT_VERSION, mlock),
            Self::Backend => Application::Backend.environment(VAULT_VERSION, mlock),
            Self::Custom { .. } => Vec::new(),
        }
    }
}
