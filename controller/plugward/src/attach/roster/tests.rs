use std::sync::Mutex as StdMutex;

use jiff::Timestamp;

use super::*;
use crate::attach::asks::Asks;
use crate::attach::caller::Caller;
use crate::attach::session::Standing;
use crate::plan::tests::scene::Scene;
use crate::slot::Slot;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn session(number: u8, instance: &str, multiplexed: bool) -> Arc<Session> {
    let asks = Asks {
        versions: vec![1],
        certificate: None,
        multiplexed: multiplexed.then_some(true),
        metadata: false,
        group: false,
    };
    let caller = Caller { pid: None, uid: 0, name: None, groups: Vec::new() };
    let passed = [("REGION".to_owned(), "north".to_owned())].into_iter().collect();
    let id = SessionId::from_random([number; 7]);
    Session::new(id, name(instance), caller, asks, passed, Timestamp::UNIX_EPOCH, Standing::Starting)
}

/// A roster over an empty memory, and whom it woke.
fn empty() -> (Roster, Arc<StdMutex<Vec<Name>>>) {
    let directory = tempfile::tempdir().unwrap();
    roster(&State::open(directory.path()).unwrap())
}

fn roster(state: &State) -> (Roster, Arc<StdMutex<Vec<Name>>>) {
    let woken = Arc::<StdMutex<Vec<Name>>>::default();
    let wake: Wake = {
        let woken = woken.clone();
        Arc::new(move |instance: &Name| woken.lock().unwrap().push(instance.clone()))
    };
    (Roster::new(state, wake), woken)
}

#[test]
fn an_instance_has_its_own_sessions_and_no_more_than_it_lets_in() {
    let (roster, woken) = empty();
    let (one, two, other) = (session(1, "db", true), session(2, "db", false), session(3, "other", false));
    assert_eq!(roster.enter(&one, Some(1)), Ok(()));
    assert_eq!(roster.enter(&one, Some(2)), Err(NotEntered::Known));
    assert_eq!(roster.enter(&two, Some(1)), Err(NotEntered::Full));
    assert_eq!(roster.enter(&other, Some(1)), Ok(()));
    let guests = roster.of(&name("db"));
    assert_eq!(guests.len(), 1);
    let wishes = guests[0].wishes.as_ref().unwrap();
    assert_eq!((wishes.multiplexed, wishes.passed.variables()["REGION"].as_str()), (true, "north"));
    roster.leave(&one);
    assert!(roster.of(&name("db")).is_empty());
    assert_eq!(*woken.lock().unwrap(), [name("db")]);
}

#[tokio::test]
async fn what_an_earlier_controllers_sessions_had_is_kept_until_they_are_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    let back = session(1, "db", false);
    for number in [1, 2] {
        let slot = SlotName::Mount(SessionId::from_random([number; 7]).into());
        let current = Scene::new().start(1, "v1-aaaa", "ENGINE-A");
        let stored = Slot { starts: 1, current: Some(current), ..Slot::default() };
        state.save_slot(&name("db"), &slot, stored).await.unwrap();
    }
    let (roster, woken) = roster(&state);
    let awaited = roster.of(&name("db"));
    assert_eq!(awaited.iter().filter(|guest| guest.wishes.is_none()).count(), 2);
    assert!(roster.sessions().is_empty(), "nobody is there yet");

    let (new, one_more) = (session(3, "db", false), session(4, "db", false));
    assert_eq!(roster.enter(&new, Some(1)), Ok(()), "nobody is kept away by who may not come back");
    assert_eq!(roster.enter(&one_more, Some(1)), Err(NotEntered::Full));
    assert_eq!(roster.enter(&back, None), Ok(()), "it had its place");
    roster.leave(&new);
    woken.lock().unwrap().clear();
    roster.give_up();
    let left = roster.of(&name("db"));
    assert_eq!(left.len(), 1);
    assert!(left[0].id == back.id && left[0].wishes.is_some());
    assert_eq!(*woken.lock().unwrap(), [name("db")]);
}
