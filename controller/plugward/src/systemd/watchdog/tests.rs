use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::systemd::tests::manager::Manager;

const LIMIT: Duration = Duration::from_secs(60);

/// A loop that comes round until it is told to stop.
fn beating(pulse: &Pulse) -> JoinHandle<()> {
    let pulse = pulse.clone();
    tokio::spawn(async move {
        loop {
            pulse.beat().await;
        }
    })
}

fn said(manager: &Manager) -> Vec<String> {
    manager.received().into_iter().map(|message| message.text).collect()
}

#[tokio::test(start_paused = true)]
async fn it_is_fed_twice_as_often_as_it_must_be_and_not_at_all_while_one_loop_is_held_up() {
    let manager = Manager::new();
    let (first, second) = (Pulse::default(), Pulse::default());
    let _first = beating(&first);
    let held_up = beating(&second);
    let client = manager.client();
    let loops = [("first", first), ("second", second.clone())];
    let _feeding = tokio::spawn(async move { Watchdog { limit: LIMIT }.feed(&client, &loops).await });
    sleep(LIMIT * 5 + LIMIT / 4).await;
    let fed = said(&manager);
    assert!(fed.iter().all(|message| message == "WATCHDOG=1"), "{fed:?}");
    assert_eq!(fed.len(), 11);

    held_up.abort();
    // A question that it had heard already is answered.
    sleep(LIMIT).await;
    let _ = said(&manager);
    sleep(LIMIT * 100).await;
    assert_eq!(said(&manager), [""; 0]);

    let _second = beating(&second);
    sleep(LIMIT * 2).await;
    assert!(said(&manager).len() >= 4);
}

#[tokio::test(start_paused = true)]
async fn time_to_start_is_asked_for_before_it_is_over_and_not_by_a_loop_that_is_held_up() {
    let manager = Manager::new();
    let pulse = Pulse::default();
    let beating = beating(&pulse);
    let client = manager.client();
    let loops = [("only", pulse)];
    let _asking = tokio::spawn(async move { ask_for_time(&client, &loops).await });
    sleep(LIMIT * 5 + LIMIT / 4).await;
    let asked = said(&manager);
    assert_eq!(asked.len(), 11);
    assert!(asked.iter().all(|message| message == "EXTEND_TIMEOUT_USEC=120000000"), "{asked:?}");

    beating.abort();
    sleep(LIMIT).await;
    let _ = said(&manager);
    sleep(LIMIT * 100).await;
    assert_eq!(said(&manager), [""; 0]);
}

#[test]
fn it_is_ours_unless_it_is_another_process_s() {
    let told = |limit: Option<&str>, pid: Option<&str>| {
        Watchdog::told(limit.map(OsString::from), pid.map(OsString::from), 4711)
    };
    let ours = Some(Watchdog { limit: Duration::from_secs(30) });
    assert_eq!(told(Some("30000000"), Some("4711")).unwrap(), ours);
    assert_eq!(told(Some("30000000"), None).unwrap(), ours);
    assert_eq!(told(Some("30000000"), Some("4712")).unwrap(), None);
    assert_eq!(told(Some("often"), Some("4712")).unwrap(), None);
    assert_eq!(told(None, None).unwrap(), None);
    assert_eq!(told(None, Some("4711")).unwrap(), None);
    for wrong in ["0", "often", "", "-1"] {
        let error = told(Some(wrong), Some("4711")).unwrap_err().to_string();
        assert!(error.contains(&format!("{wrong:?}")), "{error}");
    }
}
