use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::plan::tests::scene::Scene;
use crate::slot::Start;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn slot(starts: u64) -> Slot {
    Slot { starts, ..Slot::default() }
}

#[tokio::test]
async fn a_slot_is_known_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    state.save_slot(&name("orders"), &SlotName::Shared, slot(3)).await.unwrap();
    assert_eq!(state.slot(&name("orders"), &SlotName::Shared), slot(3).into());

    let again = State::open(directory.path()).unwrap();
    assert_eq!(again.slots(&name("orders")), BTreeMap::from([(SlotName::Shared, Arc::new(slot(3)))]));
    assert_eq!(again.instances(), [name("orders")]);

    again.forget_slot(&name("orders"), &SlotName::Shared).await.unwrap();
    assert_eq!(again.latest_start(&name("orders")), 3);
    assert!(State::open(directory.path()).unwrap().instances().is_empty());
}

#[tokio::test]
async fn a_new_start_is_not_taken_for_an_earlier_one_of_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    let (orders, mount) = (name("orders"), name("m").into());
    let start = Scene::new().start(3, "v1-aaaa", "ENGINE-A");
    let intended = Slot { starts: 3, current: Some(start.clone()), ..Slot::default() };
    let made = Slot { current: Some(Start { created: true, ..start }), ..intended.clone() };

    state.save_slot(&orders, &SlotName::Shared, intended.clone()).await.unwrap();
    state.primed(&orders, &mount, 3);
    for same in [intended.clone(), made] {
        state.save_slot(&orders, &SlotName::Shared, same).await.unwrap();
        assert_eq!(state.last_primed(&orders, &mount), Some(3));
    }
    state.forget_slot(&orders, &SlotName::Shared).await.unwrap();
    assert_eq!(state.latest_start(&orders), 3, "it may be recalled for as long as the controller runs");
    assert_eq!(state.last_primed(&orders, &mount), Some(u64::MAX));
    state.save_slot(&orders, &SlotName::Shared, intended).await.unwrap();
    assert_eq!(state.last_primed(&orders, &mount), Some(u64::MAX));
}

#[tokio::test]
async fn an_unreadable_slot_costs_that_slot_alone() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    state.save_slot(&name("good"), &SlotName::Shared, slot(1)).await.unwrap();
    state.save_slot(&name("bad"), &SlotName::Shared, slot(1)).await.unwrap();
    let damaged = directory.path().join("slots/bad/shared.json");
    fs::write(&damaged, b"{\"version\":1,\"data\":").unwrap();

    let again = State::open(directory.path()).unwrap();
    assert_eq!(again.slot(&name("good"), &SlotName::Shared), slot(1).into());
    assert_eq!(again.slot(&name("bad"), &SlotName::Shared), Arc::default());
    assert!(!damaged.exists() && directory.path().join("slots/bad/shared.json.unreadable").exists());
}

#[tokio::test]
async fn nobody_else_can_read_what_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let state = State::open(&root).unwrap();
    state.cluster(None).unwrap();
    state.save_slot(&name("orders"), &SlotName::Shared, slot(1)).await.unwrap();
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("cluster.json"), 0o600);
    assert_eq!(mode("slots/orders/shared.json"), 0o600);
}

#[test]
fn a_cluster_keeps_its_id_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    let first = state.cluster(None).unwrap();
    assert_eq!(state.cluster(Some(&first.id)).unwrap().id, first.id);
    let refused = state.cluster(Some(&"other".parse().unwrap()));
    assert!(matches!(refused, Err(StateError::OtherCluster { .. })));
}

#[test]
fn a_damaged_cluster_file_is_not_silently_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    fs::write(directory.path().join("cluster.json"), b"").unwrap();
    assert!(matches!(state.cluster(None), Err(StateError::Damaged { .. })));
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = State::open(&file.join("state")).unwrap_err();
    assert!(error.to_string().contains("file/state"), "{error}");
}

#[test]
fn what_was_done_with_a_broker_is_known_again_and_never_less() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    let container = ContainerId::new("0123456789abcdef0123456789abcdef");
    let engine = EngineRef { id: "ENGINE-A".into(), host: None };
    let place = Place { engine, id: container.clone(), name: "plugward-orders-shared-abcde".into() };
    assert_eq!(state.broker(&container), None);
    state.broker_opened(&place);
    assert_eq!(State::open(directory.path()).unwrap().broker(&container), Some(BrokerUse::Opened));
    state.broker_used(&place);
    state.broker_opened(&place);
    assert_eq!(State::open(directory.path()).unwrap().broker(&container), Some(BrokerUse::Used));
    state.forget_broker(&container);
    assert_eq!(State::open(directory.path()).unwrap().broker(&container), None);
}

#[tokio::test]
async fn a_renewal_is_known_again_and_is_later_than_what_any_start_knows() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    let orders = name("orders");
    assert_eq!(state.renewal(&orders), 0);
    state.renew(&orders);
    state.renew(&orders);
    assert_eq!(State::open(directory.path()).unwrap().renewal(&orders), 2);
    let start = Start { renewal: 5, ..Scene::new().start(1, "v1-aaaa", "ENGINE-A") };
    let known = Slot { starts: 1, current: Some(start), ..Slot::default() };
    state.save_slot(&orders, &SlotName::Shared, known).await.unwrap();
    fs::write(directory.path().join("renewals.json"), b"damaged").unwrap();
    let state = State::open(directory.path()).unwrap();
    assert_eq!(state.renewal(&orders), 0, "no start is older: nothing is replaced for the damage");
    state.renew(&orders);
    assert_eq!(state.renewal(&orders), 6);
    state.forget_renewal(&orders);
    assert_eq!(State::open(directory.path()).unwrap().renewal(&orders), 0);
}
