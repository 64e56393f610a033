//! Rules about environment variables.

use super::{Findings, nul};
use crate::instance::{Multiplexing, PluginInstanceSpec};

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

/// Variables of Vault's and OpenBao's own protocol, after their prefix, which plugward sets for their plugins.
const VAULT_VARIABLES: [&str; 6] = [
    "BACKEND_PLUGIN",
    "DATABASE_PLUGIN",
    "PLUGIN_AUTOMTLS_ENABLED",
    "PLUGIN_METADATA_MODE",
    "PLUGIN_MLOCK_ENABLED",
    "UNWRAP_TOKEN",
];

pub(super) fn env(spec: &PluginInstanceSpec, findings: &mut Findings) {
    for (name, value) in &spec.env {
        let field = format!("spec.env.{name}");
        if let Some(reason) = set_by_plugward(name, spec.mlock) {
            findings.add(&field, format!("cannot be set: {reason}")).help("remove it");
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

/// Why a variable is not the operator's to set.
pub(super) fn set_by_plugward(name: &str, mlock: bool) -> Option<String> {
    if PROTOCOL_VARIABLES.contains(&name) {
        return Some("plugward sets it, it is part of go-plugin's protocol".to_owned());
    }
    let after_prefix = name.strip_prefix("VAULT_").or_else(|| name.strip_prefix("BAO_"))?;
    if after_prefix == "PLUGIN_MLOCK_ENABLED" {
        return Some(format!("plugward sets it by spec.mlock, which is {mlock}"));
    }
    VAULT_VARIABLES
        .contains(&after_prefix)
        .then(|| "plugward sets it for the plugins of Vault and OpenBao".to_owned())
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
        if let Some(reason) = set_by_plugward(name, spec.mlock) {
            findings
                .add(&format!("{field}[{index}]"), format!("{name:?} cannot be passed: {reason}"))
                .help("remove it");
        }
    }
}
