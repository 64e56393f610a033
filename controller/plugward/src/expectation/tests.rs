use std::collections::BTreeSet;

use jiff::Timestamp;
use plugward_api::RestartReason;

use super::*;
use crate::plan::{Obstacle, Target};

fn slot(name: &str) -> SlotName {
    name.parse().unwrap()
}

fn outlook(state: OutlookState) -> Outlook {
    Outlook::new(state)
}

/// A situation that wants slots, each for some mounts.
fn wanting(target: &Target, slots: &[(&str, &[&str])]) -> Situation {
    let targets = slots.iter().map(|(name, mounts)| {
        let mounts = mounts.iter().map(|mount| mount.parse().unwrap()).collect();
        (slot(name), Target { mounts, ..target.clone() })
    });
    Situation {
        now: Timestamp::UNIX_EPOCH,
        random: 0,
        cluster: "k3x9q2ab".parse().unwrap(),
        instance: "orders".parse().unwrap(),
        targets: targets.collect(),
        slots: BTreeMap::new(),
        unseen: BTreeSet::new(),
        latest_start: 0,
        may_replace: false,
    }
}

fn routed(
    slots: &[(&str, &[&str])],
    outlooks: &[(&str, OutlookState)],
    before: &[(&str, &str)],
) -> Vec<String> {
    let situation = wanting(&crate::plan::tests::target(), slots);
    let plan = Plan {
        outlooks: outlooks.iter().map(|(name, state)| (slot(name), outlook(state.clone()))).collect(),
        ..Plan::default()
    };
    let before = before.iter().map(|(mount, name)| (mount.parse().unwrap(), slot(name))).collect();
    routes(&situation, &plan, &before).iter().map(|(mount, slot)| format!("{mount}: {slot}")).collect()
}

#[test]
fn a_mount_stays_where_it_is_served_until_its_new_slot_serves() {
    let slots: &[(&str, &[&str])] = &[("mount-a", &["a"]), ("mount-b", &["b"])];
    let before = [("a", "shared")];
    let outlooks = [
        ("shared", OutlookState::Ready),
        ("mount-a", OutlookState::Starting),
        ("mount-b", OutlookState::Starting),
    ];
    assert_eq!(routed(slots, &outlooks, &before), ["a: shared", "b: mount-b"], "b was never served there");
    let outlooks = [("shared", OutlookState::Ready), ("mount-a", OutlookState::Ready)];
    assert_eq!(routed(slots, &outlooks, &before), ["a: mount-a", "b: mount-b"]);
}

#[test]
fn a_mount_waits_in_its_new_slot_if_the_old_one_does_not_serve() {
    let outlooks = [("shared", OutlookState::Terminating), ("mount-a", OutlookState::Starting)];
    assert_eq!(routed(&[("mount-a", &["a"])], &outlooks, &[("a", "shared")]), ["a: mount-a"]);
}

#[test]
fn hosts_hear_what_keeps_a_plugin_from_serving() {
    assert_eq!(prospect(&outlook(OutlookState::Starting)), Prospect::Coming);
    assert_eq!(prospect(&outlook(OutlookState::Idle)), Prospect::Asleep);
    let until = Timestamp::UNIX_EPOCH;
    let backing_off = outlook(OutlookState::BackingOff { reason: RestartReason::Exited, until });
    let reason = "the plugin's last start ended: exited".to_owned();
    assert_eq!(prospect(&backing_off), Prospect::Later { reason, at: until });
    let waiting = outlook(OutlookState::Waiting(Obstacle::ImageMissing));
    let reason = "the image is not on the engine".to_owned();
    assert_eq!(prospect(&waiting), Prospect::Blocked { reason });
    let failed = Obstacle::PullFailed { message: "connection refused".to_owned(), retry_at: until };
    let reason = "the image cannot be pulled: connection refused".to_owned();
    assert_eq!(prospect(&outlook(OutlookState::Waiting(failed))), Prospect::Later { reason, at: until });
}
