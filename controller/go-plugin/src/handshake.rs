//! The handshake line: `CORE|APP|NETWORK|ADDRESS[|PROTOCOL[|SERVERCERT[|MUX]]]`.

mod error;

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rustls::{pki_types::CertificateDer, server::ParsedCertificate};

pub use self::error::{HandshakeError, Problem};
use crate::Excerpt;

/// The version of go-plugin's own protocol. There was never another.
const CORE_VERSION: u32 = 1;

/// The longest text that is no certificate. Very old plugins put something else where it belongs, and go-plugin
/// ignores what is no longer than this.
const NO_CERTIFICATE: usize = 50;

/// The standard alphabet, written without padding and read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a plugin says of itself in the first line of its standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The application protocol's version that it serves.
    pub app_version: u32,
    /// Where it listens.
    pub address: Address,
    /// How it wants to be spoken to.
    pub protocol: Protocol,
    /// The certificate that it serves with: with AutoMTLS only.
    pub server_certificate: Option<CertificateDer<'static>>,
    /// What it says of broker multiplexing.
    pub broker_multiplexing: BrokerMultiplexing,
}

/// Where a plugin listens, as the plugin sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The path of a Unix socket.
    Unix(String),
    /// A host and a port, unchecked.
    Tcp(String),
}

/// How a plugin wants to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Go's net/rpc, which nothing but Go can speak. A plugin that names no protocol means it.
    NetRpc,
}

/// What a plugin says of carrying brokered connections on its one socket. Plugins answer only when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerMultiplexing {
    /// Nothing.
    NotSaid,
    /// It can.
    Supported,
    /// It cannot.
    Unsupported,
    /// It says something that is neither yes nor no.
    Unclear(Excerpt),
}

/// What a plugin was asked for when it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The versions that were on offer.
    pub versions: Vec<u32>,
    /// Whether it was given our certificate.
    pub automtls: bool,
    /// Whether it was asked for broker multiplexing.
    pub multiplex_broker: bool,
}

// === impl Handshake ===

impl Handshake {
    /// Understands a line, with or without its end.
    ///
    /// As go-plugin's own host does, it tolerates missing fields after the address, an empty or short
    /// certificate, fields beyond the seventh, and surrounding white space.
    ///
    /// # Errors
    ///
    /// Names the first field that cannot be used, with the beginning of the line.
    pub fn parse(line: &[u8]) -> Result<Self, HandshakeError> {
        Self::understand(line).map_err(|problem| HandshakeError { problem, line: Excerpt::of_line(line) })
    }

    fn understand(line: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(line).map_err(|_| Problem::NotText)?.trim();
        if text.is_empty() {
            return Err(Problem::Empty);
        }
        let mut fields = text.split('|');
        let (Some(core), Some(app), Some(network), Some(address)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(Problem::TooFewFields { found: text.split('|').count() });
        };

        let core = number(core).ok_or(Problem::CoreVersionUnreadable)?;
        if core != CORE_VERSION {
            return Err(Problem::CoreVersionUnsupported { found: core });
        }
        Ok(Self {
            app_version: number(app).ok_or(Problem::AppVersionUnreadable)?,
            address: address_of(network, address)?,
            protocol: protocol(fields.next())?,
            server_certificate: fields.next().map(certificate).transpose()?.flatten(),
            broker_multiplexing: fields.next().map_or(BrokerMultiplexing::NotSaid, multiplexing),
        })
    }

    /// Compares what the plugin says with what it was asked.
    ///
    /// # Errors
    ///
    /// When the two cannot work together.
    pub fn check(&self, expected: &Expected) -> Result<(), Problem> {
        if !expected.versions.contains(&self.app_version) {
            return Err(Problem::AppVersionNotOffered {
                served: self.app_version,
                offered: expected.versions.clone(),
            });
        }
        if self.protocol == Protocol::NetRpc {
            return Err(Problem::NetRpc);
        }
        match (expected.automtls, &self.server_certificate) {
            (true, None) => return Err(Problem::CertificateMissing),
            (false, Some(_)) => return Err(Problem::CertificateUnasked),
            (true, Some(_)) | (false, None) => (),
        }
        match &self.broker_multiplexing {
            _ if !expected.multiplex_broker => Ok(()),
            BrokerMultiplexing::Supported => Ok(()),
            BrokerMultiplexing::NotSaid => Err(Problem::MultiplexingUnknown),
            BrokerMultiplexing::Unsupported => Err(Problem::MultiplexingUnsupported),
            BrokerMultiplexing::Unclear(said) => Err(Problem::MultiplexingUnclear { said: said.clone() }),
        }
    }
}

/// A decimal number that a version can be.
fn number(field: &str) -> Option<u32> {
    field.parse().ok()
}

fn address_of(network: &str, address: &str) -> Result<Address, Problem> {
    let known = match network {
        "unix" => Address::Unix,
        "tcp" => Address::Tcp,
        _ => return Err(Problem::NetworkUnknown { network: Excerpt::of(network.as_bytes()) }),
    };
    if address.is_empty() { Err(Problem::AddressEmpty) } else { Ok(known(address.to_owned())) }
}

fn protocol(field: Option<&str>) -> Result<Protocol, Problem> {
    match field {
        Some("grpc") => Ok(Protocol::Grpc),
        Some("netrpc") | None => Ok(Protocol::NetRpc),
        Some(other) => Err(Problem::ProtocolUnknown { protocol: Excerpt::of(other.as_bytes()) }),
    }
}

fn certificate(field: &str) -> Result<Option<CertificateDer<'static>>, Problem> {
    if field.len() <= NO_CERTIFICATE {
        return Ok(None);
    }
    let der = BASE64.decode(field).map_err(|_| Problem::CertificateEncoding)?;
    let certificate = CertificateDer::from(der);
    match ParsedCertificate::try_from(&certificate) {
        Ok(_) => Ok(Some(certificate)),
        Err(_) => Err(Problem::CertificateUnreadable),
    }
}

/// A bool as go-plugin reads it: Go's `strconv.ParseBool`. `None` where that fails.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn multiplexing(field: &str) -> BrokerMultiplexing {
    match parse_bool(field) {
        Some(true) => BrokerMultiplexing::Supported,
        Some(false) => BrokerMultiplexing::Unsupported,
        None => BrokerMultiplexing::Unclear(Excerpt::of(field.as_bytes())),
    }
}

/// The line as go-plugin prints it, without its end.
impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (network, address) = match &self.address {
            Address::Unix(path) => ("unix", path),
            Address::Tcp(address) => ("tcp", address),
        };
        let protocol = match self.protocol {
            Protocol::Grpc => "grpc",
            Protocol::NetRpc => "netrpc",
        };
        let certificate = self.server_certificate.as_ref().map(|der| BASE64.encode(der)).unwrap_or_default();
        write!(f, "{CORE_VERSION}|{}|{network}|{address}|{protocol}|{certificate}", self.app_version)?;
        match &self.broker_multiplexing {
            BrokerMultiplexing::NotSaid => Ok(()),
            BrokerMultiplexing::Supported => f.write_str("|true"),
            BrokerMultiplexing::Unsupported => f.write_str("|false"),
            BrokerMultiplexing::Unclear(said) => write!(f, "|{said}"),
        }
    }
}

#[cfg(test)]
mod tests;
