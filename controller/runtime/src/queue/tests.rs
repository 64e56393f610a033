use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, advance, timeout};

use super::{Added, Depth, Next, Priority, Queue, Requests, Taken, queue};
use crate::observer::Observer;

const SECOND: Duration = Duration::from_secs(1);

type Name = &'static str;

fn unobserved() -> (Queue<Name, Name>, Requests<Name, Name>) {
    queue(())
}

async fn take(requests: &Requests<Name, Name>) -> Taken<Name, Name> {
    requests.next().await.expect("the queue is open")
}

/// Takes and finishes what is due now, as one worker would.
async fn run_due(requests: &Requests<Name, Name>) -> Vec<Name> {
    let mut keys = Vec::new();
    while let Ok(Some(taken)) = timeout(Duration::ZERO, requests.next()).await {
        keys.push(taken.key);
        requests.finish(taken, Next::Forget);
    }
    keys
}

async fn is_idle(requests: &Requests<Name, Name>) -> bool {
    timeout(Duration::ZERO, requests.next()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn two_requests_for_a_key_are_one() {
    let (queue, requests) = unobserved();
    assert_eq!(queue.add("a", "first"), Added::New);
    assert_eq!(queue.add("a", "second"), Added::Merged);
    assert_eq!(take(&requests).await.reason, "first");
    assert!(is_idle(&requests).await);
}

#[tokio::test(start_paused = true)]
async fn the_earliest_time_wins_and_its_reason_with_it() {
    let (queue, requests) = unobserved();
    let start = Instant::now();
    queue.add_after("a", 10 * SECOND, "late");
    queue.add_at("a", start + 5 * SECOND, "early");
    queue.add_after("a", 7 * SECOND, "between");
    let taken = take(&requests).await;
    assert_eq!((taken.reason, start.elapsed()), ("early", 5 * SECOND));
    requests.finish(taken, Next::Forget);
    advance(60 * SECOND).await;
    assert!(is_idle(&requests).await, "the later requests were merged into the earliest");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_never_run_twice_at_once_and_a_request_during_its_run_is_kept() {
    let (queue, requests) = unobserved();
    queue.add("a", "first");
    let running = take(&requests).await;
    assert_eq!(queue.add("a", "second"), Added::New);
    assert_eq!(queue.add("a", "third"), Added::Merged);
    assert!(is_idle(&requests).await);
    requests.finish(running, Next::Forget);
    assert_eq!(take(&requests).await.reason, "second");
    assert!(is_idle(&requests).await);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_request_during_a_run_comes_at_its_own_time() {
    let (queue, requests) = unobserved();
    let start = Instant::now();
    queue.add("a", "now");
    let running = take(&requests).await;
    queue.add_after("a", 30 * SECOND, "later");
    advance(10 * SECOND).await;
    requests.finish(running, Next::Forget);
    assert!(is_idle(&requests).await);
    assert_eq!(take(&requests).await.reason, "later");
    assert_eq!(start.elapsed(), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_request_during_a_run_that_fails_does_not_wait_for_the_retry() {
    let (queue, requests) = unobserved();
    queue.add("a", "first");
    let running = take(&requests).await;
    queue.add("a", "second");
    requests.finish(running, Next::Retry(60 * SECOND));
    let taken = take(&requests).await;
    assert_eq!((taken.reason, taken.attempt), ("second", 1));
    requests.finish(taken, Next::Forget);
    advance(120 * SECOND).await;
    assert!(is_idle(&requests).await);
}

#[tokio::test(start_paused = true)]
async fn a_busy_key_does_not_hold_up_the_next_one() {
    let (queue, requests) = unobserved();
    queue.add("busy", "first");
    let _running = take(&requests).await;
    queue.add("busy", "second");
    queue.add("next", "first");
    assert_eq!(take(&requests).await.key, "next");
}

#[tokio::test(start_paused = true)]
async fn keys_come_in_the_order_in_which_they_are_due() {
    let (queue, requests) = unobserved();
    queue.add_after("d", 2 * SECOND, "");
    queue.add_after("c", SECOND, "");
    queue.add("a", "");
    queue.add("b", "");
    advance(3 * SECOND).await;
    queue.add("e", "");
    assert_eq!(run_due(&requests).await, ["a", "b", "c", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_asked_for_again_and_again_keeps_nobody_waiting() {
    let (queue, requests) = unobserved();
    queue.add("greedy", "");
    queue.add("b", "");
    queue.add("c", "");
    let mut order = Vec::new();
    for _ in 0..6 {
        let taken = take(&requests).await;
        order.push(taken.key);
        queue.add("greedy", "again");
        requests.finish(taken, Next::Forget);
    }
    assert_eq!(order, ["greedy", "b", "c", "greedy", "greedy", "greedy"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_in_the_past_does_not_jump_the_queue() {
    let (queue, requests) = unobserved();
    let past = Instant::now();
    advance(SECOND).await;
    queue.add("a", "");
    queue.add_at("b", past, "");
    assert_eq!(run_due(&requests).await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_change_overtakes_a_big_batch_and_the_batch_still_moves() {
    let (queue, requests) = unobserved();
    for key in ["old-1", "old-2", "old-3"] {
        queue.add_background(key, "start");
    }
    for key in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"] {
        queue.add(key, "changed");
    }
    let order = run_due(&requests).await;
    let expected = ["1", "2", "3", "4", "old-1", "5", "6", "7", "8", "old-2", "9", "10", "old-3"];
    assert_eq!(order, expected);
}

#[tokio::test(start_paused = true)]
async fn a_background_key_that_changes_is_fresh() {
    let (queue, requests) = unobserved();
    queue.add_background("a", "start");
    queue.add_background("b", "start");
    queue.add("b", "changed");
    let taken = take(&requests).await;
    assert_eq!((taken.key, taken.reason), ("b", "start"), "the earlier request, at the higher priority");
    assert_eq!(take(&requests).await.key, "a");

    // The other way round changes nothing.
    queue.add("c", "changed");
    queue.add("d", "changed");
    queue.add_background("c", "resync");
    assert_eq!(run_due(&requests).await, ["c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_has_the_priority_and_the_reason_of_what_failed() {
    let (queue, requests) = unobserved();
    queue.add_background("failing", "resync");
    let taken = take(&requests).await;
    requests.finish(taken, Next::Retry(SECOND));
    advance(SECOND).await;
    queue.add("fresh", "changed");
    assert_eq!(take(&requests).await.key, "fresh");
    assert_eq!(take(&requests).await.reason, "resync");
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_per_key_until_one_run_succeeds() {
    let (queue, requests) = unobserved();
    queue.add("a", "");
    for attempt in 0..3 {
        let taken = take(&requests).await;
        assert_eq!(taken.attempt, attempt);
        requests.finish(taken, Next::Retry(SECOND));
    }
    queue.add("b", "");
    let other = take(&requests).await;
    assert_eq!((other.key, other.attempt), ("b", 0));

    // What is asked for meanwhile comes sooner than the retry and is one more attempt.
    queue.add("a", "sooner");
    let taken = take(&requests).await;
    assert_eq!((taken.reason, taken.attempt), ("sooner", 3));
    requests.finish(taken, Next::Requeue(SECOND));
    let taken = take(&requests).await;
    assert_eq!(taken.attempt, 0);
    requests.finish(taken, Next::Retry(SECOND));
    let taken = take(&requests).await;
    assert_eq!(taken.attempt, 1);
    requests.finish(taken, Next::Forget);
    queue.add("a", "");
    assert_eq!(take(&requests).await.attempt, 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_done_leaves_nothing_behind() {
    let (queue, requests) = unobserved();
    queue.add("a", "");
    queue.add_after("b", SECOND, "");
    assert_eq!(queue.depth(), Depth { due: 1, delayed: 1, running: 0 });
    let taken = take(&requests).await;
    queue.add("a", "again");
    assert_eq!(queue.depth(), Depth { due: 0, delayed: 1, running: 1 });
    requests.finish(taken, Next::Forget);
    advance(SECOND).await;
    assert_eq!(queue.depth(), Depth { due: 2, delayed: 0, running: 0 });
    assert_eq!(run_due(&requests).await, ["a", "b"]);
    assert_eq!(queue.depth(), Depth::default());
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_end_of_the_clock_is_very_long() {
    let (queue, requests) = unobserved();
    queue.add_after("a", Duration::MAX, "");
    assert!(is_idle(&requests).await);
    queue.add("b", "");
    let taken = take(&requests).await;
    assert_eq!(taken.key, "b");
    requests.finish(taken, Next::Retry(Duration::MAX));
    assert_eq!(queue.depth(), Depth { due: 0, delayed: 2, running: 0 });
}

#[tokio::test(start_paused = true)]
async fn an_earlier_request_wakes_whoever_waits_for_a_later_one() {
    let (queue, requests) = unobserved();
    let start = Instant::now();
    queue.add_after("slow", 60 * SECOND, "");
    let waiting = tokio::spawn(async move { take(&requests).await.key });
    yield_now().await;
    queue.add_after("fast", SECOND, "");
    assert_eq!(waiting.await.unwrap(), "fast");
    assert_eq!(start.elapsed(), SECOND);
}

/// Counts how often a task that waits for the next request is woken.
fn count_wakes(requests: Requests<Name, Name>) -> Arc<AtomicUsize> {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&wakes);
    tokio::spawn(async move {
        let mut next = pin!(requests.next());
        poll_fn(|context| {
            counted.fetch_add(1, Ordering::Relaxed);
            next.as_mut().poll(context)
        })
        .await
        .map(drop)
    });
    wakes
}

async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_wakes_nobody() {
    let (queue, requests) = unobserved();
    let wakes = count_wakes(requests);
    settle().await;
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    for _ in 0..1_000 {
        advance(60 * SECOND).await;
    }
    settle().await;
    assert_eq!(wakes.load(Ordering::Relaxed), 1);

    // One delayed request costs one look to learn its time, one to take it, and nothing in between.
    queue.add_after("a", 1_000 * SECOND, "");
    settle().await;
    assert_eq!(wakes.load(Ordering::Relaxed), 2);
    for _ in 0..9 {
        advance(100 * SECOND).await;
        queue.add_after("a", 900 * SECOND, "later");
        queue.add_after("b", 2_000 * SECOND, "later still");
        settle().await;
    }
    assert_eq!(wakes.load(Ordering::Relaxed), 2);
    advance(101 * SECOND).await;
    settle().await;
    assert_eq!(wakes.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_accepts_nothing_and_gives_nothing() {
    let (queue, requests) = unobserved();
    queue.add("a", "");
    queue.close();
    assert_eq!(queue.add("b", ""), Added::Closed);
    assert_eq!(queue.add("a", ""), Added::Closed);
    assert!(requests.next().await.is_none());
    requests.closed().await;
    assert_eq!(requests.drain(), ["a"]);
    assert!(requests.drain().is_empty());
}

#[tokio::test(start_paused = true)]
async fn closing_wakes_whoever_waits() {
    let (queue, requests) = unobserved();
    queue.add_after("a", 3_600 * SECOND, "");
    let waiting = tokio::spawn(async move { requests.next().await.is_none() });
    yield_now().await;
    queue.close();
    assert!(timeout(SECOND, waiting).await.expect("woken before the hour is over").unwrap());
}

#[derive(Default)]
struct Told(Mutex<Vec<(&'static str, Name, Name)>>);

impl Observer<Name, Name> for Told {
    fn queued(&self, key: &Name, reason: &Name, priority: Priority) {
        let what = match priority {
            Priority::Fresh => "fresh",
            Priority::Background => "background",
        };
        self.0.lock().unwrap().push((what, key, reason));
    }

    fn dropped(&self, key: &Name, reason: &Name) {
        self.0.lock().unwrap().push(("dropped", key, reason));
    }
}

#[tokio::test(start_paused = true)]
async fn everything_accepted_and_not_run_is_reported_as_dropped() {
    let told = Arc::new(Told::default());
    let (queue, requests) = queue(Arc::clone(&told));
    queue.add("running", "1");
    let running = take(&requests).await;
    queue.add_after("late", 60 * SECOND, "2");
    queue.add_background("due", "3");
    queue.add("due", "merged");
    queue.add("running", "4");
    queue.close();
    queue.add("refused", "5");
    requests.finish(running, Next::Retry(90 * SECOND));
    drop(requests);
    let expected = [
        ("fresh", "running", "1"),
        ("fresh", "late", "2"),
        ("background", "due", "3"),
        ("fresh", "running", "4"),
        ("dropped", "due", "3"),
        ("dropped", "running", "4"),
        ("dropped", "late", "2"),
    ];
    assert_eq!(*told.0.lock().unwrap(), expected);
    assert_eq!(queue.depth(), Depth::default());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_end_closes_the_queue() {
    let (queue, requests) = unobserved();
    drop(requests);
    assert_eq!(queue.add("a", ""), Added::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_takes_nothing_with_it() {
    let (queue, requests) = unobserved();
    {
        let mut next = pin!(requests.next());
        poll_fn(|context| {
            assert!(next.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        queue.add("a", "");
        // Given up after it was woken and before it could look.
    }
    assert_eq!(take(&requests).await.key, "a");
    assert!(is_idle(&requests).await);
}
