use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use tokio::task::yield_now;

use super::{Store, Writer, WriterDropped, store};
use crate::watch::WatchEvent::{self, Apply, Delete, Init, InitApply, InitDone};

fn filled(objects: &[(&'static str, u32)]) -> (Writer<&'static str, u32>, Store<&'static str, u32>) {
    let (mut writer, store) = store();
    list(&mut writer, objects);
    (writer, store)
}

fn list(writer: &mut Writer<&'static str, u32>, objects: &[(&'static str, u32)]) -> Vec<&'static str> {
    assert_eq!(writer.apply(Init), Vec::<&str>::new());
    for (key, value) in objects {
        assert_eq!(writer.apply(InitApply(key, *value)), Vec::<&str>::new());
    }
    writer.apply(InitDone)
}

fn contents<K: Ord + Clone>(store: &Store<K, u32>) -> Vec<(K, u32)> {
    store.snapshot().into_iter().map(|(key, value)| (key, *value)).collect()
}

#[test]
fn the_first_listing_changes_every_key_in_it() {
    let (mut writer, store) = store();
    assert_eq!(list(&mut writer, &[("b", 2), ("a", 1)]), ["a", "b"]);
    assert_eq!(contents(&store), [("a", 1), ("b", 2)]);
}

#[test]
fn the_version_tells_a_change_from_none() {
    let (mut writer, store) = filled(&[("a", 1)]);
    let before = store.version();
    assert_eq!(writer.apply(Apply("a", 1)), Vec::<&str>::new());
    assert_eq!(store.version(), before);
    for change in [Apply("a", 2), Delete("a")] {
        let before = store.version();
        assert_eq!(writer.apply(change), ["a"]);
        assert_ne!(store.version(), before);
    }
}

#[test]
fn a_change_is_in_the_store_when_its_key_is_returned() {
    let (mut writer, store) = filled(&[]);
    assert_eq!(writer.apply(Apply("a", 1)), ["a"]);
    assert_eq!(store.get(&"a").as_deref(), Some(&1));
    assert_eq!(writer.apply(Apply("a", 2)), ["a"]);
    assert_eq!(store.get(&"a").as_deref(), Some(&2));
    assert_eq!(writer.apply(Delete("a")), ["a"]);
    assert_eq!(store.get(&"a"), None);
}

#[test]
fn what_stays_equal_is_no_change_and_stays_the_same_allocation() {
    let (mut writer, store) = filled(&[("a", 1), ("b", 1)]);
    let before = store.get(&"a").unwrap();
    assert!(writer.apply(Apply("a", 1)).is_empty());
    assert_eq!(list(&mut writer, &[("a", 1), ("b", 2)]), ["b"]);
    assert!(writer.apply(Delete("c")).is_empty());
    assert!(Arc::ptr_eq(&before, &store.get(&"a").unwrap()));
}

#[test]
fn a_listing_is_unseen_until_it_is_complete() {
    let (mut writer, store) = filled(&[("a", 1)]);
    assert!(writer.apply(Init).is_empty());
    assert!(writer.apply(InitApply("b", 2)).is_empty());
    assert_eq!(contents(&store), [("a", 1)]);
    assert_eq!(writer.apply(InitDone), ["a", "b"]);
    assert_eq!(contents(&store), [("b", 2)]);
}

#[test]
fn an_object_that_vanished_while_nobody_looked_is_a_change() {
    let (mut writer, store) = filled(&[("a", 1), ("b", 2), ("c", 3)]);
    assert_eq!(list(&mut writer, &[("b", 2)]), ["a", "c"]);
    assert_eq!(contents(&store), [("b", 2)]);
}

#[test]
fn a_listing_begun_again_forgets_the_unfinished_one() {
    let (mut writer, store) = filled(&[]);
    assert!(writer.apply(Init).is_empty());
    assert!(writer.apply(InitApply("a", 1)).is_empty());
    assert_eq!(list(&mut writer, &[("b", 2)]), ["b"]);
    assert_eq!(contents(&store), [("b", 2)]);
}

#[test]
fn a_change_noticed_during_a_listing_is_seen_at_once_and_outlives_it() {
    let (mut writer, store) = filled(&[("a", 1), ("b", 1)]);
    assert!(writer.apply(Init).is_empty());
    assert!(writer.apply(InitApply("b", 1)).is_empty());
    assert_eq!(writer.apply(Apply("a", 2)), ["a"]);
    assert_eq!(writer.apply(Delete("b")), ["b"]);
    assert_eq!(contents(&store), [("a", 2)]);
    assert!(writer.apply(InitDone).is_empty());
    assert_eq!(contents(&store), [("a", 2)]);
}

