//! What the two sides of a broker tell each other.
//!
//! The broker lets either side offer another gRPC server to the other, under a number that they exchange in messages of their
//! own. The side that *accepts* has the server, the side that *dials* connects to it.
//!
//! - Without multiplexing the accepting side opens a socket and [announces](BrokerMessage::Announce) it, within five seconds of
//!   the dialling side's wish, before or after it.
//! - With multiplexing the dialling side [knocks](BrokerMessage::Knock). After the [answer](BrokerMessage::Ack) the next stream
//!   that it opens in the [`Session`](crate::Session) is the connection.

mod stream;

use hyper::body::Bytes;
use prost::{DecodeError, Message};

pub(crate) use self::stream::open;
pub use self::stream::{BrokerClosed, BrokerError, BrokerReceiver, BrokerSender};
use crate::{
    Address, Excerpt,
    proto::plugin::{ConnInfo, conn_info},
};

/// The largest message of a broker that is understood, in bytes. Real ones have less than 200.
pub const MAX_BROKER_MESSAGE_SIZE: usize = 64 << 10;

/// The longest address in such a message, in bytes: as long as a path can be.
pub const MAX_BROKER_ADDRESS_SIZE: usize = 4096;

/// A message of the stream `/plugin.GRPCBroker/StartStream`. The same ones go in both directions.
///
/// Numbers are counted by each accepting side for itself, so that those of the two directions may be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerMessage {
    /// The sender accepts connections for this number on a socket.
    Announce {
        /// The number.
        id: u32,
        /// Where, as the plugin sees it, whoever sends it.
        address: Address,
    },
    /// The sender wants to open a stream to the receiver's server of this number.
    Knock {
        /// The number.
        id: u32,
    },
    /// The answer to a knock. Without an error the next stream that the receiver opens belongs to this number.
    Ack {
        /// The number.
        id: u32,
        /// Why it does not. Never empty when read; what is sent empty is read as no error. It is in the sender's own words.
        error: Option<String>,
    },
}

/// A message that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerMessageError {
    /// It is larger than [`MAX_BROKER_MESSAGE_SIZE`].
    #[error("a message of the broker has {size} bytes, of at most {MAX_BROKER_MESSAGE_SIZE}")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
    },
    /// It is no `plugin.ConnInfo`.
    #[error("a message of the broker is no plugin.ConnInfo")]
    Undecodable(#[source] DecodeError),
    /// It announces a server, and does not say where.
    #[error("a message of the broker announces number {id} without an address")]
    AddressEmpty {
        /// The number.
        id: u32,
    },
    /// The address is longer than [`MAX_BROKER_ADDRESS_SIZE`].
    #[error(
        "a message of the broker announces number {id} at an address of {size} bytes, of at most {MAX_BROKER_ADDRESS_SIZE}"
    )]
    AddressTooLong {
        /// The number.
        id: u32,
        /// The address's size, in bytes.
        size: usize,
    },
    /// The network is neither `unix` nor `tcp`.
    #[error(
        "a message of the broker announces number {id} on the network {network:?}, which is neither unix nor tcp"
    )]
    NetworkUnknown {
        /// The number.
        id: u32,
        /// What it is.
        network: Excerpt,
    },
    /// It says two things that do not go together.
    #[error("a message of the broker for number {id} contradicts itself: {contradiction}")]
    Contradiction {
        /// The number.
        id: u32,
        /// Which.
        contradiction: &'static str,
    },
}

// === impl BrokerMessage ===

impl BrokerMessage {
    /// The number that it is about.
    pub const fn id(&self) -> u32 {
        match self {
            Self::Announce { id, .. } | Self::Knock { id } | Self::Ack { id, .. } => *id,
        }
    }

    /// Understands a message as it is on the wire, without gRPC's frame around it. Fields that are not known are skipped.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, BrokerMessageError> {
        if bytes.len() > MAX_BROKER_MESSAGE_SIZE {
            return Err(BrokerMessageError::TooLarge { size: bytes.len() });
        }
        ConnInfo::decode(bytes).map_err(BrokerMessageError::Undecodable)?.try_into()
    }

    /// The message as it is on the wire, without gRPC's frame around it.
    pub fn to_bytes(&self) -> Bytes {
        ConnInfo::from(self.clone()).encode_to_vec().into()
    }
}

impl TryFrom<ConnInfo> for BrokerMessage {
    type Error = BrokerMessageError;

    fn try_from(message: ConnInfo) -> Result<Self, Self::Error> {
        let ConnInfo { service_id: id, network, address, knock } = message;
        let contradiction = |contradiction| Err(BrokerMessageError::Contradiction { id, contradiction });
        let Some(conn_info::Knock { knock, ack, error }) = knock else {
            return announced(id, &network, address);
        };
        if !(network.is_empty() && address.is_empty()) {
            return contradiction("it knocks, and announces a server");
        }
        match (knock, ack) {
            (true, false) if error.is_empty() => Ok(Self::Knock { id }),
            (true, false) => contradiction("it knocks, and refuses the knock"),
            (true, true) => Ok(Self::Ack { id, error: Some(error).filter(|error| !error.is_empty()) }),
            (false, _) => contradiction("it knocks, and says that it does not"),
        }
    }
}

fn announced(id: u32, network: &str, address: String) -> Result<BrokerMessage, BrokerMessageError> {
    let known = match network {
        "unix" => Address::Unix,
        "tcp" => Address::Tcp,
        _ => {
            let network = Excerpt::of(network.as_bytes());
            return Err(BrokerMessageError::NetworkUnknown { id, network });
        }
    };
    match address.len() {
        0 => Err(BrokerMessageError::AddressEmpty { id }),
        1..=MAX_BROKER_ADDRESS_SIZE => Ok(BrokerMessage::Announce { id, address: known(address) }),
        size => Err(BrokerMessageError::AddressTooLong { id, size }),
    }
}

impl From<BrokerMessage> for ConnInfo {
    fn from(message: BrokerMessage) -> Self {
        let service_id = message.id();
        let (network, address, knock) = match message {
            BrokerMessage::Announce { address: Address::Unix(path), .. } => ("unix", path, None),
            BrokerMessage::Announce { address: Address::Tcp(address), .. } => ("tcp", address, None),
            BrokerMessage::Knock { .. } => ("", String::new(), Some((false, String::new()))),
            BrokerMessage::Ack { error, .. } => ("", String::new(), Some((true, error.unwrap_or_default()))),
        };
        let knock = knock.map(|(ack, error)| conn_info::Knock { knock: true, ack, error });
        Self { service_id, network: network.to_owned(), address, knock }
    }
}

// === impl BrokerMessageError ===

impl BrokerMessageError {
    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "broker_message_too_large",
            Self::Undecodable(_) => "broker_message_undecodable",
            Self::AddressEmpty { .. } => "broker_address_empty",
            Self::AddressTooLong { .. } => "broker_address_too_long",
            Self::NetworkUnknown { .. } => "broker_network_unknown",
            Self::Contradiction { .. } => "broker_contradiction",
        }
    }
}

#[cfg(test)]
mod tests;
