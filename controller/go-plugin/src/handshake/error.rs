//! What can be wrong with a handshake line.

use crate::Excerpt;

/// A line that is no handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; the line was: {line}")]
pub struct HandshakeError {
    /// What is wrong.
    pub problem: Problem,
    /// The line's beginning.
    pub line: Excerpt,
}

/// What is wrong with a handshake, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The line has nothing in it.
    #[error("the plugin's first line is empty; the handshake must be the first thing on its standard output")]
    Empty,
    /// The line is not UTF-8.
    #[error("the plugin's first line is not text; does the command start a go-plugin plugin?")]
    NotText,
    /// The line has fewer fields than a handshake.
    #[error(
        "the plugin's first line has {found} of at least 4 fields, so it is no handshake; nothing else may be printed before it: \
         look for a wrapper script, a banner or a log line on standard output"
    )]
    TooFewFields {
        /// How many it has.
        found: usize,
    },
    /// The first field is no number.
    #[error(
        "the handshake's first field, the core protocol version, is no number; is something printed before the handshake?"
    )]
    CoreVersionUnreadable,
    /// The first field is another version than 1.
    #[error(
        "the plugin speaks version {found} of go-plugin's own protocol, and only 1 is known; rebuild the plugin with a current go-plugin"
    )]
    CoreVersionUnsupported {
        /// What it says.
        found: u32,
    },
    /// The second field is no number.
    #[error("the handshake's second field, the application protocol version, is no number")]
    AppVersionUnreadable,
    /// The plugin serves a version that was not offered.
    #[error(
        "the plugin serves version {served} of its application protocol, but was offered {offered:?}; use another version of the plugin, or \
         offer the one it serves"
    )]
    AppVersionNotOffered {
        /// What it serves.
        served: u32,
        /// What was offered.
        offered: Vec<u32>,
    },
    /// The third field is neither `unix` nor `tcp`.
    #[error("the handshake's third field, the network, is {network:?}, which is neither unix nor tcp")]
    NetworkUnknown {
        /// What it is.
        network: Excerpt,
    },
    /// The fourth field is empty.
    #[error("the handshake's fourth field, the address, is empty")]
    AddressEmpty,
    /// The fifth field is neither `grpc` nor `netrpc`.
    #[error("the handshake's fifth field, the protocol, is {protocol:?}, which is neither grpc nor netrpc")]
    ProtocolUnknown {
        /// What it is.
        protocol: Excerpt,
    },
    /// The plugin wants net/rpc.
    #[error(
        "the plugin speaks net/rpc, which only Go programs can; use a version of it that serves gRPC (a plugin that names no protocol means net/rpc)"
    )]
    NetRpc,
    /// The sixth field is no base64.
    #[error("the handshake's sixth field, the certificate, is not base64; is the line cut off?")]
    CertificateEncoding,
    /// The sixth field is no certificate.
    #[error("the handshake's sixth field is no X.509 certificate")]
    CertificateUnreadable,
    /// The plugin was given a certificate and gave none.
    #[error(
        "the plugin was asked for mutual TLS and gave no certificate, so it can't be trusted to be itself; it is too old for AutoMTLS, or uses \
         certificates of its own (a Vault plugin: is VAULT_PLUGIN_AUTOMTLS_ENABLED=true overridden?)"
    )]
    CertificateMissing,
    /// The plugin gave a certificate without being asked.
    #[error(
        "the plugin serves with a certificate although it was asked for plaintext; is PLUGIN_CLIENT_CERT set in its environment by someone else?"
    )]
    CertificateUnasked,
    /// The plugin was asked for broker multiplexing and did not answer.
    #[error(
        "the plugin was asked for broker multiplexing and does not know of it; rebuild it with go-plugin 1.6 or later, or switch it off"
    )]
    MultiplexingUnknown,
    /// The plugin was asked for broker multiplexing and cannot.
    #[error(
        "the plugin was asked for broker multiplexing and does not support it; switch it off for this plugin"
    )]
    MultiplexingUnsupported,
    /// The plugin was asked for broker multiplexing and answered neither yes nor no.
    #[error(
        "the handshake's seventh field, broker multiplexing, is {said:?}, which is neither true nor false"
    )]
    MultiplexingUnclear {
        /// What it says.
        said: Excerpt,
    },
}

impl Problem {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotText => "not_text",
            Self::TooFewFields { .. } => "too_few_fields",
            Self::CoreVersionUnreadable => "core_version_unreadable",
            Self::CoreVersionUnsupported { .. } => "core_version_unsupported",
            Self::AppVersionUnreadable => "app_version_unreadable",
            Self::AppVersionNotOffered { .. } => "app_version_not_offered",
            Self::NetworkUnknown { .. } => "network_unknown",
            Self::AddressEmpty => "address_empty",
            Self::ProtocolUnknown { .. } => "protocol_unknown",
            Self::NetRpc => "net_rpc",
            Self::CertificateEncoding => "certificate_encoding",
            Self::CertificateUnreadable => "certificate_unreadable",
            Self::CertificateMissing => "certificate_missing",
            Self::CertificateUnasked => "certificate_unasked",
            Self::MultiplexingUnknown => "multiplexing_unknown",
            Self::MultiplexingUnsupported => "multiplexing_unsupported",
            Self::MultiplexingUnclear { .. } => "multiplexing_unclear",
        }
    }
}
