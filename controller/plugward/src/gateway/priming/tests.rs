use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use plugward_api::PluginType;
use plugward_relay::grpc::{Code, Status};
use proptest::prelude::*;

use super::*;
use crate::gateway::multiplex::HostId;

const INITIALIZE: &str = "/dbplugin.v5.Database/Initialize";

fn rules() -> PrimingRules {
    PrimingRules::of(PluginType::Database, &[])
}

fn body(message: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(message);
    body
}

fn call(message: &[u8]) -> Result<KeptCall, Unkept> {
    KeptCall::of(Vec::new(), Some(&body(message)))
}

fn told(kept: &Kept, host: &HostId) -> Vec<Vec<u8>> {
    kept.calls(host, &rules()).iter().map(|(_, call)| call.message().to_vec()).collect()
}

#[test]
fn the_last_call_that_succeeded_is_kept_until_it_is_undone() {
    let mut kept = Kept::default();
    for message in [b"one", b"two"] {
        assert_eq!(kept.keep(&HostId::NONE, INITIALIZE, call(message), (1, 1)).1, Ok(()));
    }
    assert_eq!(told(&kept, &HostId::NONE), [b"two"]);
    kept.end(&HostId::NONE, rules().ended_by("/dbplugin.v5.Database/Close"));
    assert!(kept.is_nothing() && told(&kept, &HostId::NONE).is_empty());
}

#[test]
fn what_is_kept_of_a_session_is_told_again_by_another_controller_unless_something_is_missing() {
    let (own, other) = (HostId::NONE, HostId::named("other"));
    let mut kept = Kept::default();
    assert_eq!(kept.storable().map(|told| told.len()), Some(0));
    let metadata = vec![("trace".to_owned(), zeroize::Zeroizing::new(b"7".to_vec()))];
    let with_metadata = KeptCall::of(metadata, Some(&body(b"one")));
    kept.keep(&own, INITIALIZE, with_metadata, (1, 1)).1.unwrap();
    kept.keep(&other, INITIALIZE, call(b"two"), (1, 1)).1.unwrap();

    let stored = serde_json::to_vec(&kept.storable().unwrap()).unwrap();
    let restored = Kept::restored(serde_json::from_slice(&stored).unwrap());
    assert_eq!(
        (told(&restored, &own), told(&restored, &other)),
        (vec![b"one".to_vec()], vec![b"two".to_vec()])
    );
    let calls = restored.calls(&own, &rules());
    assert_eq!(calls[0].1.fields().collect::<Vec<_>>(), [("trace", &b"7"[..])]);
    assert!(restored.knows_all(7, 7), "nothing else was said");

    kept.keep(&other, INITIALIZE, Err(Unkept::TooLarge), (1, 1)).1.unwrap_err();
    assert!(kept.storable().is_none());
    assert!(Kept::recalling(Some(3)).storable().is_none(), "by an earlier controller's word alone");
}

#[test]
fn only_one_message_without_compression_is_kept() {
    assert_eq!(KeptCall::of(Vec::new(), None).unwrap_err(), Unkept::TooLarge);
    for odd in [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x02x", b"\0\0\0\0\0\0\0\0\0\0"] {
        assert_eq!(KeptCall::of(Vec::new(), Some(odd)).unwrap_err(), Unkept::NotOneMessage);
    }
    assert_eq!(call(b"").unwrap().message().len(), 0);
}

#[test]
fn what_is_not_kept_is_known_to_have_been_said() {
    let mut kept = Kept::default();
    assert_eq!(kept.keep(&HostId::NONE, INITIALIZE, Err(Unkept::TooLarge), (7, 1)).1, Err(Unkept::TooLarge));
    assert!(kept.knows(&HostId::NONE, 7, 1), "the container that was told needs nothing");
    assert!(!kept.knows(&HostId::NONE, 8, 2));
    assert!(!kept.knows_enough(8, 2) && !kept.is_nothing());
    kept.keep(&HostId::NONE, INITIALIZE, call(b"small"), (8, 2)).1.unwrap();
    assert!(kept.knows(&HostId::NONE, 9, 3));
}

#[test]
fn what_an_earlier_controller_knew_is_true_of_its_container_alone() {
    let mut kept = Kept::recalling(Some(4));
    assert!(kept.knows(&HostId::NONE, 1, 4) && kept.knows_all(1, 4));
    assert!(!kept.knows(&HostId::NONE, 2, 5) && !kept.knows_enough(2, 5));
    kept.keep(&HostId::NONE, INITIALIZE, call(b"again"), (2, 5)).1.unwrap();
    assert!(kept.knows_all(3, 6));
    let mut kept = Kept::recalling(Some(4));
    kept.end(&HostId::NONE, rules().ended_by("/dbplugin.v5.Database/Close"));
    assert!(kept.is_nothing());
}

#[test]
fn a_mount_keeps_no_more_than_its_share() {
    let mut kept = Kept::default();
    let large = vec![1; Kept::LARGEST];
    let mut refused = 0;
    for index in 0..20 {
        let host = host(index);
        refused += usize::from(kept.keep(&host, INITIALIZE, call(&large), (1, 1)).1.is_err());
        // Said again, it takes the place of what it said before.
        assert!(kept.keep(&host, INITIALIZE, call(b"small"), (1, 1)).1.is_ok());
        refused += usize::from(kept.keep(&host, INITIALIZE, call(&large), (1, 1)).1.is_err());
    }
    assert_eq!(refused, 2 * 20 - 2 * 15, "of 4 MiB, 15 times 256 KiB with its ids");
}

