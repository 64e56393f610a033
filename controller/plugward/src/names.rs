//! The names that tie containers to records: labels, container names, directories.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use plugward_api::Name;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod mount;

pub use self::mount::{InvalidMountName, InvalidSessionId, MountName, SessionId};

/// Labels that every container of ours carries.
pub mod label {
    /// The cluster whose controller may touch the container. Nothing else is ever touched.
    pub const CLUSTER: &str = "dev.plugward.cluster-id";
    /// The instance's name.
    pub const INSTANCE: &str = "dev.plugward.instance";
    /// The slot's name.
    pub const SLOT: &str = "dev.plugward.slot";
    /// The hash of what the container was made from ([`crate::recipe::SpecHash`]).
    pub const SPEC_HASH: &str = "dev.plugward.spec-hash";
    /// The process that created the container. For people; never compared.
    pub const PID: &str = "dev.plugward.pid";
    /// Marks a container that is never started ([`crate::trial`]). It is no instance's.
    pub const TRIAL: &str = "dev.plugward.trial";
    /// The plugin's name.
    pub const PLUGIN_NAME: &str = "dev.plugward.plugin-name";
    /// The plugin's type.
    pub const PLUGIN_TYPE: &str = "dev.plugward.plugin-type";
    /// The plugin's version.
    pub const PLUGIN_VERSION: &str = "dev.plugward.plugin-version";
}

/// The directory in which a plugin finds its shared directory, as Vault's containers have it.
pub const PLUGIN_SIDE_DIRECTORY: &str = "/tmp/go-plugin-container";

/// Names the controller and all it owns: lower-case letters, digits and dashes, at most 32.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

/// A text that cannot be a [`ClusterId`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no cluster id: use 1 to 32 lower-case letters, digits and inner dashes")]
pub struct InvalidClusterId(String);

/// A place for one serving container of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SlotName {
    /// One container for all mounts.
    Shared,
    /// The container of one mount, or of a session.
    Mount(MountName),
    /// A warm container that serves nobody, and takes the place of one that ends.
    Spare(u32),
}

/// A text that cannot be a [`SlotName`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no slot: expected `shared`, `mount-NAME`, `session-ID` or `spare-N`")]
pub struct InvalidSlotName(String);

/// The labels that select what belongs to a cluster.
pub fn cluster_selector(cluster: &ClusterId) -> BTreeMap<String, String> {
    BTreeMap::from([(label::CLUSTER.to_owned(), cluster.to_string())])
}

/// The labels that select what belongs to an instance.
pub fn instance_selector(cluster: &ClusterId, instance: &Name) -> BTreeMap<String, String> {
    let mut labels = cluster_selector(cluster);
    labels.insert(label::INSTANCE.to_owned(), instance.to_string());
    labels
}

/// The name of the container of a start: `plugward-INSTANCE-SLOT-xxxxx`.
///
/// The five characters follow from the cluster, the slot, the hash and the start's number alone, so that a
/// create which took effect before a crash is found again by its name, and no other start has it.
pub fn container_name(
    cluster: &ClusterId,
    instance: &Name,
    slot: &SlotName,
    spec_hash: &str,
    start: u64,
) -> String {
    let digest = Sha256::digest(format!("{cluster}\0{instance}\0{slot}\0{spec_hash}\0{start}"));
    let suffix: String = base32(&digest).take(5).collect();
    format!("plugward-{instance}-{slot}-{suffix}")
}

/// The name of a container that is never started. `random` tells it from those that a crash has left.
pub fn trial_name(random: u64) -> String {
    let suffix: String = base32(&random.to_be_bytes()).take(8).collect();
    format!("plugward-trial-{suffix}")
}

/// Lower-case base 32 (RFC 4648 alphabet) of as many whole characters as the bytes give.
pub fn base32(bytes: &[u8]) -> impl Iterator<Item = char> + '_ {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..bytes.len() * 8 / 5).map(move |index| {
        let value = (0..5).fold(0u8, |value, bit| {
            let position = index * 5 + bit;
            let set = bytes[position / 8] >> (7 - position % 8) & 1;
            value << 1 | set
        });
        char::from(ALPHABET[usize::from(value)])
    })
}

