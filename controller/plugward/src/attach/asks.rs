//! What a host asks of its plugin, which it does by the environment that it starts it with (go-plugin protocol).

use std::collections::BTreeMap;

use go_plugin::variable::{CLIENT_CERT, MULTIPLEX_GRPC, PROTOCOL_VERSIONS, UNIX_SOCKET_GROUP};
use go_plugin::{Application, Cookie, Identity, Peer, parse_bool};
use plugward_api::PluginType;
use plugward_api::instance::EnvName;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::errors::chain;
use crate::metrics::AttachRefusal;
use crate::recipe::Protocol;

/// What a host asks of the plugin that it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asks {
    /// The versions of the application's protocol that it speaks.
    pub(super) versions: Vec<u32>,
    /// Its certificate, as PEM, if it speaks TLS.
    pub(super) certificate: Option<String>,
    /// What it says of broker multiplexing: whether it wants it, if it said anything.
    pub(super) multiplexed: Option<bool>,
    /// Whether it only wants to know what the plugin is.
    pub(super) metadata: bool,
    /// Whether it wants its socket to be a group's.
    pub(super) group: bool,
}

impl Asks {
    /// The variables that a launcher is asked for: those that concern the protocol, and those that the record has passed to the plugin.
    ///
    /// # Errors
    /// When the record's cookie is none.
    pub(super) fn variables(protocol: &Protocol, passed: &[EnvName]) -> Result<Vec<String>, Refusal> {
        let cookie = cookie_of(protocol)?;
        let own = [cookie.key(), PROTOCOL_VERSIONS, CLIENT_CERT, MULTIPLEX_GRPC, UNIX_SOCKET_GROUP]
            .map(ToOwned::to_owned);
        let metadata = Application::metadata_mode();
        Ok(own.into_iter().chain(metadata).chain(passed.iter().map(ToString::to_string)).collect())
    }

    /// What these variables ask for.
    ///
    /// # Errors
    /// What the host is told if it cannot have it.
    pub(super) fn of(
        variables: &BTreeMap<String, Vec<u8>>,
        protocol: &Protocol,
        plugin_type: PluginType,
    ) -> Result<Self, Refusal> {
        let text = |name: &str| {
            let value = variables.get(name).filter(|value| !value.is_empty())?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let cookie = cookie_of(protocol)?;
        if text(cookie.key()).as_deref() != Some(cookie.value()) {
            let key = cookie.key();
            return Err(Refusal::new(
                AttachRefusal::Cookie,
                format!(
                    "{key} is not what this plugin's hosts set: it is started by its host, not by hand (of a plugin of type custom, \
                     spec.handshake says what it is)"
                ),
            ));
        }
        let Some(versions) = text(PROTOCOL_VERSIONS) else {
            return Err(Refusal::new(
                AttachRefusal::ProtocolVersion,
                format!(
                    "{PROTOCOL_VERSIONS} is not set: the host is older than go-plugin's protocol 1 with versions"
                ),
            ));
        };
        let metadata = Application::metadata_mode().iter().any(|name| text(name).as_deref() == Some("true"));
        let asks = Self {
            versions: versions.split(',').filter_map(|version| version.trim().parse().ok()).collect(),
            certificate: text(CLIENT_CERT),
            multiplexed: text(MULTIPLEX_GRPC).map(|text| parse_bool(&text) == Some(true)),
            metadata,
            group: text(UNIX_SOCKET_GROUP).is_some(),
        };
        if plugin_type != PluginType::Custom && asks.certificate.is_none() && !metadata {
            return Err(Refusal::new(
                AttachRefusal::Transport,
                "the host wants TLS by an unwrap token, which only a plugin process of its own can have: let it use AutoMTLS \
                 (protocol version 5, and 6 of databases)",
            ));
        }
        Ok(asks)
    }

    /// Whether the version that the plugin chose is one that the host speaks.
    ///
    /// # Errors
    /// What the host is told if not.
    pub(super) fn admits(&self, chosen: u32) -> Result<(), Refusal> {
        if self.versions.contains(&chosen) {
            return Ok(());
        }
        let offered: Vec<String> = self.versions.iter().map(ToString::to_string).collect();
        Err(Refusal::new(
            AttachRefusal::ProtocolVersion,
            format!(
                "the plugin speaks version {chosen} of its application protocol, and the host offers {}: use a plugin or a host of another version",
                offered.join(", ")
            ),
        ))
    }

    /// How the host is met that has this certificate, towards which we are `identity`.
    ///
    /// # Errors
    /// What the host is told if its certificate is none.
    pub(super) fn peer(&self, identity: &Identity) -> Result<Peer, Refusal> {
        let Some(pem) = &self.certificate else { return Ok(Peer::plain()) };
        Peer::pinned_pem(identity, pem).map_err(|error| {
            Refusal::new(
                AttachRefusal::Transport,
                format!("{CLIENT_CERT} is no certificate: {}", chain(&error)),
            )
        })
    }

    /// Whether the host's one connection is to be a session.
    pub(super) fn multiplexes(&self) -> bool {
        self.multiplexed == Some(true)
    }
}

fn cookie_of(protocol: &Protocol) -> Result<Cookie, Refusal> {
    protocol.cookie().map_err(|error| {
        Refusal::new(AttachRefusal::Cookie, format!("the record's cookie cannot be used: {error}"))
    })
}

#[cfg(test)]
mod tests;