#[test]
fn users_beyond_all_bounds_are_served_where_they_primed_and_nowhere_else() {
    let mut kept = Kept::default();
    for index in 0..3 * Kept::MOST_HOSTS {
        let kept_it = kept.keep(&host(index), INITIALIZE, call(b"x"), (1, 7)).1;
        assert_eq!(kept_it.is_ok(), index < Kept::MOST_HOSTS);
    }
    for index in [0, Kept::MOST_HOSTS + 1, 3 * Kept::MOST_HOSTS - 1] {
        assert!(kept.knows(&host(index), 1, 7));
        assert_eq!(kept.knows(&host(index), 2, 8), index == 0);
    }
}

fn host(index: usize) -> HostId {
    HostId::named(&format!("host-{index}"))
}

#[test]
fn other_rules_drop_what_primes_no_more() {
    let mut kept = Kept::default();
    kept.keep(&HostId::NONE, INITIALIZE, call(b"x"), (1, 1)).1.unwrap();
    kept.apply(&rules());
    assert!(!kept.is_nothing());
    kept.apply(&PrimingRules::default());
    assert!(kept.is_nothing());
}

#[test]
fn nothing_of_a_call_is_shown() {
    let mut kept = Kept::default();
    kept.keep(&HostId::NONE, INITIALIZE, call(b"hunter2"), (1, 1)).1.unwrap();
    let shown = format!("{kept:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
}

#[test]
fn a_container_is_told_again_with_growing_delays_and_not_at_all_once_it_took_it() {
    let mut kept = Kept::default();
    kept.keep(&HostId::NONE, INITIALIZE, call(b"x"), (1, 1)).1.unwrap();
    let mut progress = Progress::default();
    let mut now = Timestamp::UNIX_EPOCH;
    let delay = |failures| Duration::from_secs(1u64 << failures);
    for attempt in 0..3 {
        let due = progress.begin(&kept, &rules(), now);
        assert_eq!(due.len(), 1);
        let failed = Some(Err(Status::new(Code::Internal, "no database")));
        progress.told(&due[0].host, due[0].version, failed, false, now, delay);
        assert!(!progress.is_due(&kept, &rules(), now));
        now += Duration::from_secs(1u64 << attempt);
        assert_eq!(progress.next(&kept), Some(now));
    }
    let due = progress.begin(&kept, &rules(), now);
    progress.told(&due[0].host, due[0].version, Some(Ok(())), false, now, delay);
    assert_eq!(progress.standing(&kept, &HostId::NONE, 1, 1), Standing::Done);
    assert!(!progress.is_due(&kept, &rules(), now) && progress.next(&kept).is_none());
}

#[test]
fn a_hosts_own_call_beside_an_older_one_is_told_again_whichever_is_answered_first() {
    for own_first in [true, false] {
        let mut kept = Kept::default();
        kept.keep(&HostId::NONE, INITIALIZE, call(b"old"), (1, 1)).1.unwrap();
        let mut progress = Progress::default();
        let now = Timestamp::UNIX_EPOCH;
        let old = progress.begin(&kept, &rules(), now).remove(0);
        let own = |kept: &mut Kept, progress: &mut Progress| {
            let (newer, _) = kept.keep(&HostId::NONE, INITIALIZE, call(b"new"), (1, 1));
            progress.primed(&HostId::NONE, newer);
        };
        if own_first {
            own(&mut kept, &mut progress);
        }
        progress.told(&old.host, old.version, Some(Ok(())), !own_first, now, |_| Duration::ZERO);
        if !own_first {
            own(&mut kept, &mut progress);
        }
        assert_eq!(progress.standing(&kept, &HostId::NONE, 1, 1), Standing::Owed);
        let again = progress.begin(&kept, &rules(), now).remove(0);
        assert_eq!(again.calls[0].1.message().as_slice(), b"new");
        progress.told(&again.host, again.version, Some(Ok(())), false, now, |_| Duration::ZERO);
        assert_eq!(progress.standing(&kept, &HostId::NONE, 1, 1), Standing::Done);
    }
}

proptest! {
    #[test]
    fn what_is_told_is_what_each_user_said_last(
        steps in proptest::collection::vec((0usize..4, proptest::option::of(any::<u8>())), 0..60),
    ) {
        let mut kept = Kept::default();
        let mut said: BTreeMap<usize, u8> = BTreeMap::new();
        for (user, message) in steps {
            if let Some(message) = message {
                kept.keep(&host(user), INITIALIZE, call(&[message]), (1, 1)).1.unwrap();
                said.insert(user, message);
            } else {
                kept.end(&host(user), rules().ended_by("/dbplugin.v5.Database/Close"));
                said.remove(&user);
            }
            for user in 0..4 {
                let wanted: Vec<Vec<u8>> = said.get(&user).map(|message| vec![*message]).into_iter().collect();
                prop_assert_eq!(told(&kept, &host(user)), wanted);
            }
            prop_assert_eq!(kept.is_nothing(), said.is_empty());
        }
    }
}