#[test]
fn the_end_of_a_listing_that_never_began_makes_nothing_vanish() {
    let (mut writer, store) = filled(&[("a", 1)]);
    assert!(writer.apply(InitDone).is_empty());
    assert_eq!(writer.apply(InitApply("b", 2)), ["b"]);
    assert_eq!(contents(&store), [("a", 1), ("b", 2)]);

    let (mut writer, store) = super::store::<&str, u32>();
    assert!(writer.apply(InitDone).is_empty());
    assert!(!store.is_ready());
}

#[tokio::test]
async fn a_store_is_ready_once_a_listing_is_complete_and_remains_so() {
    let (mut writer, store) = store();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { (store.ready().await, store.len()) }
    });
    assert!(writer.apply(Init).is_empty());
    assert_eq!(writer.apply(Apply("a", 1)), ["a"]);
    assert!(writer.apply(InitApply("b", 1)).is_empty());
    yield_now().await;
    assert!(!store.is_ready() && !waiting.is_finished());

    assert_eq!(writer.apply(InitDone), ["b"]);
    assert!(store.is_ready());
    assert_eq!(waiting.await.unwrap(), (Ok(()), 2));

    assert!(writer.apply(Init).is_empty());
    drop(writer);
    assert_eq!(store.ready().await, Ok(()));
    assert_eq!(store.keys(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_store_finds_it_filled() {
    for _ in 0..500 {
        let (mut writer, store) = store::<u32, u32>();
        let waiting = tokio::spawn(async move {
            while !store.is_ready() {
                std::hint::spin_loop();
            }
            store.len()
        });
        assert!(writer.apply(Init).is_empty());
        assert!(writer.apply(InitApply(1, 1)).is_empty());
        assert_eq!(writer.apply(InitDone), [1]);
        assert_eq!(waiting.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_store_whose_writer_is_gone_never_lets_anyone_wait_for_ever() {
    let (writer, store) = store::<&str, u32>();
    drop(writer);
    assert_eq!(store.ready().await, Err(WriterDropped));
    assert!(!store.is_ready() && store.is_empty());
}

#[test]
fn readers_see_one_listing_or_the_next_and_never_a_mix() {
    const KEYS: u32 = 50;
    const ROUNDS: u32 = 300;
    let (mut writer, store) = store::<u32, u32>();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    let seen = store.snapshot();
                    let Some((_, first)) = seen.first() else { continue };
                    assert_eq!(seen.len(), KEYS as usize);
                    assert!(seen.iter().all(|(_, value)| value == first));
                    assert!(**first >= last, "went back from {last} to {first}");
                    last = **first;
                }
            });
        }
        for round in 1..=ROUNDS {
            assert!(writer.apply(Init).is_empty());
            for key in 0..KEYS {
                assert!(writer.apply(InitApply(key, round)).is_empty());
            }
            assert_eq!(writer.apply(InitDone).len(), KEYS as usize);
        }
        done.store(true, Ordering::Release);
    });
}

fn any_event() -> impl Strategy<Value = WatchEvent<u8, u32>> {
    let (key, value) = (0..6_u8, 0..3_u32);
    prop_oneof![
        1 => Just(Init),
        1 => Just(InitDone),
        4 => (key.clone(), value.clone()).prop_map(|(key, value)| InitApply(key, value)),
        3 => (key.clone(), value).prop_map(|(key, value)| Apply(key, value)),
        2 => key.prop_map(Delete),
    ]
}

proptest! {
    /// Whatever a source sends: a key is returned exactly when readers see another object than before, so
    /// nothing changes without a trigger and nothing is triggered without a change.
    #[test]
    fn the_keys_returned_are_the_keys_that_readers_see_change(
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        let (mut writer, store) = store();
        let mut before = BTreeMap::new();
        for event in events {
            let returned = writer.apply(event);
            let after: BTreeMap<u8, u32> = contents(&store).into_iter().collect();
            let changed: Vec<u8> = (0..6).filter(|key| before.get(key) != after.get(key)).collect();
            prop_assert_eq!(returned, changed);
            before = after;
        }
    }

    /// The state after a complete listing is that listing with the changes noticed since it began.
    #[test]
    fn a_complete_listing_is_the_truth(
        past in prop::collection::vec(any_event(), 0..40),
        listing in prop::collection::btree_map(0..6_u8, 0..3_u32, 0..6),
    ) {
        let (mut writer, store) = store();
        for event in past {
            let _ = writer.apply(event);
        }
        let _ = writer.apply(Init);
        for (key, value) in &listing {
            prop_assert_eq!(writer.apply(InitApply(*key, *value)), Vec::<u8>::new());
        }
        let _ = writer.apply(InitDone);
        prop_assert_eq!(contents(&store), listing.into_iter().collect::<Vec<_>>());
    }
}