// === impl ClusterId ===

impl ClusterId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new one from ten random bytes: eight base 32 characters.
    pub fn from_random(bytes: [u8; 10]) -> Self {
        Self(base32(&bytes).take(8).collect())
    }
}

impl FromStr for ClusterId {
    type Err = InvalidClusterId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = (1..=32).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidClusterId(text.to_owned())) }
    }
}

impl TryFrom<String> for ClusterId {
    type Error = InvalidClusterId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl SlotName ===

impl SlotName {
    /// Whether it is a spare container's.
    pub const fn is_spare(&self) -> bool {
        matches!(self, Self::Spare(_))
    }
}

impl FromStr for SlotName {
    type Err = InvalidSlotName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "shared" {
            return Ok(Self::Shared);
        }
        if let Some(number) = text.strip_prefix("spare-") {
            let number = number.parse().ok().filter(|number: &u32| number.to_string() == text[6..]);
            return number.map(Self::Spare).ok_or_else(|| InvalidSlotName(text.to_owned()));
        }
        let declared = text.strip_prefix("mount-").map(|name| name.parse().ok().map(MountName::Declared));
        let session = || text.strip_prefix("session-").map(|id| id.parse().ok().map(MountName::Session));
        let mount = declared.or_else(session).flatten();
        mount.map(Self::Mount).ok_or_else(|| InvalidSlotName(text.to_owned()))
    }
}

impl TryFrom<String> for SlotName {
    type Error = InvalidSlotName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SlotName> for String {
    fn from(slot: SlotName) -> Self {
        slot.to_string()
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.write_str("shared"),
            Self::Mount(MountName::Declared(mount)) => write!(f, "mount-{mount}"),
            Self::Mount(MountName::Session(id)) => write!(f, "session-{id}"),
            Self::Spare(number) => write!(f, "spare-{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ClusterId {
        "k3x9q2ab".parse().unwrap()
    }

    #[test]
    fn a_container_name_follows_from_what_is_stored() {
        let orders: Name = "orders-db".parse().unwrap();
        let first = container_name(&cluster(), &orders, &SlotName::Shared, "v1.aa", 1);
        assert_eq!(first, container_name(&cluster(), &orders, &SlotName::Shared, "v1.aa", 1));
        assert_ne!(first, container_name(&cluster(), &orders, &SlotName::Shared, "v1.aa", 2));
        assert_ne!(first, container_name(&cluster(), &orders, &SlotName::Shared, "v1.bb", 1));
        let suffix = first.strip_prefix("plugward-orders-db-shared-").unwrap();
        assert_eq!(suffix.len(), 5);
        assert!(suffix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
    }

    #[test]
    fn base32_agrees_with_rfc_4648() {
        assert_eq!(base32(b"fooba").collect::<String>(), "mzxw6ytb");
        assert_eq!(base32(b"").collect::<String>(), "");
    }

    #[test]
    fn slot_names_survive_a_round_trip() {
        for text in ["shared", "mount-orders", "session-k3x9q2ab4c", "mount-session-k3x9q2ab4c", "spare-2"] {
            assert_eq!(text.parse::<SlotName>().unwrap().to_string(), text);
        }
        assert!("session".parse::<SlotName>().is_err());
        assert!("session-orders".parse::<SlotName>().is_err());
        assert!("mount-".parse::<SlotName>().is_err());
        assert!("spare-02".parse::<SlotName>().is_err());
    }

    #[test]
    fn a_cluster_id_fits_into_paths_and_labels() {
        assert!("prod-1".parse::<ClusterId>().is_ok());
        for bad in ["", "-a", "a-", "A", "a/b", "a.b", &"a".repeat(33)] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad}");
        }
        assert_eq!(ClusterId::from_random([7; 10]).as_str().len(), 8);
    }
}
