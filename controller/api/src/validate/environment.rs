//! Rules about environment variables.

use super::{Findings, nul};
use crate::{
    PluginType,
    instance::{Multiplexing, PluginInstanceSpec},
};

/// Variables of go-plugin's protocol, which plugward sets for every plugin.
const PROTOCOL_VARIABLES: [&str; 7] = [
    "PLUGIN_CLIENT_CERT",
    "PLUGIN_MAX_PORT",
    "PLUGIN_MIN_PORT",
    "PLUGIN_MULTIPLEX_GRPC",
    "PLUGIN_PROTOCOL_VERSIONS",
    "PLUGIN_UNIX_SOCKET_DIR",
    "PLUGIN_UNIX_SOCKET_GROUP",
];

/// Variables of Vault's and OpenBao's own protocol, after their prefix, which plugward sets for their plugins. A custom
/// plugin may need one from its operator.
const VAULT_VARIABLES: [&str; 5] = [
    "BACKEND_PLUGIN",
    "DATABASE_PLUGIN",
    "PLUGIN_AUTOMTLS_ENABLED",
    "PLUGIN_METADATA_MODE",
    "PLUGIN_MLOCK_ENABLED",
];

/// Why a variable is not the operator's to set.
pub(super) struct Reserved {
    pub(super) reason: &'static str,
    /// The field that makes it so.
    pub(super) by: Option<&'static str>,
}

pub(super) fn env(spec: &PluginInstanceSpec, findings: &mut Findings) {
    for (name, value) in &spec.env {
        let field = format!("spec.env.{name}");
        if let Some(Reserved { reason, by }) = reserved(name, spec.plugin.plugin_type) {
            findings.add(&field, format!("cannot be set: {reason}")).and_maybe(by).help("remove it");
        } else if spec.handshake.as_ref().is_some_and(|handshake| handshake.cookie_key == *name) {
            findings
                .add(&field, "cannot be set: it is the cookie of the handshake")
                .and("spec.handshake.cookieKey")
                .help("remove it");
        }
        if value.contains('\0') {
            nul(&field, findings);
        }
    }
}

/// Whether plugward sets a variable itself.
pub(super) fn reserved(name: &str, plugin_type: PluginType) -> Option<Reserved> {
    if PROTOCOL_VARIABLES.contains(&name) {
        return Some(Reserved { reason: "plugward sets it, it is part of go-plugin's protocol", by: None });
    }
    let of_vault = name.strip_prefix("VAULT_").or_else(|| name.strip_prefix("BAO_"))?;
    if plugin_type == PluginType::Custom || !VAULT_VARIABLES.contains(&of_vault) {
        return None;
    }
    let reason = match of_vault {
        "PLUGIN_MLOCK_ENABLED" => "plugward sets it as spec.mlock says",
        _ => "plugward sets it for the plugins of Vault and OpenBao",
    };
    Some(Reserved { reason, by: Some("spec.plugin.type") })
}

pub(super) fn pass_env(spec: &PluginInstanceSpec, findings: &mut Findings) {
    let field = "spec.attach.passEnv";
    if !spec.attach.pass_env.is_empty() {
        if spec.multiplexing != Multiplexing::Disabled {
            findings
                .add(field, "sessions that share a container cannot each have an environment")
                .and("spec.multiplexing")
                .help("write multiplexing: Disabled");
        }
        if spec.standby > 0 {
            findings
                .add(
                    field,
                    "a spare container was started before the session whose environment it should have",
                )
                .and("spec.standby")
                .help("write standby: 0");
        }
    }
    for (index, name) in spec.attach.pass_env.iter().enumerate() {
        if let Some(Reserved { reason, by }) = reserved(name, spec.plugin.plugin_type) {
            findings
                .add(&format!("{field}[{index}]"), format!("{name:?} cannot be passed: {reason}"))
                .and_maybe(by)
                .help("remove it");
        }
    }
}
