//! How a host's way to a plugin is named: a declared mount, or a session.

use std::fmt;
use std::str::FromStr;

use plugward_api::Name;
use serde::{Deserialize, Serialize};

use super::base32;

/// The id of a session: the time from a host's start of the launcher to its end. Ten characters, random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(Box<str>);

/// A mount as the gateway and the planner have it: one that is declared, or the one that a session is.
///
/// Each has a place in a slot, a priming of its own, and is a user of its own to a plugin that multiplexes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MountName {
    /// A declared one.
    Declared(Name),
    /// A session's.
    Session(SessionId),
}

/// Text that is no session's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no session: ten letters and digits")]
pub struct InvalidSessionId(String);

/// Text that names neither a mount nor a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a mount's name nor session:ID")]
pub struct InvalidMountName(String);

/// What tells a session from a mount: no name has a colon.
const SESSION: &str = "session:";

/// The characters of an id.
const LENGTH: usize = 10;

// === impl SessionId ===

impl SessionId {
    /// One of seven random bytes.
    pub fn from_random(bytes: [u8; 7]) -> Self {
        Self(base32(&bytes).take(LENGTH).collect::<String>().into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid =
            text.len() == LENGTH && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if valid { Ok(Self(text.into())) } else { Err(InvalidSessionId(text.to_owned())) }
    }
}

impl TryFrom<String> for SessionId {
    type Error = InvalidSessionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl MountName ===

impl MountName {
    /// The name of a declared one.
    pub const fn declared(&self) -> Option<&Name> {
        match self {
            Self::Declared(name) => Some(name),
            Self::Session(_) => None,
        }
    }

    /// The session that it is, if it is one.
    pub const fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Declared(_) => None,
            Self::Session(id) => Some(id),
        }
    }
}

impl From<Name> for MountName {
    fn from(name: Name) -> Self {
        Self::Declared(name)
    }
}

impl From<SessionId> for MountName {
    fn from(id: SessionId) -> Self {
        Self::Session(id)
    }
}

impl FromStr for MountName {
    type Err = InvalidMountName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.strip_prefix(SESSION) {
            Some(id) => id.parse().ok().map(Self::Session),
            None => text.parse().ok().map(Self::Declared),
        };
        parsed.ok_or_else(|| InvalidMountName(text.to_owned()))
    }
}

impl TryFrom<String> for MountName {
    type Error = InvalidMountName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MountName> for String {
    fn from(mount: MountName) -> Self {
        mount.to_string()
    }
}

impl fmt::Display for MountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared(name) => name.fmt(f),
            Self::Session(id) => write!(f, "{SESSION}{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mounts_and_sessions_survive_a_round_trip() {
        let id = SessionId::from_random([7; 7]);
        for mount in [MountName::Declared("orders".parse().unwrap()), MountName::Session(id)] {
            assert_eq!(mount.to_string().parse::<MountName>().unwrap(), mount);
        }
        for bad in ["", "session:", "session:A234567890", "a:b", "session:a"] {
            assert!(bad.parse::<MountName>().is_err(), "{bad}");
        }
    }
}
