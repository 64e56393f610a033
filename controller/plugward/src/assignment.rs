//! Which slot serves which mount.
//!
//! A plugin that multiplexes serves all mounts in one container, any other needs one for each. Only the plugin itself
//! knows which it is: until it was asked, the first container is started alone. A session is a mount in all of this, but for one thing: its
//! host would notice if it was moved, so it is never the only one in a container that it would have to leave for the next.

use std::collections::BTreeMap;

use plugward_api::instance::Multiplexing;

use crate::names::{MountName, SlotName};

/// The slots of an instance, each with its mounts.
///
/// `multiplexes` is what the plugin said, if it was asked. `stored` are the slots that are remembered: a mount stays where
/// it is as long as it can, so that a mount which comes or goes restarts no other.
pub fn assign(
    mounts: &[MountName],
    multiplexing: Multiplexing,
    multiplexes: Option<bool>,
    stored: &[&SlotName],
) -> BTreeMap<SlotName, Vec<MountName>> {
    let declared = mounts.iter().filter(|mount| mount.session().is_none()).count();
    let (shares, only) = match (multiplexing, multiplexes) {
        (Multiplexing::Disabled, _) => (false, false),
        (Multiplexing::Auto, Some(false)) => (false, declared == 1 && stored.contains(&&SlotName::Shared)),
        // What served before says what to expect.
        (Multiplexing::Auto, None) => (!stored.iter().any(|slot| matches!(slot, SlotName::Mount(_))), false),
        (Multiplexing::Auto, Some(true)) => (true, false),
    };
    let mut slots: BTreeMap<SlotName, Vec<MountName>> = BTreeMap::new();
    if mounts.is_empty() {
        slots.insert(SlotName::Shared, Vec::new());
    }
    for mount in mounts {
        let stays = shares || only && mount.session().is_none();
        let slot = if stays { SlotName::Shared } else { SlotName::Mount(mount.clone()) };
        slots.entry(slot).or_default().push(mount.clone());
    }
    slots
}

/// Whether an instance's containers are all for one mount or session each, as far as is known.
pub fn is_never_shared(multiplexing: Multiplexing, multiplexes: Option<bool>) -> bool {
    multiplexing == Multiplexing::Disabled || multiplexes == Some(false)
}

/// The mounts of a slot of an instance whose record cannot be acted on.
pub fn mounts_of(slot: &SlotName, mounts: &[MountName]) -> Vec<MountName> {
    match slot {
        SlotName::Shared => mounts.to_vec(),
        SlotName::Mount(mount) => mounts.iter().filter(|known| *known == mount).cloned().collect(),
        SlotName::Spare(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<MountName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn slots(mounts: &[&str], multiplexing: Multiplexing, answer: Option<bool>, stored: &[&str]) -> String {
        let stored: Vec<SlotName> = stored.iter().map(|slot| slot.parse().unwrap()).collect();
        let stored: Vec<&SlotName> = stored.iter().collect();
        let assigned = assign(&names(mounts), multiplexing, answer, &stored);
        let text = |(slot, mounts): (&SlotName, &Vec<MountName>)| {
            let mounts: Vec<String> = mounts.iter().map(ToString::to_string).collect();
            format!("{slot}: {}", mounts.join(" "))
        };
        assigned.iter().map(text).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_plugin_that_multiplexes_serves_all_mounts_in_one_container() {
        assert_eq!(slots(&["a", "b"], Multiplexing::Auto, Some(true), &[]), "shared: a b");
    }

    #[test]
    fn a_plugin_that_was_not_asked_is_started_alone() {
        assert_eq!(slots(&["a", "b"], Multiplexing::Auto, None, &[]), "shared: a b");
    }

    #[test]
    fn an_update_that_was_not_asked_is_expected_to_be_as_what_served_before() {
        let each = "mount-a: a; mount-b: b";
        assert_eq!(slots(&["a", "b"], Multiplexing::Auto, None, &["mount-a", "mount-b"]), each);
        assert_eq!(slots(&["a", "b"], Multiplexing::Auto, None, &["shared"]), "shared: a b");
    }

    #[test]
    fn a_plugin_that_does_not_multiplex_or_must_not_has_a_container_for_each_mount() {
        let each = "mount-a: a; mount-b: b";
        assert_eq!(slots(&["a", "b"], Multiplexing::Auto, Some(false), &["shared"]), each);
        assert_eq!(slots(&["a", "b"], Multiplexing::Disabled, Some(true), &[]), each);
        assert_eq!(slots(&["a"], Multiplexing::Disabled, None, &["shared"]), "mount-a: a");
    }

    #[test]
    fn the_only_mount_stays_where_it_was_first_served() {
        assert_eq!(slots(&["a"], Multiplexing::Auto, Some(false), &["shared"]), "shared: a");
        assert_eq!(slots(&["a"], Multiplexing::Auto, Some(false), &["mount-a", "mount-b"]), "mount-a: a");
        assert_eq!(slots(&["a"], Multiplexing::Auto, Some(false), &[]), "mount-a: a");
    }

    #[test]
    fn sessions_share_a_container_or_have_one_each_and_are_never_moved_for_the_next() {
        let mounts = ["session:aaaaaaaaaa", "session:bbbbbbbbbb"];
        let shared = "shared: session:aaaaaaaaaa session:bbbbbbbbbb";
        let each = "session-aaaaaaaaaa: session:aaaaaaaaaa; session-bbbbbbbbbb: session:bbbbbbbbbb";
        assert_eq!(slots(&mounts, Multiplexing::Auto, Some(true), &[]), shared);
        assert_eq!(slots(&mounts, Multiplexing::Auto, Some(false), &["shared"]), each);
        assert_eq!(slots(&mounts, Multiplexing::Disabled, Some(true), &[]), each);
        assert_eq!(
            slots(&mounts[..1], Multiplexing::Auto, Some(false), &["shared"]),
            "session-aaaaaaaaaa: session:aaaaaaaaaa"
        );
        assert_eq!(
            slots(&["a", mounts[0]], Multiplexing::Auto, Some(false), &["shared"]),
            "shared: a; session-aaaaaaaaaa: session:aaaaaaaaaa",
            "a mount stays where it was first served"
        );
    }

    #[test]
    fn an_instance_without_mounts_has_a_slot_all_the_same() {
        assert_eq!(slots(&[], Multiplexing::Disabled, None, &[]), "shared: ");
    }

    #[test]
    fn a_slot_of_a_mount_that_is_gone_serves_none() {
        let mounts = names(&["a", "b"]);
        assert_eq!(mounts_of(&"shared".parse().unwrap(), &mounts), mounts);
        assert_eq!(mounts_of(&"mount-b".parse().unwrap(), &mounts), names(&["b"]));
        assert!(mounts_of(&"mount-c".parse().unwrap(), &mounts).is_empty());
    }
}
