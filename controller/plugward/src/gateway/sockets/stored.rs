//! The name by which the service manager keeps a mount's listener.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use plugward_api::Name;

use super::MountKey;

/// Which file a socket is bound to: its device and inode.
///
/// While the socket is open no other file has this pair, even if the socket's name is removed: the kernel holds
/// the inode for it. So a path that leads to this pair leads to that socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

/// `mount.INSTANCE.MOUNT.DEVICE.INODE`, the last two in hexadecimal; at most 167 bytes.
///
/// The file is in the name because nothing else tells the next process which one a listener is bound to: the
/// address that the socket itself shows is the name under which it was made, before it got its place. And a socket
/// that takes the place of another one which is still stored has another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredName {
    pub(super) key: MountKey,
    pub(super) inode: Inode,
}

/// A descriptor's name that is not of this form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotOurs;

impl Inode {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }
}

impl fmt::Display for StoredName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key: (instance, mount), inode: Inode { device, number } } = self;
        write!(f, "mount.{instance}.{mount}.{device:x}.{number:x}")
    }
}

impl FromStr for StoredName {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        // Names have no dots.
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NotOurs);
        if next()? != "mount" {
            return Err(NotOurs);
        }
        let name = |text: &str| text.parse::<Name>().map_err(|_| NotOurs);
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| NotOurs);
        let stored = Self {
            key: (name(next()?)?, name(next()?)?),
            inode: Inode { device: number(next()?)?, number: number(next()?)? },
        };
        if next().is_ok() { Err(NotOurs) } else { Ok(stored) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::systemd::MAX_DESCRIPTOR_NAME;

    proptest! {
        #[test]
        fn a_stored_name_leads_back_to_its_mount_and_file(
            instance in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
            mount in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
            device: u64,
            number: u64,
        ) {
            let stored = StoredName {
                key: (instance.parse().unwrap(), mount.parse().unwrap()),
                inode: Inode { device, number },
            };
            let text = stored.to_string();
            prop_assert_eq!(text.parse::<StoredName>(), Ok(stored));
            prop_assert!(text.len() <= MAX_DESCRIPTOR_NAME);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
        }

        #[test]
        fn any_other_name_is_not_ours(text in "\\PC*") {
            if let Ok(stored) = text.parse::<StoredName>() {
                prop_assert!(text.starts_with("mount."), "{stored}");
            }
        }
    }

    #[test]
    fn the_longest_name_fits() {
        let name: Name = "n".repeat(63).parse().unwrap();
        let stored =
            StoredName { key: (name.clone(), name), inode: Inode { device: u64::MAX, number: u64::MAX } };
        assert_eq!(stored.to_string().len(), 167);
    }

    #[test]
    fn names_of_another_form_are_not_ours() {
        for text in [
            "",
            "unknown",
            "stored",
            "mount",
            "mount.orders-db.orders",
            "mount.orders-db.orders.1",
            "mount.orders-db.orders.1.2.3",
            "mount.orders-db.orders.1.g",
            "mount.Orders.orders.1.2",
            "session.orders-db.orders.1.2",
        ] {
            assert_eq!(text.parse::<StoredName>(), Err(NotOurs), "{text}");
        }
    }
}
