//! The ids by which a plugin that multiplexes tells its users apart.
//!
//! Such a plugin keeps one state for each value of the metadata key `multiplex_id`, and wants exactly one value on each application call
//! (protocol reference, 8.3). Each mount is a user. A host that is a plugin's user several times over sends ids of its own, which may be
//! the same on two mounts: the plugin is then given one that both the mount and the host's id went into.
//!
//! Nothing is stored: an id follows from names, so that it is the same for the whole life of a container, whichever controller looks after
//! it.

use std::fmt;

use plugward_api::Name;
use plugward_relay::Request;
use sha2::{Digest, Sha256};

use crate::names::MountName;
use crate::names::base32;

/// The metadata key.
pub(super) const KEY: &str = "multiplex_id";

/// As whom a host calls on a mount: by the id that it sends, or by none.
///
/// Hosts use random ids, and may take them for secrets: they are in no `Debug`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostId(Option<Box<[u8]>>);

// === impl HostId ===

impl HostId {
    /// Of a host that sends none.
    pub(super) const NONE: Self = Self(None);

    /// What a request says. An empty id is none. Several, which no plugin takes, are one of their own.
    pub(super) fn of(request: &Request<'_>) -> Self {
        let mut ids = request.fields().filter(|field| field.name == KEY.as_bytes()).map(|field| field.value);
        let Some(first) = ids.next() else { return Self::NONE };
        let id = ids.fold(first.to_vec(), |mut id, next| {
            // No field has a zero in it.
            id.push(0);
            id.extend_from_slice(next);
            id
        });
        Self((!id.is_empty()).then(|| id.into_boxed_slice()))
    }

    /// Of a host that sends these bytes, or none.
    pub(super) fn from_bytes(id: Option<Vec<u8>>) -> Self {
        Self(id.map(Vec::into_boxed_slice))
    }

    /// What it sends.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }

    /// Of a host that sends this one.
    #[cfg(test)]
    pub(super) fn named(id: &str) -> Self {
        Self(Some(id.as_bytes().into()))
    }

    /// The bytes that it takes.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |id| id.len())
    }

    /// The id under which the plugin has this user of a mount: 26 letters and digits.
    pub(super) fn at_plugin(&self, instance: &Name, mount: &MountName) -> String {
        let mut digest = Sha256::new();
        // Names have no zeros, and a host without an id is not one with an empty one.
        digest.update(format!("{instance}\0{mount}"));
        if let Some(id) = &self.0 {
            digest.update([0]);
            digest.update(id);
        }
        base32(&digest.finalize()).take(26).collect()
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "HostId(hidden)" } else { "HostId(none)" })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_follows_from_names_alone() {
        let orders = HostId::NONE.at_plugin(&name("db"), &name("orders").into());
        assert_eq!(orders, HostId::NONE.at_plugin(&name("db"), &name("orders").into()));
        assert_eq!(orders, "2mmsstuxtpyz4oakvru2c5x47c", "it may never change: plugins that run have it");
        assert!(orders.chars().all(|c| c.is_ascii_alphanumeric()));
    }

    proptest! {
        #[test]
        fn no_two_users_of_a_plugin_have_the_same_id(
            users in proptest::collection::hash_set(("[a-c]{1,2}", "[a-c]{1,2}", proptest::option::of("[a-c]{1,2}")), 1..50),
        ) {
            let ids: HashSet<String> = users
                .iter()
                .map(|(instance, mount, own)| {
                    own.as_deref().map_or(HostId::NONE, HostId::named).at_plugin(&name(instance), &name(mount).into())
                })
                .collect();
            prop_assert_eq!(ids.len(), users.len());
        }
    }

    #[test]
    fn an_id_is_not_shown() {
        assert_eq!(format!("{:?}", HostId::named("abc")), "HostId(hidden)");
    }
}
